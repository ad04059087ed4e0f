"""What was measured, under which condition, and what one method saves against another: for tables, figures and claims.

A condition is what stands before the texts, how often it is read, and how long the texts are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pandas as pd

from causal2vec.efficiency.names import EMBED, EXAMPLES, INSTRUCTION, MIXED, PLAIN, READ_AGAIN, READ_ONCE, TASK, saved
from causal2vec.reporting.analysis.compare import counterpart
from causal2vec.reporting.analysis.summary import Entry, is_variant, pairs, twin_of

Row = dict[str, Any]

SETTINGS = {
    PLAIN: "nothing before the text",
    INSTRUCTION: "an instruction before the text",
    EXAMPLES: "an instruction and examples before the text",
}
"""What may stand before every text, in words."""

COMPARISONS = {
    (PLAIN, PLAIN): SETTINGS[PLAIN],
    (INSTRUCTION, INSTRUCTION): "the same instruction for both",
    (EXAMPLES, EXAMPLES): "the same examples for both",
    (EXAMPLES, INSTRUCTION): "examples for the rival alone",
}
"""What stands before the rival's texts and before one's own, in words. In the last, both have the instruction: a method
that learns from examples in its input is compared with one that does not need them."""


CLAIMED = {"tokens": 85.0, "ms": 82.0}
"""Per cent that the paper's abstract says are saved at most (arXiv 2507.23386v1)."""


def _terms(row: Row) -> tuple[str, ...]:
    """What must be equal for two times to be comparable."""
    # Batches of a number of tokens hold more texts of a method that reads less, and are equal terms all the same.
    return row["device"], row["dtype"], row["threads"], row["batch_tokens"] or row["batch_size"]


def plain_rows(costs: pd.DataFrame) -> pd.DataFrame:
    """The rows with nothing before the texts and every token read: what the file held before it knew of others."""
    return costs[(costs["setting"] == PLAIN) & (costs["reuse"] == READ_AGAIN)].reset_index(drop=True)


def fixed_lengths(costs: pd.DataFrame) -> pd.DataFrame:
    """The rows of texts of one length, shortest first, with the length in tokens as ``length``."""
    rows = costs[costs["text_tokens"].astype(str).str.isdigit()]
    return rows.assign(length=rows["text_tokens"].astype(int)).sort_values("length", kind="stable")


def with_variants(order: list[str], entries: list[Entry]) -> list[str]:
    """The display order with every measured variant, such as ``causal2vec+place=after_instruction``, by its method."""
    own = {method for method, _ in entries if is_variant(method) and method not in order}
    return [name for method in order for name in (method, *sorted(v for v in own if v.startswith(f"{method}+")))]


def text_rank(text: str) -> tuple[int, int, str]:
    """Sorts ``text_tokens``: mixed length, then lengths, then tasks."""
    if text == MIXED:
        return 0, 0, ""
    return (1, int(text), "") if text.isdigit() else (2, 0, text)


def text_words(text: str) -> str:
    """``text_tokens`` in words: "mixed length", "1,024 tokens", "the task NAME"."""
    if text == MIXED:
        return "mixed length"
    return f"{int(text):,} tokens" if text.isdigit() else f"the task {text.removeprefix(TASK)}"


def shows_examples(manifest: Mapping[str, Any], method: str) -> bool:
    """Whether a method's recipe puts examples before a text: whether its configuration names any."""
    methods = manifest.get("config", {}).get("methods") or {}
    return bool((methods.get(twin_of(method).partition("+")[0]) or {}).get("examples"))


class Measured:
    """The rows of ``efficiency.csv`` by entry and condition.

    Of several lengths of a prompt it takes the one that was measured before most lengths of text, of these the longest.

    Attributes:
        entries: Every measured method with its base.
        cases: Every (setting, text_tokens), in display order.
    """

    def __init__(self, costs: pd.DataFrame) -> None:
        texts = costs.groupby(["setting", "prompt_tokens"])["text_tokens"].transform("nunique")
        costs = costs.assign(_texts=texts).sort_values(["_texts", "prompt_tokens"], kind="stable", na_position="first")
        records: list[Row] = costs.drop(columns="_texts").to_dict("records")  # type: ignore[assignment]
        self._rows = {(r["method"], r["base"], r["setting"], r["reuse"], r["text_tokens"]): r for r in records}
        self.entries: list[Entry] = list(dict.fromkeys(pairs(costs.sort_index())))
        order = list(SETTINGS)
        found = {(setting, text) for *_, setting, _, text in self._rows}
        self.cases: list[tuple[str, str]] = sorted(found, key=lambda case: (order.index(case[0]), text_rank(case[1])))

    def own(self, entry: Entry, setting: str, reuse: str, text: str) -> Row | None:
        """An entry's row, if it was measured itself."""
        return self._rows.get((*entry, setting, reuse, text))

    def row(self, entry: Entry, setting: str, reuse: str, text: str) -> Row | None:
        """An entry's row, or its twin's: they cost the same, so that one of them may not have been measured."""
        return self.own(entry, setting, reuse, text) or self.own(counterpart(entry), setting, reuse, text)


@dataclass(frozen=True)
class Saving:
    """What one entry saves against another on the same texts, in per cent of the other's cost; below 0, needs more.

    Attributes:
        rival: The other entry.
        setting: What stands before the rival's texts.
        own_setting: What stands before one's own.
        reuse: Whether the rival reads once what its texts share; oneself does so where one can and the rival does.
        text: ``text_tokens``.
        shorter: Fewer tokens computed by the LLM; NaN where unknown.
        leaner: Fewer FLOPs, as predicted.
        faster: Less time; NaN unless both were measured on equal terms.
        faster_low: The same from one's own slowest repetition against the rival's fastest.
        faster_high: And the opposite.
        ours: One's own row.
        theirs: The rival's.
    """

    rival: Entry
    setting: str
    own_setting: str
    reuse: str
    text: str
    shorter: float
    leaner: float
    faster: float
    faster_low: float
    faster_high: float
    ours: Row = field(repr=False, compare=False)
    theirs: Row = field(repr=False, compare=False)

    @property
    def kind(self) -> tuple[str, str, str]:
        """All of the condition but the text."""
        return self.setting, self.own_setting, self.reuse


def savings(measured: Measured, first: Entry, rival: Entry) -> list[Saving]:
    """What ``first`` saves against ``rival``, under every condition in which both were measured."""
    texts = sorted({text for _, text in measured.cases}, key=text_rank)
    found = []
    for (setting, own_setting), reuse, text in product(COMPARISONS, (READ_AGAIN, READ_ONCE), texts):
        theirs = measured.row(rival, setting, reuse, text)
        # Whoever can read a shared beginning once does so where the rival does.
        ours = measured.row(first, own_setting, reuse, text) or measured.row(first, own_setting, READ_AGAIN, text)
        if ours and theirs:
            costs = _saved(ours, theirs)
            found.append(Saving(rival, setting, own_setting, reuse, text, **costs, ours=ours, theirs=theirs))
    return found


def _saved(ours: Row, theirs: Row) -> dict[str, float]:
    ends = {"faster": ("", ""), "faster_low": ("_max", "_min"), "faster_high": ("_min", "_max")}
    seconds, equal = "seconds_per_1000_texts", _terms(ours) == _terms(theirs)
    return {
        "shorter": saved(computed(ours), computed(theirs)),
        "leaner": saved(ours["gflops_per_text"], theirs["gflops_per_text"]),
        **{
            name: saved(ours[seconds + own], theirs[seconds + other]) if equal else math.nan
            for name, (own, other) in ends.items()
        },
    }


def computed(row: Row) -> float:
    """Tokens that the LLM computes per text: all that it reads, but for those of a beginning that is read once."""
    known = row["reuse"] == READ_ONCE and not math.isnan(row["computed_tokens"])
    return float(row["computed_tokens"] if known else row["llm_tokens"])


def kind_words(setting: str, own_setting: str, reuse: str) -> str:
    """A `Saving.kind` in words."""
    words = COMPARISONS[setting, own_setting]
    return f"{words}, which the rival reads once" if reuse == READ_ONCE else words


def measured_on(costs: pd.DataFrame, manifest: Mapping[str, Any]) -> str:
    """The machine and the number format of some rows, in words; several are all named."""
    hardware = manifest.get("hardware") or {}
    own = costs[costs["device"] == hardware.get("device", "")]
    costs = own if len(own) else costs  # others were measured elsewhere, as `load_study` notes
    cores = f"{hardware['cores']} cores of " if hardware.get("device") == "cpu" and "cores" in hardware else ""
    name = f"{cores}{hardware['device_name']}" if "device_name" in hardware else ""
    formats, devices = (sorted({value for value in costs[key] if value}) for key in ("dtype", "device"))
    words = [name or ", ".join(devices), ", ".join(formats)]
    return f"measured on {', '.join(word for word in words if word)}" if any(words) else ""


def usual_prompt(rows: Any, setting: str, base: str) -> float:
    """The tokens of the prompt that stands before most lengths of text; of several the longest."""
    here = rows[(rows["setting"] == setting) & (rows["base"] == base)]
    texts = here.groupby("prompt_tokens")["text_tokens"].nunique()
    return float(max(texts.index, key=lambda prompt: (texts[prompt], prompt)))


def law_beside_measured(conditions: pd.DataFrame | None, law: pd.DataFrame | None) -> list[str]:
    """How near the law of costs comes to what was measured, in a sentence; none without both."""
    if law is None or conditions is None:
        return []
    rows = fixed_lengths(conditions)
    rows = rows.assign(
        method=[twin_of(method) for method in rows["method"]],
        prompt_tokens=rows["prompt_tokens"].fillna(0),
        text_tokens=rows["length"],
        tokens=[computed(row) for row in rows.to_dict("records")],  # type: ignore[arg-type]
    )
    keys = ["base", "method", "setting", "reuse", "text_tokens", "prompt_tokens"]
    both = rows.merge(law[law["what"] == EMBED], on=keys, suffixes=("", "_law"))
    if both.empty:
        return []
    errors = {
        "tokens": both["computed_tokens_law"] / both["tokens"],
        "FLOPs": both["gflops_per_text_law"] / both["gflops_per_text"],
        "time": both["ms_per_text"] / both["seconds_per_1000_texts"],
    }
    words = [
        f"{name} {100 * (ratio - 1).abs().median():.1f} % ({100 * (ratio - 1).abs().quantile(0.9):.1f} %)"
        for name, ratio in errors.items()
        if ratio.notna().any()
    ]
    return [
        f"The law beside {len(both)} measured rows, median error and what nine of ten stay within: {', '.join(words)}."
    ]
