"""How good a plan was: its predictions beside what Snakemake's benchmarks measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from causal2vec.errors import UserError

GOOD = 1.5
"""A prediction within this factor, up or down, counts as good."""

MIB = 2**20


def compare(plan: Path, benchmarks: Path) -> pd.DataFrame:
    """One row per stage, method and base that is both planned and measured.

    Args:
        plan: The ``plan.csv`` of `causal2vec.plan.render.write_plan`.
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
