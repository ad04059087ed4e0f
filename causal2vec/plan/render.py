"""A plan as Markdown and CSV, and its predictions beside what Snakemake's benchmarks measured."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from causal2vec.errors import UserError
from causal2vec.plan.build import GIGA, Amount, Plan
from causal2vec.runtime.files import atomic_file, write_text

HEAVY = ("pretrain_mntp", "pretrain_simcse", "train_model", "evaluate_model", "measure_efficiency")

GOOD = 1.5
"""A prediction within this factor, up or down, counts as good."""

MIB = 2**20


def write_plan(plan: Plan, folder: Path) -> str:
    """Write ``plan.md`` and ``plan.csv`` below ``folder``; returns the Markdown."""
    text = markdown(plan)
    with atomic_file(folder / "plan.csv") as draft:
        plan.table.to_csv(draft, index=False)
    write_text(folder / "plan.md", text)
    return text


def markdown(plan: Plan) -> str:
    """The plan for people: stages, memory, totals, time, disk, assumptions."""
    parts = [
        f"# Plan: {plan.title}",
        f"On {plan.accelerator.name}. An estimate: nothing was loaded or run.",
        "## Work",
        _md(_work(plan)),
        "## Memory of one process, GB",
        _md(_memory(plan)),
        "## Totals",
        _totals(plan),
        "## Time",
        _md(_walls(plan)),
        _critical(plan),
        "## Downloads and disk",
        _md(_amounts("download", plan.downloads)),
        _md(_amounts("disk", plan.disk)),
        "## Assumptions",
        "\n".join(f"- {note}" for note in [*plan.notes, _shapes(plan)]),
    ]
    return "\n\n".join(parts) + "\n"


def _work(plan: Plan) -> pd.DataFrame:
    table = plan.table[plan.table.stage.isin(HEAVY)]
    hours = [column for column in table if str(column).startswith("device_hours_")]
    rows = [
        {
            "stage": row["stage"],
            "method": row["method"] or "(all)",
            "base": row["base"] or "(all)",
            "jobs": row["jobs"],
            "devices": row["devices"],
            "trainable": count(row["trainable_parameters"]) if row["trainable_parameters"] else "-",
            "parameters": count(row["parameters"]),
            "tokens": count(row["tokens"]),
            "FLOPs": count(row["flops"]),
            **{f"{str(c).removeprefix('device_hours_')} h": hours_text(row[c]) for c in hours},
        }
        for row in table.to_dict("records")
    ]
    return pd.DataFrame(rows)


def _memory(plan: Plan) -> pd.DataFrame:
    table = plan.table[plan.table.stage.isin(HEAVY) & plan.table.memory_gb.notna() & (plan.table.flops > 0)]
    columns = {
        "memory_weights_gb": "weights",
        "memory_learning_gb": "gradients, optimizer",
        "memory_activations_gb": "activations",
        "memory_gb": "all",
        "memory_plain_gb": "plain batch",
        "memory_checkpointed_gb": "with checkpointing",
        "fits": "fits",
    }
    shown = table[["stage", "method", "base", *columns]].rename(columns=columns)
    return shown.fillna({"plain batch": "-", "with checkpointing": "-"}).astype(object)


def _totals(plan: Plan) -> str:
    table, lines = plan.table, []
    lines.append(
        f"- {int(table.jobs.sum())} jobs, {count(table.flops.sum())} FLOPs, {count(table.tokens.sum())} tokens."
    )
    for column in [str(c) for c in table.columns if str(c).startswith("device_hours_")]:
        by_stage = table[table.stage.isin(HEAVY)].groupby("stage", sort=False)[column].sum()
        parts = ", ".join(f"{stage} {hours_text(value)}" for stage, value in by_stage.items())
        name = column.removeprefix("device_hours_")
        lines.append(f"- Device-hours on {name}: {hours_text(table[column].sum())} ({parts}).")
    lines.append(f"- Downloads: {gigabytes(sum(a.bytes for a in plan.downloads))}.")
    lines.append(f"- Disk: {gigabytes(sum(a.bytes for a in plan.disk))}.")
    if small := sorted(
        {f"{r['stage']} {r['method']} {r['base']}".strip() for r in table[table.fits == "NO"].to_dict("records")}
    ):
        lines.append(f"- DOES NOT FIT into {gigabytes(plan.accelerator.memory or 0)}: {'; '.join(small)}.")
    return "\n".join(lines)


def _walls(plan: Plan) -> pd.DataFrame:
    unit = "devices" if plan.accelerator.device == "cuda" else "jobs at once"
    return pd.DataFrame([{unit: number, "hours": hours_text(s / 3600)} for number, s in plan.walls.items()])


def _critical(plan: Plan) -> str:
    length, path = plan.critical
    return f"Critical path ({hours_text(length / 3600)} h, however many devices): {' -> '.join(path)}."


def _amounts(title: str, amounts: list[Amount]) -> pd.DataFrame:
    return pd.DataFrame([{title: a.what, "GB": f"{a.bytes / GIGA:.2f}", "note": a.note} for a in amounts])


def _shapes(plan: Plan) -> str:
    return "Shapes of the models: " + ", ".join(f"{name} ({source})" for name, source in plan.shapes.items()) + "."


def _md(table: pd.DataFrame) -> str:
    return str(table.to_markdown(index=False, disable_numparse=True)) if len(table) else "(none)"


def count(value: Any) -> str:
    """A number with a unit of thousands: ``1.35 B`` for tokens and weights, up to ``E`` for FLOPs."""
    number = float(value)
    for limit, unit in ((1e18, " E"), (1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.0f}"


def hours_text(hours: float) -> str:
    """Hours with one decimal; two below six minutes, three below one."""
    if math.isnan(hours):
        return "-"
    return f"{hours:.1f}" if hours >= 0.1 else f"{hours:.2f}" if hours >= 0.0166 else f"{hours:.3f}"


def gigabytes(value: float) -> str:
    """Bytes as GB."""
    return f"{value / GIGA:.1f} GB"


def compare(plan: Path, benchmarks: Path) -> pd.DataFrame:
    """One row per stage, method and base that is both planned and measured.

    Args:
        plan: The ``plan.csv`` of `write_plan`.
        benchmarks: Snakemake's benchmark files, ``<rule>/.../*.jsonl``.

    Returns:
        Predicted and measured seconds and GB per job (means over the jobs measured; the memory is that of the largest
        job, which Snakemake samples every 30 s and so may see too small), and predicted over measured.

    Raises:
        UserError: There is no plan, no benchmark, or none that was planned.
    """
    if not plan.is_file():
        raise UserError(f"{plan} does not exist; run `snakemake plan` first")
    predicted = pd.read_csv(plan, keep_default_na=False, na_values={"memory_gb": [""]})
    measured = _measured(benchmarks)
    joined = predicted.merge(measured, on=["stage", "method", "base"], how="inner")
    if joined.empty:
        raise UserError(f"{benchmarks} holds no measurement of a job in {plan}; name the folder of the study's own run")
    return pd.DataFrame(
        {
            "stage": joined.stage,
            "method": joined.method,
            "base": joined.base,
            "measured": joined.measured,
            "predicted_s": joined.seconds_per_job,
            "measured_s": joined.seconds.round(1),
            "ratio_s": (joined.seconds_per_job / joined.seconds).round(2),
            "predicted_gb": joined.memory_gb,
            "measured_gb": joined.gigabytes.round(2),
            "ratio_gb": (joined.memory_gb / joined.gigabytes).round(2),
        }
    )


def report(table: pd.DataFrame) -> str:
    """The comparison as Markdown, and how many predictions are good."""
    lines = []
    for column, what in (("ratio_s", "seconds"), ("ratio_gb", "memory")):
        ratios = table[column].dropna()
        good = int(ratios.between(1 / GOOD, GOOD).sum())
        lines.append(f"Within a factor of {GOOD}: {good} of {len(ratios)} in {what}.")
    shown = table.astype(object).where(table.notna(), "-")
    return str(shown.to_markdown(index=False, disable_numparse=True)) + "\n\n" + "\n".join(lines) + "\n"


def _measured(folder: Path) -> pd.DataFrame:
    rows = [row for path in sorted(folder.rglob("*.jsonl")) for row in _records(path, folder)]
    if not rows:
        raise UserError(
            f"{folder} holds no benchmark files (*.jsonl); run the study first or name its work/STUDY/benchmarks"
        )
    grouped = pd.DataFrame(rows).groupby(["stage", "method", "base"], sort=False, as_index=False)
    return grouped.agg(seconds=("s", "mean"), gigabytes=("gb", "max"), measured=("s", "size"))


def _records(path: Path, folder: Path) -> list[dict[str, Any]]:
    stage, method, base = _job(path.relative_to(folder).with_suffix("").parts)
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            facts = json.loads(line)
            resident = facts.get("max_rss")
            found.append(
                {
                    "stage": stage,
                    "method": method,
                    "base": base,
                    "s": float(facts["s"]),
                    "gb": float(resident) * MIB / 1e9 if isinstance(resident, int | float) else None,
                }
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}, line {number}, is no benchmark of Snakemake ({error!r}); delete the file"
            ) from error
    return found


def _job(parts: tuple[str, ...]) -> tuple[str, str, str]:
    """Stage, method and base from a benchmark's path below the study's ``benchmarks``."""
    stage = parts[0]
    if stage in ("train_model", "evaluate_model"):
        return stage, parts[1], parts[2]
    if stage == "pretrain_simcse":
        return stage, "", parts[2]
    if stage == "fetch_package" or len(parts) == 1:
        return stage, "", ""
    return stage, "", parts[1]
