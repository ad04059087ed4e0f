"""Wrong files that say what is reported: tables and claims."""

import json
from pathlib import Path

import pytest
from bad_cases import Case, check, write
from fixtures_reporting import score_rows, write_frame

from causal2vec.reporting.analysis.claims.schema import load_claims
from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.show.tables.build import build_tables
from causal2vec.reporting.show.tables.layout import load_layout

SCORES = score_rows({("echo", "b"): [0.1, 0.2, 0.3], ("last_token", "b"): [0.1, 0.2, 0.4]})
CLAIM = {
    "id": "one", "kind": "comparison", "title": "t", "statement": "s", "paper": "p", "source": "x",
    "confidence": "confirmed", "first": "causal2vec", "second": "echo",
}  # fmt: skip


def yaml_file(kind, load, name, text, says):
    return Case(f"{kind}: {name}", lambda folder: load(write(folder / f"{kind}.yaml", text)), says)


def layout(name, text, says):
    return yaml_file("tables", load_layout, name, text, says)


def columns(name, column, says):
    """A table of scores with such a column, built on a study."""

    def run(folder: Path):
        spec = {"tables": {"t": {"kind": "scores", "title": "T", "rows": ["trained"], "columns": [column]}}}
        write_frame(SCORES, folder / "scores.csv")
        build_tables(load_study(folder), load_layout(write(folder / "tables.yaml", json.dumps(spec))))

    return Case(f"tables: {name}", run, says)


def claim(name, says, **changes):
    content = {"claims": [{k: v for k, v in (CLAIM | changes).items() if v is not None}]}
    return yaml_file("claims", load_claims, name, json.dumps(content), says)


CASES = [
    layout(
        "no bytes", "", ("{path}/tables.yaml must hold a mapping with the key 'tables'; see config/tables.yaml for one")
    ),
    layout(
        "no tables",
        "tables: {}",
        ("{path}/tables.yaml: tables: Dictionary should have at least 1 item, but is {}; correct it"),
    ),
    layout("a list", "tables: []", "{path}/tables.yaml: tables: Input should be a mapping, but is []; correct it"),
    layout(
        "another kind",
        "tables: {a: {kind: score}}",
        ("{path}/tables.yaml: tables.a.kind: no kind of table is called 'score' (did you mean 'scores'?)"),
    ),
    layout(
        "no kind",
        "tables: {a: {}}",
        (
            "{path}/tables.yaml: key 'tables.a.kind' is missing; add it (known: scores, tasks, "
            "benchmark, ablations, efficiency, conditions, savings, published_savings, published_tasks, append_cost, "
            "training, audit, statistics, "
            "differences)"
        ),
    ),
    layout(
        "a name with a slash",
        "tables: {../a: {kind: tasks, title: t, columns: [trained]}}",
        (
            "{path}/tables.yaml: tables.../a: String should match pattern "
            "'^[A-Za-z0-9][A-Za-z0-9_.-]*$', but is '../a'; correct it"
        ),
    ),
    layout(
        "seven decimals",
        "tables: {a: {kind: tasks, title: t, columns: [trained], decimals: 7}}",
        ("{path}/tables.yaml: tables.a.decimals: Input should be less than or equal to 6, but is 7; correct it"),
    ),
    layout(
        "another row",
        "tables: {a: {kind: tasks, title: t, columns: [all]}}",
        (
            "{path}/tables.yaml: tables.a.columns.0: Input should be 'trained', 'untrained', "
            "'variants', 'imported' or 'published', but is 'all'; correct it"
        ),
    ),
    layout(
        "a table twice",
        "tables:\n  a: {kind: tasks}\n  a: {kind: tasks}",
        ("{path}/tables.yaml is not valid YAML (line 3: the key 'a' stands there twice); correct it"),
    ),
    layout(
        "another benchmark",
        "tables: {a: {kind: benchmark, title: t, rows: [trained], benchmark: MTEB}}",
        (
            "{path}/tables.yaml: tables.a.benchmark: no benchmark is called 'MTEB' (known: MTEB(eng, "
            "v1), MTEB(eng, v2), LLM2Vec 15-task subset); key 'tables.a.columns' is missing; add it"
        ),
    ),
    columns(
        "another task",
        "SciFcat",
        (
            "table 't': 'SciFcat' is neither a word of the layout nor a task type or task (did you "
            "mean 'SciFact'?); correct it"
        ),
    ),
    columns(
        "a task twice",
        {"title": "X", "tasks": ["SciFact", "SciFact"]},
        "table 't': the column 'X' names a task twice; remove one of them",
    ),
    columns(
        "no tasks",
        {"title": "X"},
        ("{path}/tables.yaml: tables.t.columns.0: the column 'X' needs either 'tasks' or 'benchmark'"),
    ),
    claim(
        "a slip",
        (
            "{path}/claims.yaml, claim 'one': unknown key 'secnd' (did you mean 'second'?); remove "
            "it or correct its name"
        ),
        secnd="echo",
    ),
    claim(
        "no kind",
        (
            "{path}/claims.yaml, claim 'one': 'kind' is None, not one of comparison, reduction, "
            "value (known: comparison, reduction, value); correct it"
        ),
        kind=None,
    ),
    claim(
        "the same twice",
        (
            "{path}/claims.yaml, claim 'one': 'first' and 'second' are both 'causal2vec'; a claim "
            "compares two different things"
        ),
        second="causal2vec",
    ),
    claim(
        "another confidence",
        (
            "{path}/claims.yaml, claim 'one': confidence: Input should be 'confirmed', 'third-hand' "
            "or 'inference', but is 'sure'; correct it"
        ),
        confidence="sure",
    ),
    claim(
        "a benchmark with a task",
        ("{path}/claims.yaml, claim 'one': over: 'task' stands alone; remove 'benchmark' and 'type', or 'task'"),
        over={"task": "a", "benchmark": "b"},
    ),
    yaml_file(
        "claims",
        load_claims,
        "no list",
        "claims: {}",
        ("{path}/claims.yaml must hold one key, 'claims', with a list of claims; see config/claims.yaml for one"),
    ),
    yaml_file(
        "claims",
        load_claims,
        "nothing",
        "",
        ("{path}/claims.yaml must hold one key, 'claims', with a list of claims; see config/claims.yaml for one"),
    ),
    yaml_file(
        "claims",
        load_claims,
        "a word",
        "claims: [a]",
        ("{path}/claims.yaml, claim 1: must be a mapping with an id, a kind and so on; see the others"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_layout_is_one_sentence(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
