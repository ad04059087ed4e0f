"""Uncertainty of the scores: intervals, paired differences, p-values and standings, from item-level results."""

from causal2vec.reporting.analysis.statistics.compute import compute_statistics

__all__ = ["compute_statistics"]
