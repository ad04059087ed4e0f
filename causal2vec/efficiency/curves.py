"""The law of costs over lengths, under the conditions of the measurement, so that each can be held against the other.

Also what a text costs that grows: a chat, a log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from causal2vec.config.settings import Efficiency
from causal2vec.efficiency.law import Cost, Law, Lengths, Linear, Shape, Speed, append_cost, cost, texts_per_batch
from causal2vec.efficiency.names import EMBED, EXAMPLES, GROW, INSTRUCTION, PLAIN, READ_AGAIN, READ_ONCE
from causal2vec.efficiency.order import number_of_texts

MORE = 32
"""Tokens that a text grows by."""

STEPS_PER_OCTAVE, PROMPTS = 2, 13
"""How finely lengths of texts are told, and how many lengths of examples."""


COLUMNS = [
    "method", "what", "setting", "reuse", "text_tokens", "prompt_tokens", "llm_tokens", "encoder_tokens",
    "computed_tokens", "gflops_per_text", "ms_per_text",
]  # fmt: skip
"""Of `curves`, in order."""


class Point(NamedTuple):
    """One length of text behind one prompt."""

    setting: str
    text: int
    prompt: float


def curves(
    laws: Mapping[str, Law],
    shapes: Mapping[str, Shape],
    measured: Any,
    settings: Efficiency,
    speed: Speed | None,
    encoder_ratio: float = 1.0,
) -> pd.DataFrame:
    """What every method costs over the lengths that were measured and between them.

    Args:
        laws, shapes: By method.
        measured: The rows of ``efficiency.csv`` on one base; they tell which lengths and prompts there are.
        settings: How many texts a measurement has.
        speed: Of the machine; None: no time is predicted.
        encoder_ratio: As for `causal2vec.efficiency.law.cost`.

    Returns:
        A row per method, ``what`` (`EMBED`: a text; `GROW`: one that was embedded before and grew by `MORE` tokens),
        ``setting``, ``reuse``, ``text_tokens`` and ``prompt_tokens``: ``llm_tokens``, ``encoder_tokens``,
        ``computed_tokens``, ``gflops_per_text`` and ``ms_per_text``.
    """
    fixed = measured[measured["text_tokens"].astype(str).str.isdigit()]
    budget = float(pd.to_numeric(fixed["batch_tokens"]).max())
    asked = fixed[fixed["setting"] == INSTRUCTION]
    growing = _measured_lengths(asked if len(asked) else fixed)
    rows = []
    for method, law in laws.items():
        for point in points_of(fixed):
            lengths = Lengths(point.text, point.prompt)
            for reuse in (False, True):
                if reuse and (point.setting == PLAIN or law.reading(lengths).head == Linear()):
                    continue
                texts = number_of_texts(settings, point.text + (0 if reuse else point.prompt), sharing=reuse)
                per_batch = min(texts, texts_per_batch(law, lengths, budget, reuse=reuse))
                found = cost(
                    law, shapes[method], lengths, reuse=reuse, texts=texts, per_batch=per_batch,
                    encoder_ratio=encoder_ratio,
                )  # fmt: skip
                # A beginning that is read once is a pass of its own, shared out.
                passes = 1 / (1 / per_batch + (1 / texts if found.computed_tokens < found.llm_tokens else 0))
                if not reuse or found.computed_tokens < found.llm_tokens:
                    rows.append(_row(method, EMBED, point, reuse, found, speed, passes))
            if point.text in growing:
                grown = append_cost(law, shapes[method], lengths, MORE, encoder_ratio=encoder_ratio)
                rows.append(_row(method, GROW, point, False, grown, speed, 1.0))
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(
    method: str, what: str, point: Point, reuse: bool, found: Cost, speed: Speed | None, per_batch: float
) -> dict[str, Any]:
    return {
        "method": method,
        "what": what,
        "setting": point.setting,
        "reuse": READ_ONCE if reuse else READ_AGAIN,
        "text_tokens": point.text,
        "prompt_tokens": point.prompt,
        "llm_tokens": found.llm_tokens,
        "encoder_tokens": found.encoder_tokens,
        "computed_tokens": found.computed_tokens,
        "gflops_per_text": found.flops / 1e9,
        "ms_per_text": 1000 * speed.seconds(found.flops, per_batch) if speed else None,
    }


def points_of(fixed: Any) -> list[Point]:
    """Lengths of texts behind each prompt, and of examples behind the length that most of them were measured at."""
    prompts = {
        setting: sorted(set(rows["prompt_tokens"])) for setting, rows in fixed.groupby("setting") if setting != PLAIN
    }
    found = [Point(PLAIN, text, 0.0) for text in _between(_measured_lengths(fixed))]
    for setting in (INSTRUCTION, EXAMPLES):
        for prompt in (p for p in prompts.get(setting, []) if p):
            own = fixed[(fixed["setting"] == setting) & (fixed["prompt_tokens"] == prompt)]
            found += [Point(setting, text, float(prompt)) for text in _between(_measured_lengths(own))]
    shown = fixed[(fixed["setting"] == EXAMPLES) & (fixed["prompt_tokens"] > 0)]
    if len(shown):
        most = int(shown.groupby("text_tokens")["prompt_tokens"].nunique().sort_index().idxmax())
        least = float(min((p for p in prompts.get(INSTRUCTION, []) if p), default=shown["prompt_tokens"].min()))
        step = (shown["prompt_tokens"].max() - least) / (PROMPTS - 1)
        found += [Point(EXAMPLES, most, round(least + k * step, 1)) for k in range(PROMPTS)]
    return list(dict.fromkeys(found))


def _measured_lengths(fixed: Any) -> list[int]:
    return sorted({int(text) for text in fixed["text_tokens"]})


def _between(lengths: Iterable[int]) -> list[int]:
    """The lengths, and some between the shortest and the longest."""
    known = sorted(lengths)
    found, length = set(known), float(known[0])
    while length < known[-1]:
        found.add(round(length))
        length *= 2 ** (1 / STEPS_PER_OCTAVE)
    return sorted(found)
