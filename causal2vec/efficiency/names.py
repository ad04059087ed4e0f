"""The words that files of costs are written in, and what it means to save."""

from __future__ import annotations

import math

MIXED = "mixed"
"""The word in ``text_tokens`` that marks a row measured on real texts of mixed length."""

TASK = "task:"
"""What ``text_tokens`` begins with in a row measured on the texts of an evaluation task."""

PLAIN, INSTRUCTION, EXAMPLES = "plain", "instruction", "examples"
"""What stands before every text: nothing, an instruction, or an instruction with in-context examples."""

READ_AGAIN, READ_ONCE = "no", "yes"
"""The values of ``reuse``: a beginning that all texts share is read for each of them, or once for all."""

PUBLISHED_ON = "MTEB(eng, v1)"
"""The benchmark whose texts ``efficiency_published.csv`` is about, cut at `PUBLISHED_LENGTH` tokens."""

PUBLISHED_LENGTH = 512

QUERIES, DOCUMENTS, WHOLE_TASK = PARTS = ("queries", "documents", "whole task")
"""What is embedded of a task, in the column ``part``."""

SAVES = "causal2vec"
"""Whose savings ``efficiency_published.csv`` holds."""

EMBED, GROW = "embed", "grow"
"""What costs in ``efficiency_law.csv``: to embed a text, or to embed one anew that has grown at its end."""


def saved(ours: float, theirs: float) -> float:
    """By how many per cent ours is lower than theirs, negative where it is higher; NaN where that cannot be said."""
    return 100 * (1 - ours / theirs) if theirs > 0 else math.nan
