"""What a run on a GPU writes, after every result: tables for reading, the same as CSV, rows for the study's tables."""

from __future__ import annotations

import json
import math
import platform
import re
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from causal2vec.bench.gpu.shapes import Size
from causal2vec.bench.gpu.stage import BAD, Check, Cost, Measured, Note, Rate, Record, Row
from causal2vec.errors import UserError
from causal2vec.plan.rates import TABLE
from causal2vec.plan.rates import publish as merge_rates
from causal2vec.reporting.read.schema import EFFICIENCY_COLUMNS
from causal2vec.reporting.show.tables.grid import GAP, format_number
from causal2vec.runtime.files import atomic_file, write_text
from causal2vec.runtime.manifest import ROOT, git_state, today

VERSIONS = ("torch", "transformers", "sentence-transformers", "peft", "accelerate", "datasets", "triton", "flash-attn")
COMMIT = "COMMIT"
"""A file in a bundle."""

BEGIN, END = "<!-- the last run: begin -->", "<!-- the last run: end -->"
"""Around what `publish` writes into docs/gpu.md."""

HEAD = (
    "Ours and rival: median (lowest to highest repetition), in turns, warm, by the GPU's own events. Ratio: of the "
    "medians. Share: what ours achieves of the rate at which this GPU multiplies the same model's matrices, measured "
    "right before and after. A dash: no goal, or nothing measured."
)


class Report:
    """All that was found so far.

    Args:
        folder: Gets ``gpu.md``, ``gpu.csv``, ``checks.md``, and where there is something to say ``profile.csv``,
            ``efficiency.csv`` and ``accelerators.yaml``.
        size: What is measured.
    """

    def __init__(self, folder: Path, size: Size) -> None:
        self.folder, self.size = folder, size
        self.records: list[Record] = []
        self.about = facts(size)
        self.write()

    def take(self, record: Record) -> None:
        """One more result: print it, and write everything."""
        self.records.append(record)
        self.say(in_words(record))
        self.write()

    def say(self, text: str) -> None:
        """One line of progress."""
        sys.stderr.write(f"[{time.strftime('%H:%M:%S')}] gpu: {text}\n")
        sys.stderr.flush()

    def of(self, kind: type) -> list[Any]:
        """The records of a kind."""
        return [record for record in self.records if isinstance(record, kind)]

    def write(self) -> None:
        """All files, whole."""
        write_text(self.folder / "gpu.md", self._page("Measured on a GPU", self._measurements()))
        write_text(self.folder / "checks.md", self._page("Checked on a GPU", self._checks()))
        _write_csv(pd.DataFrame(self.of(Measured), columns=Measured._fields), self.folder / "gpu.csv")
        if costs := self.of(Cost):
            _write_csv(pd.DataFrame(costs, columns=Cost._fields), self.folder / "profile.csv")
        if rows := self.of(Row):
            _write_csv(
                pd.DataFrame([row.values for row in rows])[list(EFFICIENCY_COLUMNS)], self.folder / "efficiency.csv"
            )
        if rates := self.of(Rate):
            write_text(self.folder / "accelerators.yaml", self._accelerator(rates))

    def _page(self, title: str, *parts: str) -> str:
        known = "\n".join(f"- {key}: {value}" for key, value in self.about.items())
        notes = "\n".join(f"- {note.stage}: {note.text}" for note in self.of(Note))
        return "\n\n".join([f"# {title}", known, *(part for part in (*parts, notes) if part)]) + "\n"

    def _measurements(self) -> str:
        found = self.of(Measured)
        lines = [
            {
                "": str(number),
                "Work": one.work,
                "Ours": _side(one.ours, one.ours_median, one.ours_min, one.ours_max),
                "Rival": _side(one.rival, one.rival_median, one.rival_min, one.rival_max),
                "Unit": one.unit,
                "Ratio": _number(one.ratio),
                "Goal": _number(one.goal),
                "Share": _percent(one.share),
                "Its goal": _percent(one.share_goal),
                "Met": met(one),
                "Ours, GB": _number(one.ours_mb / 1e3),
                "Rival, GB": _number(one.rival_mb / 1e3),
            }
            for number, one in enumerate(found, 1)
        ]
        notes = "\n".join(
            f"{n}. {one.repetitions} repetitions; matrices alone: {_number(one.matmul_tflops)} TFLOP/s; {one.note}"
            for n, one in enumerate(found, 1)
        )
        return "\n\n".join(
            part for part in (HEAD if found else "", _table(lines), notes, self._costs(), self._study()) if part
        )

    def _costs(self) -> str:
        """Per work that missed its goal, its largest costs."""
        lines = []
        for work in dict.fromkeys(cost.work for cost in self.of(Cost)):
            own = [cost for cost in self.of(Cost) if cost.work == work]
            lines.append(f"- {work}: " + "; ".join(f"{cost.kind} {cost.share:.1%}" for cost in own))
        return "\n".join(["Where the time goes of what missed a goal:", "", *lines]) if lines else ""

    def _study(self) -> str:
        """The efficiency study's rows, short."""
        lines = [
            {
                "Method": row.values["method"],
                "Base": row.values["base"],
                "Tokens": str(row.values["text_tokens"]),
                "Before the text": f"{row.values['setting']}, {row.values['prompt_tokens']} tokens",
                "Read once": row.values["reuse"],
                "LLM tokens": _number(row.values["computed_tokens"]),
                "Texts/s": _number(row.values["texts_per_second"]),
                "Latency, ms": _number(row.values["latency_ms"]),
                "GB": _number(row.values["peak_memory_mb"] / 1e3),
                "J per text": _number(row.values["joules_per_text"]),
            }
            for row in self.of(Row)
        ]
        return f"What each method costs (all columns in efficiency.csv):\n\n{_table(lines)}" if lines else ""

    def _checks(self) -> str:
        lines = [
            {"Check": check.subject, "Expected": check.expected, "Found": check.found, "Verdict": check.verdict}
            for check in self.of(Check)
        ]
        bad = sum(check.verdict == BAD for check in self.of(Check))
        count = f"{len(lines)} checks, {bad} not as expected." if lines else ""
        return "\n\n".join(part for part in (count, _table(lines)) if part)

    def _accelerator(self, rates: list[Rate]) -> str:
        """An entry for causal2vec/plan/accelerators.yaml."""
        known = {rate.kind: rate for rate in rates}
        training, encoding = (f"{known[k].flops:.4g}" if k in known else "null" for k in ("training", "encoding"))
        card, date, memory = self.about["Card"], self.about["Date"], _memory(self.size)
        key = next((name for name in ("H200", "H100", "A100", "L40S") if name in card), re.sub(r"\W+", "-", card))
        return (
            "# FLOP/s and bytes; null: not measured. --publish puts them into causal2vec/plan/accelerators.yaml.\n"
            f"{key}: {{name: {json.dumps(card)}, training: {training}, encoding: {encoding}, "
            f"memory: {f'{memory:.4g}' if memory else 'null'}, device: {self.size.device}, measured: {date}, "
            f"commit: {json.dumps(self.about['Commit'])}}}\n"
        )


def met(one: Measured) -> str:
    """Whether the goals are met."""
    fast = math.isnan(one.goal) or one.ratio >= one.goal
    full = math.isnan(one.share_goal) or one.share >= one.share_goal
    if fast and full:
        return "yes"
    return "no: " + " and ".join(word for word, good in (("ratio", fast), ("share", full)) if not good)


def in_words(record: Record) -> str:
    """A result as one line of progress."""
    if isinstance(record, Check):
        return f"{record.verdict}: {record.subject}: {record.found} ({record.expected})"
    if isinstance(record, Measured):
        return (
            f"{record.work}: {_number(record.ours_median)} {record.unit}, rival {_number(record.rival_median)}, ratio "
            f"{_number(record.ratio)} (goal {_number(record.goal)}), share {_percent(record.share)} (goal "
            f"{_percent(record.share_goal)}) of {_number(record.matmul_tflops)} TFLOP/s, met: {met(record)}; "
            f"{record.note}"
        )
    if isinstance(record, Row):
        v = record.values
        return (
            f"{v['method']}, {v['text_tokens']} tokens, {v['setting']}, reuse {v['reuse']}: "
            f"{_number(v['texts_per_second'])} texts/s, {_number(v['latency_ms'])} ms, "
            f"{_number(v['joules_per_text'])} J"
        )
    if isinstance(record, Cost):
        return f"{record.work}: {record.kind} {record.share:.1%}"
    return f"{record.stage}: {record.text}" if isinstance(record, Note) else f"{record.kind}: {record.flops:.3g} FLOP/s"


def facts(size: Size) -> dict[str, str]:
    """What the numbers depend on."""
    return {
        "Card": _card(size),
        "Model": size.base,
        "Versions": ", ".join(f"{name} {_version(name)}" for name in VERSIONS),
        "System": f"{platform.platform()}, Python {platform.python_version()}",
        "Date": today(),
        "Commit": commit(),
    }


def commit() -> str:
    """Of these sources; a bundle without a repository says it in a file."""
    if (ROOT / COMMIT).is_file():
        return (ROOT / COMMIT).read_text(encoding="utf-8").strip()
    git = git_state()
    return f"{(git['commit'] or 'unknown')[:7]}{' with changes' if git['dirty'] else ''}"


def publish(results: Path, page: Path = Path("docs/gpu.md"), table: Path = TABLE) -> None:
    """Put a run's tables into the docs in the place of the last one's, and its rates into the plan's table.

    Args:
        results: The run's folder.
        page: A folder of its name gets the rows of the efficiency study.
        table: The plan's accelerators.

    Raises:
        UserError: There is no such run, it was on a processor, or the page lacks its marks; nothing is written then.
    """
    missing = [name for name in ("gpu.md", "checks.md") if not (results / name).is_file()]
    if missing:
        raise UserError(f"{results} holds no {missing[0]}; name the folder of a run of --gpu")
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise UserError(f"{page} lacks the lines '{BEGIN}' and '{END}'; put them back")
    before, rest = text.split(BEGIN)
    parts = [(results / name).read_text(encoding="utf-8").replace("# ", "### ", 1) for name in ("gpu.md", "checks.md")]
    rates, costs = results / "accelerators.yaml", results / "efficiency.csv"
    if rates.is_file():
        merge_rates(rates, table)
    if costs.is_file():
        write_text(page.with_suffix("") / costs.name, costs.read_text(encoding="utf-8"))
    write_text(page, "\n\n".join([before + BEGIN, *(part.strip() for part in parts), END + rest.split(END)[1]]))


def _card(size: Size) -> str:
    if not size.cuda:
        return "none: the processor"
    return _nvml(lambda nvml, gpu: str(nvml.nvmlDeviceGetName(gpu)), "an NVIDIA GPU")


def _memory(size: Size) -> float:
    return _nvml(lambda nvml, gpu: float(nvml.nvmlDeviceGetMemoryInfo(gpu).total), 0.0) if size.cuda else 0.0


def _nvml(ask: Any, otherwise: Any) -> Any:
    """An answer of the first GPU's driver: torch must not speak to a GPU in the process that starts the stages."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return ask(pynvml, pynvml.nvmlDeviceGetHandleByIndex(0))
    except Exception:  # no such package, no driver
        return otherwise


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _table(lines: list[dict[str, str]]) -> str:
    if not lines:
        return ""
    cells = [[text.replace("|", "\\|") for text in line.values()] for line in lines]
    rows = [list(lines[0]), ["---"] * len(lines[0]), *cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _number(value: float | None) -> str:
    return GAP if value is None or not math.isfinite(value) else format_number(value, "sig3")


def _percent(value: float) -> str:
    return f"{value:.0%}" if math.isfinite(value) else GAP


def _side(name: str, middle: float, low: float, high: float) -> str:
    return f"{name}: {_number(middle)} ({_number(low)} to {_number(high)})"


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with atomic_file(path) as draft:
        table.to_csv(draft, index=False, float_format="%.6g")
