"""Tables of known benchmarks: published scores beside ours, on the same tasks."""

from __future__ import annotations

from causal2vec.reporting.analysis.compare import Panel, compare, split_blocks
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.read.benchmarks import benchmark_part, load_benchmarks, types_of
from causal2vec.reporting.show.tables.foreign import imported, published
from causal2vec.reporting.show.tables.grid import Table
from causal2vec.reporting.show.tables.layout import BenchmarkSpec
from causal2vec.reporting.show.tables.scores import build_scores, measures


def benchmark_table(name: str, spec: BenchmarkSpec, study: Study) -> Table | None:
    """A benchmark with ours, imported and published rows.

    None where it asks for ours but no method of ours has every task of it.

    Raises:
        UserError: As in `causal2vec.reporting.show.tables.scores.measures`.
    """
    tasks = load_benchmarks()[spec.benchmark]
    types = types_of(tasks)
    shown = measures(spec.columns, types, spec.benchmark, where=f"table '{name}'")
    whole = {e for e in study.summary.entries if study.summary.average(e, tasks) is not None}
    parts = [
        Panel(part.base, [e for e in part.entries if e in whole], part.title)
        for part in split_blocks(compare(study.summary.entries, study.bases), spec.rows)
    ]
    others = [
        *(imported(study, types) if "imported" in spec.rows else []),
        *(published(spec.benchmark, types, [m.key for m in shown], spec.settings) if "published" in spec.rows else []),
    ]
    notes = [*spec.notes, *_part_notes(study, tasks)]
    given = spec.model_copy(update={"notes": notes})
    return build_scores(name, given, study, shown, [part for part in parts if part.entries], others)


def _part_notes(study: Study, tasks: list[str]) -> list[str]:
    """Which tasks were evaluated on other splits or subsets than the benchmark counts."""
    main = study.scores[(study.scores["metric"] == "main_score") & study.scores["task"].isin(tasks)]
    odd = []
    for task, rows in main.groupby("task"):
        parts = sorted(set(zip(rows["split"], rows["subset"], strict=True)))
        if parts != [benchmark_part(str(task))]:
            odd.append(f"{task} ({', '.join('/'.join(part) for part in parts)})")
    return [f"Ours on other parts than the benchmark's, hence not comparable there: {', '.join(odd)}."] if odd else []
