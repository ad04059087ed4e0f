"""The tables by the law of costs: savings at the published conditions, and what a text that grows costs."""

from __future__ import annotations

from typing import Any

from causal2vec.efficiency.names import (
    EXAMPLES,
    GROW,
    INSTRUCTION,
    PARTS,
    PLAIN,
    PUBLISHED_LENGTH,
    PUBLISHED_ON,
    QUERIES,
    READ_AGAIN,
    READ_ONCE,
    SAVES,
)
from causal2vec.reporting.analysis.compare import Panel, compare
from causal2vec.reporting.analysis.savings import SETTINGS, law_beside_measured, shows_examples, usual_prompt
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.show.tables.costs import REUSE
from causal2vec.reporting.show.tables.grid import Cell, Column, RowGroup, Table, name_column, number_cell
from causal2vec.reporting.show.tables.layout import (
    AppendCostSpec,
    NumberColumn,
    PublishedSavingsSpec,
    PublishedTasksSpec,
)


def published_savings_table(spec: PublishedSavingsSpec, study: Study) -> Table | None:
    """Savings over the tasks, by rival, by what is embedded, and by how often a shared beginning is read."""
    frame: Any = study.published
    if frame is None or frame.empty:
        return None
    columns = [c for c in spec.columns if frame[_measure(c)].notna().any()]
    if not columns:
        return None
    groups = []
    for panel, known in _panels(study, frame):
        for part in PARTS:
            here = known[known["part"] == part]
            rows = []
            for rival in dict.fromkeys(here["rival"]):
                for reuse in (READ_AGAIN, READ_ONCE):
                    own = here[(here["rival"] == rival) & (here["reuse"] == reuse)]
                    cells = [_saving_cell(own[_measure(column)], column, spec) for column in columns]
                    rows.append([Cell(rival), Cell(reuse), Cell(float(len(own))), *cells])
            groups.append(RowGroup(panel.heading(part[:1].upper() + part[1:]), rows, ranked=False))
    shown = {column.source.partition("_")[0] for column in columns if column.source.endswith("_reached")}
    reached = " and ".join(f"{value:g} % of the {key}" for key, value in spec.claimed.items() if key in shown)
    notes = [
        f"Per cent of the rival's cost over the tasks of {PUBLISHED_ON}: median, in brackets the middle half of them.",
        *([f"Tasks at: how many save at least as much as the abstract's v1 says, {reached}."] if reached else []),
        "By the law of costs (docs/efficiency.md), not measured: mean lengths of each task's texts from mteb's "
        f"statistics, cut at {PUBLISHED_LENGTH} tokens, and the lengths of the examples that bge-en-icl publishes, "
        "which stand before queries alone; texts that are no documents count as queries.",
        "Reuse: yes where each method reads once what its texts share and its attention allows it.",
        *law_beside_measured(study.conditions, study.law),
    ]
    heads = [name_column("Against", "rival"), REUSE, Column("Tasks", "tasks", number=".0f")]
    return spec.table(heads, columns, groups, notes)


def published_tasks_table(spec: PublishedTasksSpec, study: Study) -> Table | None:
    """The savings of `published_savings_table` task by task, every token read."""
    if study.published is None:
        return None
    frame: Any = study.published[study.published["reuse"] == READ_AGAIN]
    columns = [
        c for c in spec.columns if "_tokens" in c.source or frame[f"{c.source.partition('_')[2]}_saved"].notna().any()
    ]
    groups = []
    for panel, here in _panels(study, frame):
        for rival in dict.fromkeys(here["rival"]):
            own = here[here["rival"] == rival].set_index(["task", "part"])
            queries = own.xs(QUERIES, level="part")
            rows = [
                [Cell(task), *(_task_cell(own, queries, task, column) for column in columns)]
                for task in queries.sort_values("tokens_saved", ascending=False, kind="stable").index
            ]
            groups.append(RowGroup(panel.heading(f"Against {rival}"), rows, ranked=False))
    notes = [
        f"Per cent of the rival's cost that {SAVES} saves on each task of {PUBLISHED_ON}; below zero it needs more.",
        "By the law of costs, as in the table of published savings; examples stand before in_context's queries alone.",
    ]
    return spec.table([name_column("Task", "task")], columns, groups, notes)


def append_cost_table(spec: AppendCostSpec, study: Study) -> Table | None:
    """What every method computes anew when a text grows, by what stands before it."""
    if study.law is None:
        return None
    law: Any = study.law[study.law["reuse"] == READ_AGAIN]
    law = law.assign(tokens_share=100 * law["computed_tokens"] / law["llm_tokens"])
    columns = [c for c in spec.columns if c.source == "tokens_share" or law[c.source].notna().any()]
    groups = []
    for panel, here in _panels(study, law):
        grown = here[here["what"] == GROW]
        for text in sorted(set(grown["text_tokens"])):
            rows = [
                [Cell(method), Cell(SETTINGS[row["setting"]]), *(number_cell(row[c.source]) for c in columns)]
                for method in dict.fromkeys(grown["method"])
                if (row := _own_way(grown[(grown["method"] == method) & (grown["text_tokens"] == text)], study))
                is not None
            ]
            groups.append(RowGroup(panel.heading(f"Texts of {text:,} tokens"), rows))
    notes = [
        "Anew: where attention is causal, the keys and values of what stands before the new tokens are kept, unless a "
        f"token there depends on the whole text, as {SAVES}'s does; an encoder reads the whole text again. Share: of "
        "what it reads in all. Every method behind what its recipe puts before a query.",
        *law_beside_measured(study.conditions, study.law),
    ]
    return spec.table(
        [name_column("Method", "method"), name_column("Before the text", "setting")], columns, groups, notes
    )


def _panels(study: Study, frame: Any) -> list[tuple[Panel, Any]]:
    """The panels whose base ``frame`` has rows of, with these rows."""
    found = [(p, frame[frame["base"] == p.base]) for p in compare(study.summary.entries, study.bases)]
    return [(panel, rows) for panel, rows in found if len(rows)]


def _measure(column: NumberColumn) -> str:
    return f"{column.source.partition('_')[0]}_saved"


def _saving_cell(saved: Any, column: NumberColumn, spec: PublishedSavingsSpec) -> Cell:
    measure, _, what = column.source.partition("_")
    if saved.isna().all():
        return Cell(None)
    if what == "reached":
        return Cell(float((saved >= spec.claimed[measure]).sum()) if measure in spec.claimed else None)
    if what == "most":
        return number_cell(saved.max())
    return number_cell(saved.median(), saved.quantile(0.25), saved.quantile(0.75))


def _task_cell(own: Any, queries: Any, task: str, column: NumberColumn) -> Cell:
    if column.source in ("text_tokens", "example_tokens"):
        return number_cell(queries.loc[task, column.source])
    part, _, measure = column.source.partition("_")
    place = task, next(name for name in PARTS if name.startswith(part))
    return number_cell(own.loc[place, f"{measure}_saved"] if place in own.index else None)


def _own_way(rows: Any, study: Study) -> Any:
    """The row of a method behind what its recipe puts before a query; of several lengths of examples the usual one."""
    shown = [EXAMPLES] if len(rows) and shows_examples(study.manifest, rows["method"].iloc[0]) else []
    for setting in (*shown, INSTRUCTION, PLAIN):
        if len(found := rows[rows["setting"] == setting]):
            usual = usual_prompt(study.law, setting, rows["base"].iloc[0])
            return found.loc[(found["prompt_tokens"] - usual).abs().idxmin()]
    return None
