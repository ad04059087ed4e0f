"""The types of tasks, in the order of MTEB's papers, and lists in words."""

from __future__ import annotations

from collections.abc import Sequence

TYPE_ORDER = (
    "Retrieval",
    "Reranking",
    "Clustering",
    "PairClassification",
    "Classification",
    "STS",
    "Summarization",
)
"""MTEB's task types in the order of the columns; others follow alphabetically."""


def ordered_types(names: set[str]) -> list[str]:
    """Task types in display order."""
    return [t for t in TYPE_ORDER if t in names] + sorted(names - set(TYPE_ORDER))


def listed(values: Sequence[object]) -> str:
    """The values as one text, with commas."""
    return ", ".join(str(value) for value in values)


AVERAGE = "Average"
"""The name of the group that holds all evaluated tasks."""
