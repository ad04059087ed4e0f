"""A finished results folder, checked again: every checksum, score, table cell and file, wherever it was copied."""

from causal2vec.reporting.check.checksums import write_checksums
from causal2vec.reporting.check.verify import verify_results

__all__ = ["verify_results", "write_checksums"]
