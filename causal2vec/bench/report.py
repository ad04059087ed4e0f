"""What the bench writes: tables for reading, the same as CSV, curves as figures."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from causal2vec.bench.limits import GOAL, Utilisation
from causal2vec.bench.materials import Effort, Materials
from causal2vec.bench.profiling import largest_remaining
from causal2vec.bench.timing import Row
from causal2vec.reporting.show.tables.grid import GAP, format_number
from causal2vec.runtime.files import atomic_file, read_json, write_text
from causal2vec.runtime.manifest import git_state, today

VERSIONS = ("torch", "transformers", "sentence-transformers", "peft", "mteb", "snakemake")

BENCH_HEAD = (
    "Ours and rival: median (lowest to highest repetition) in the unit given; both took turns in one run. Ratio: "
    "of the medians. Limit: the ratio if ours did nothing but multiply matrices, at the rate measured beside this "
    "very work; of a plan, if ours were Snakemake alone. A dash: no goal, no rival, or not a matter of FLOPs."
)
LIMITS_HEAD = (
    "Share: FLOPs that the texts need (padding, and beginnings read once, not counted) over seconds, relative to the "
    "rate at which this machine multiplies the same layers' matrices, measured right before and after. Goal: "
    f"{GOAL:.0%} on a CPU."
)
PROFILE_HEAD = (
    "By torch's profiler, last-token pooling, own time of each kind of operator; what no operator accounts for is "
    "Python's, tokenising's and the profiler's own."
)


def facts(materials: Materials, effort: Effort) -> dict[str, str]:
    """What the numbers depend on: machine, versions, date."""
    hardware, git = read_json(materials.hardware), git_state()
    commit = f"{(git['commit'] or 'unknown')[:7]}{' with changes' if git['dirty'] else ''}"
    cores, memory = hardware.get("cores"), hardware.get("memory_gib")
    rates = ", ".join(f"{dtype} {rate:g} GFLOP/s" for dtype, rate in hardware.get("gflops", {}).items())
    return {
        "Machine": f"{hardware.get('device_name')}, {cores} cores, {memory} GiB, {hardware.get('system')}",
        "Load before": f"{os.getloadavg()[0]:.2f}",  # what else the machine was doing
        "Threads": str(materials.threads),
        "Number format": f"{materials.dtype}, by {hardware.get('dtype_chosen_by')} ({rates})",
        "Versions": ", ".join(f"{name} {version(name)}" for name in VERSIONS),
        "Repetitions": str(effort.repetitions),
        "Date": today(),
        "Commit": commit,
    }


def met(row: Row) -> str:
    """Whether the goal is met, and if not, whether this machine would allow it at all."""
    if math.isnan(row.goal):
        return GAP
    if row.ratio >= row.goal:
        return "yes"
    return "no: beyond the limit" if row.limit is not None and row.limit < row.goal else "no"


def write_rows(rows: list[Row], about: dict[str, str], folder: Path) -> None:
    """``bench.csv`` and ``bench.md``."""
    _write_csv(pd.DataFrame(rows, columns=Row._fields).assign(met=[met(row) for row in rows]), folder / "bench.csv")
    lines = [
        {
            "": str(number),
            "Work": row.work,
            "Ours": _side(row.ours, row.ours_median, row.ours_min, row.ours_max),
            "Rival": _side(row.rival, row.rival_median, row.rival_min, row.rival_max),
            "Unit": row.unit,
            "Ratio": _number(row.ratio),
            "Goal": GAP if math.isnan(row.goal) else f"{row.goal:g}",
            "Met": met(row),
            "Limit": _number(row.limit),
        }
        for number, row in enumerate(rows, 1)
    ]
    notes = "\n".join(f"{number}. {row.note}" for number, row in enumerate(rows, 1))
    write_text(folder / "bench.md", _page("Bench", about, BENCH_HEAD, _table(lines), notes))


def write_limits(found: list[Utilisation], rates: dict[str, float], about: dict[str, str], folder: Path) -> None:
    """``limits.csv`` and ``limits.md``: each method's share of the matrix-multiply rate; ``rates`` by number format."""
    _write_csv(pd.DataFrame(found, columns=Utilisation._fields), folder / "limits.csv")
    lines = [
        {
            "Work": one.work,
            "Method": one.method,
            "LLM tokens": f"{one.llm_tokens:,}",
            "Encoder tokens": f"{one.encoder_tokens:,}",
            "GFLOP": _number(one.gflop),
            "Seconds": _range(one.seconds, one.seconds_min, one.seconds_max),
            "GFLOP/s": _number(one.achieved_gflops),
            "Matrices alone, before": _number(one.rate_before),
            "After": _number(one.rate_after),
            "Share": f"{one.share:.0%}",
            "Goal met": "yes" if one.share >= GOAL else "no",
        }
        for one in found
    ]
    title = "Share of the machine's matrix-multiply rate"
    known = ", ".join(f"{rate:.0f} GFLOP/s in {dtype}" for dtype, rate in rates.items())
    write_text(folder / "limits.md", _page(title, about, f"The base's matrices: {known}. {LIMITS_HEAD}", _table(lines)))


def write_profile(profiled: list[dict[str, Any]], about: dict[str, str], folder: Path) -> None:
    """``profile.csv`` and ``profile.md``: where the time goes."""
    _write_csv(pd.DataFrame(profiled), folder / "profile.csv")
    parts = []
    for work in dict.fromkeys(line["work"] for line in profiled):
        largest = "; ".join(f"{line['kind']} {line['share']:.1%}" for line in largest_remaining(profiled, work))
        parts += [f"## {work.capitalize()}", f"Largest costs besides matrix multiplication: {largest}."]
        for level, title in (("kind", "Kind"), ("operator", "Operator")):
            lines = [
                {
                    title: line["name"],
                    **({"Kind": line["kind"]} if level == "operator" else {}),
                    "Calls": f"{line['calls']:,}",
                    "Seconds": f"{line['seconds']:.3f}",
                    "Share": f"{line['share']:.1%}",
                }
                for line in profiled
                if line["work"] == work and line["level"] == level
            ]
            parts.append(_table(lines))
    write_text(folder / "profile.md", _page("Profile", about, PROFILE_HEAD, *parts))


def _page(title: str, about: dict[str, str], *parts: str) -> str:
    known = "\n".join(f"- {key}: {value}" for key, value in about.items())
    return "\n\n".join([f"# {title}", known, *(part for part in parts if part)]) + "\n"


def _table(lines: Iterable[dict[str, str]]) -> str:
    from tabulate import tabulate

    plain = [{key: text.replace("|", "\\|") for key, text in line.items()} for line in lines]
    return tabulate(plain, headers="keys", tablefmt="pipe", disable_numparse=True)


def _number(value: float | None) -> str:
    return GAP if value is None or not math.isfinite(value) else format_number(value, "sig3")


def _side(name: str, middle: float, low: float, high: float) -> str:
    return f"{name}: {_range(middle, low, high)}" if math.isfinite(middle) else GAP


def _range(middle: float, low: float, high: float) -> str:
    return f"{_number(middle)} ({_number(low)} to {_number(high)})"


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with atomic_file(path) as draft:
        table.to_csv(draft, index=False, float_format="%.6g")
