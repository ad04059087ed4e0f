"""A plan as Markdown and CSV."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from causal2vec.plan.build import GIGA, Plan
from causal2vec.plan.storage import Amount
from causal2vec.runtime.files import atomic_file, write_text

HEAVY = ("pretrain_mntp", "pretrain_simcse", "train_model", "evaluate_model", "measure_efficiency")


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
