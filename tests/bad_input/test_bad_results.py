"""Wrong result files and wrong files that say what is reported: scores, items, costs, training, manifest, layouts."""

import json
from pathlib import Path

import pandas as pd
import pytest
from bad_cases import Case, check, write
from fixtures_reporting import cost_rows, make_job, score_rows, write_frame

from causal2vec.evaluation.prompts import load_examples, load_prompts
from causal2vec.reporting.claims.schema import load_claims
from causal2vec.reporting.evidence import read_evidence
from causal2vec.reporting.gather import collect_items, collect_training
from causal2vec.reporting.published.imported import read_external
from causal2vec.reporting.schema import read_efficiency, read_training
from causal2vec.reporting.scores import collect_scores, read_scores
from causal2vec.reporting.statistics import compute_statistics
from causal2vec.reporting.statistics.items import read_items
from causal2vec.reporting.study import load_study
from causal2vec.reporting.tables.build import build_tables
from causal2vec.reporting.tables.layout import load_layout

SCORES = score_rows({("echo", "b"): [0.1, 0.2, 0.3], ("last_token", "b"): [0.1, 0.2, 0.4]})
ITEMS = {
    "method": "m", "base": "b", "seed": 0, "split": "test", "subset": "default", "metric": "mean", "draw": "",
    "item": ["1", "2"], "prediction": [0.5, 1.0], "target": float("nan"),
}  # fmt: skip
RUN = {
    "method": "m", "base": "b", "seed": 0, "steps": 1, "pairs": 2, "seconds": 1.0, "loss": [{"step": 1, "loss": 1.0}],
    "trainable_parameters": 1,
}  # fmt: skip
CLAIM = {
    "id": "one", "kind": "comparison", "title": "t", "statement": "s", "paper": "p", "source": "x",
    "confidence": "confirmed", "first": "causal2vec", "second": "echo",
}  # fmt: skip
RESULT = {"mteb_version": "2.26.24", "dataset_revision": "r", "scores": {"test": [{"main_score": 0.5}]}}


def scores(name, old, new, says):
    """A scores.csv with one text in it replaced."""

    def run(folder: Path):
        path = write_frame(SCORES, folder / "scores.csv")
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        read_scores(path)

    return Case(f"scores: {name}", run, says)


def costs(name, says, **changes):
    def run(folder: Path):
        frame = cost_rows(["echo"])
        frame = frame.drop(columns=[key for key, value in changes.items() if value is None])
        frame = frame.assign(**{key: value for key, value in changes.items() if value is not None})
        read_efficiency(write_frame(frame, folder / "efficiency.csv"))

    return Case(f"efficiency: {name}", run, says)


def items(name, says, **changes):
    def run(folder: Path):
        columns = {key: value for key, value in (ITEMS | changes).items() if value is not ...}
        pd.DataFrame(columns, index=range(2)).to_parquet(folder / "T.parquet")
        read_items(folder / "T.parquet")

    return Case(f"items: {name}", run, says)


def training(name, content, says):
    def run(folder: Path):
        read_training(write(folder / "training.json", content if isinstance(content, str) else json.dumps(content)))

    return Case(f"training: {name}", run, says)


def manifest(name, content, says):
    def run(folder: Path):
        write_frame(SCORES, folder / "scores.csv")
        write(folder / "manifest.json", content if isinstance(content, str) else json.dumps(content))
        load_study(folder)

    return Case(f"manifest: {name}", run, says)


def configured(name, config, says):
    return manifest(name, {"id": "1", "config": config}, says)


def job(name, edit, says):
    """An evaluation job whose record or result was edited."""

    def run(folder: Path):
        made = make_job(folder, "echo", scores={"SciFact": 0.5})
        edit(made)
        collect_scores([made], folder / "mteb", folder / "scores.csv")
        collect_items([made], folder / "items")

    return Case(f"job: {name}", run, says)


def edited(pattern, **changes):
    """Changes keys of the one JSON file of a job that matches a pattern; None takes one out."""

    def edit(made: Path):
        (path,) = made.glob(pattern)
        path.write_text(
            json.dumps({k: v for k, v in (json.loads(path.read_text()) | changes).items() if v is not None})
        )

    return edit


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


def prompts(name, text, says):
    return yaml_file("prompts", load_prompts, name, text, says)


def examples(name, says, **changes):
    content = {"template": "<instruct>{instruction}", "example": "<instruct>{instruction}{query}{response}"} | changes
    return yaml_file("examples", load_examples, name, json.dumps(content), says)


def external(name, content, says, file="o__m/r/STS12.json"):
    def run(folder: Path):
        write(folder / file, content if isinstance(content, str | bytes) else json.dumps(content))
        read_external(folder)

    return Case(f"external: {name}", run, says)


def result(**entry):
    return RESULT | {"scores": {"test": [entry]}}


def statistics(name, says, **changes):
    def run(folder: Path):
        write_frame(SCORES, folder / "scores.csv")
        compute_statistics(folder / "scores.csv", folder / "items", folder / "out", **changes)

    return Case(f"statistics: {name}", run, says)


def evidence_without_notes(folder: Path):
    write_frame(SCORES, folder / "scores.csv")
    compute_statistics(folder / "scores.csv", folder / "items", folder / "statistics")
    (folder / "statistics" / "notes.txt").unlink()
    read_evidence(folder / "statistics")


def no_main_score(folder: Path):
    write_frame(SCORES.assign(metric="accuracy"), folder / "scores.csv")
    load_study(folder)


def items_of_other_columns(folder: Path):
    made = make_job(folder, "echo", scores={"SciFact": 0.5})
    (made / "items").mkdir()
    pd.DataFrame({"item": ["1"], "score": [0.5]}).to_parquet(made / "items" / "SciFact.parquet")
    collect_items([made], folder / "items")


CASES = [
    scores(
        "a column is missing",
        ",items",
        ",itens",
        "{path}/scores.csv, line 1: column 'items' is missing; run the stage that writes it again",
    ),
    scores(
        "a column twice",
        ",data_revision",
        ",data_revision,value",
        "{path}/scores.csv, line 1: two columns are called 'value'; remove one of them",
    ),
    scores(
        "no number",
        ",0.2,",
        ",a lot,",
        "{path}/scores.csv, line 3, column 'value' is 'a lot', not a number; correct it",
    ),
    scores(
        "not a number",
        ",0.2,",
        ",nan,",
        "{path}/scores.csv, line 3, column 'value' is 'nan', not a finite number; correct it",
    ),
    scores(
        "without end",
        ",0.2,",
        ",inf,",
        "{path}/scores.csv, line 3, column 'value' is 'inf', not a finite number; correct it",
    ),
    scores(
        "a seed that is no whole number",
        "echo,b,0",
        "echo,b,0.5",
        "{path}/scores.csv, line 2, column 'seed' is '0.5', not a whole number; correct it",
    ),
    scores("no method", "\necho,", "\n,", "{path}/scores.csv, line 2, column 'method' is empty; correct it"),
    scores("a field too many", ",r1\n", ",r1,r2\n", "{path}/scores.csv, line 2: more fields than columns; correct it"),
    scores(
        "a field too few",
        ",0.1,10,",
        ",0.1,",
        "{path}/scores.csv, line 2, column 'items' is '2.26.24', not a whole number; correct it",
    ),
    scores(
        "a quote that is not closed",
        "\necho",
        '\n"echo',
        "{path}/scores.csv is not a readable CSV file (unexpected end of data); write it again",
    ),
    scores(
        "twice the same",
        "last_token,b,0,NFCorpus",
        "echo,b,0,NFCorpus",
        (
            "{path}/scores.csv, line 5: the same method, base, seed, task, split, subset, metric was "
            "already given; keep one of them"
        ),
    ),
    Case(
        "scores: no rows",
        lambda f: read_scores(write(f / "scores.csv", ",".join(SCORES.columns) + "\n")),
        "{path}/scores.csv has a header but no rows; run the stage that writes it again",
    ),
    Case(
        "scores: no bytes",
        lambda f: read_scores(write(f / "scores.csv", "")),
        ("{path}/scores.csv, line 1: column 'method' is missing; run the stage that writes it again"),
    ),
    Case(
        "scores: not UTF-8",
        lambda f: read_scores(write(f / "scores.csv", b"\xff\xfe")),
        (
            "{path}/scores.csv is not a readable CSV file ('utf-8' codec can't decode byte 0xff in "
            "position 0: invalid start byte); write it again"
        ),
    ),
    Case("scores: a folder", lambda f: read_scores(f), "{path} cannot be read (Is a directory); name another file"),
    Case(
        "scores: absent",
        lambda f: load_study(f),
        "{path}/scores.csv does not exist; make it first or name another file",
    ),
    Case("scores: no main score", no_main_score, "the scores hold no row with metric 'main_score'; collect them again"),
    costs(
        "a column is missing",
        (
            "{path}/efficiency.csv, line 1: column 'seconds_per_1000_texts' is missing; run the "
            "stage that writes it again"
        ),
        seconds_per_1000_texts=None,
    ),
    costs(
        "no length",
        (
            "{path}/efficiency.csv, line 2, column 'text_tokens' is 'long', neither a whole number "
            "of tokens nor 'mixed' nor 'task:NAME'; correct it"
        ),
        text_tokens="long",
    ),
    costs(
        "no task",
        (
            "{path}/efficiency.csv, line 2, column 'text_tokens' is 'task:', neither a whole number "
            "of tokens nor 'mixed' nor 'task:NAME'; correct it"
        ),
        text_tokens="task:",
    ),
    costs(
        "another setting",
        (
            "{path}/efficiency.csv, line 2, column 'setting' is 'few-shot', not one of plain, "
            "instruction, examples; correct it"
        ),
        setting="few-shot",
    ),
    costs(
        "no number",
        ("{path}/efficiency.csv, line 2, column 'texts_per_second' is 'fast', not a number; correct it"),
        texts_per_second="fast",
    ),
    costs(
        "below zero",
        ("{path}/efficiency.csv, line 2, column 'seconds_per_1000_texts' is '-1.0', not above zero; correct it"),
        seconds_per_1000_texts=-1.0,
    ),
    costs(
        "twice the same",
        (
            "{path}/efficiency.csv, line 3: the same method, base, setting, reuse, text_tokens was "
            "already given; keep one of them"
        ),
        text_tokens="32",
    ),
    items(
        "a column is missing",
        "{path}/T.parquet: column 'prediction' is missing; collect the scores again",
        prediction=...,
    ),
    items(
        "another metric",
        (
            "{path}/T.parquet, column 'metric': 'rouge' for item '1' of method 'm', base 'b', seed 0 "
            "is none of mean, spearman, max_ap, v_measure; evaluate this model again"
        ),
        metric="rouge",
    ),
    items(
        "no numbers",
        "{path}/T.parquet, column 'prediction': does not hold numbers; collect the scores again",
        prediction=["a", "b"],
    ),
    items(
        "without end",
        (
            "{path}/T.parquet, column 'prediction': 'inf' for item '2' of method 'm', base 'b', seed "
            "0 is not a finite number; evaluate this model again"
        ),
        prediction=[0.5, float("inf")],
    ),
    items(
        "an item twice",
        (
            "{path}/T.parquet, split 'test', subset 'default': method 'm', base 'b', seed 0 has item "
            "'1' twice; evaluate this model again"
        ),
        item=["1", "1"],
    ),
    items("no item", "{path}/T.parquet, column 'item': a value is missing; collect the scores again", item=["1", None]),
    items(
        "labels that are none",
        (
            "{path}/T.parquet, column 'target': '2.0' for item '2' of method 'm', base 'b', seed 0 "
            "is neither 0 nor 1; evaluate this model again"
        ),
        metric="max_ap",
        target=[0.0, 2.0],
    ),
    Case(
        "items: no parquet",
        lambda f: read_items(write(f / "T.parquet", "PAR1 is all")),
        (
            "{path}/T.parquet is not a readable Parquet file (Could not open Parquet input source "
            "'{path}/T.parquet': Parquet magic bytes not found in footer); collect the scores again"
        ),
    ),
    Case(
        "items: absent",
        lambda f: read_items(f / "T.parquet"),
        "{path}/T.parquet does not exist; make it first or name another file",
    ),
    training(
        "no JSON",
        "[{]",
        (
            "{path}/training.json is not valid JSON (Expecting property name enclosed in double "
            "quotes: line 1 column 3 (char 2)); delete it and run the same command again"
        ),
    ),
    training("no list", {}, "{path}/training.json must hold a list of training records; collect them again"),
    training("no record", [3], "{path}/training.json, record 1 must be a JSON object; collect the records again"),
    training(
        "a field is missing",
        [{k: v for k, v in RUN.items() if k != "loss"}],
        "{path}/training.json, record 1: 'loss' is None; train this model again",
    ),
    training(
        "a seed that is true",
        [RUN | {"seed": True}],
        "{path}/training.json, record 1: 'seed' is True; train this model again",
    ),
    training(
        "a loss that is no number",
        [RUN | {"loss": [{"step": 1, "loss": None}]}],
        (
            "{path}/training.json, record 1: the loss entry {'step': 1, 'loss': None} needs a finite "
            "'step' and 'loss'; look at this run's training log and train it again"
        ),
    ),
    training(
        "twice the same",
        [RUN, RUN],
        ("{path}/training.json describes method 'm', base 'b', seed 0 a second time; collect the records again"),
    ),
    training(
        "a number of 5000 digits",
        f"[{'1' * 5000}]",
        (
            "{path}/training.json is not valid JSON (Exceeds the limit (4300 digits) for integer "
            "string conversion: value has 5000 digits); delete it and run the same command again"
        ),
    ),
    training(
        "nested without end",
        "[" * 100000,
        ("{path}/training.json is not valid JSON (it is nested too deeply); delete it and run the same command again"),
    ),
    Case(
        "training: a folder",
        lambda f: read_training(f),
        "{path} cannot be read (Is a directory); make it again or name another file",
    ),
    Case(
        "training: no record to collect",
        lambda f: collect_training([f], f / "training.json"),
        "{path}/training.json does not exist; make it first or name another file",
    ),
    manifest(
        "no JSON",
        "{",
        (
            "{path}/manifest.json is not valid JSON (Expecting property name enclosed in double "
            "quotes: line 1 column 2 (char 1)); delete it and run the same command again"
        ),
    ),
    manifest("a list", [], "{path}/manifest.json: it is no JSON object; restore the file, or run the study again"),
    manifest(
        "no configuration",
        {"id": "1"},
        ("{path}/manifest.json: it has no 'id' or no 'config'; restore the file, or run the study again"),
    ),
    manifest(
        "no id",
        {"config": {}},
        ("{path}/manifest.json: it has no 'id' or no 'config'; restore the file, or run the study again"),
    ),
    configured(
        "a configuration that is a list",
        [],
        ("{path}/manifest.json: it has no 'id' or no 'config'; restore the file, or run the study again"),
    ),
    configured(
        "methods that are a list",
        {"methods": ["echo"]},
        (
            "{path}/manifest.json: 'config.methods' is no mapping of names to settings; restore the "
            "file, or run the study again"
        ),
    ),
    configured("a base without scores", {"bases": ["c"]}, "the compared base 'c' has no scores; name some of these: b"),
    configured(
        "an ablation of no method",
        {"ablations": {"x": {"method": "m", "axis": "a", "values": []}}},
        (
            "{path}/manifest.json: 'config.ablations.x' lacks its axis or values, or varies a method "
            "that is not there; restore the file, or run the study again"
        ),
    ),
    configured(
        "an ablation without values",
        {"methods": {"m": {}}, "ablations": {"x": {"method": "m"}}},
        (
            "{path}/manifest.json: 'config.ablations.x' lacks its axis or values, or varies a method "
            "that is not there; restore the file, or run the study again"
        ),
    ),
    configured(
        "a stage without settings",
        {"methods": {"m": {"mntp": True}}},
        (
            "{path}/manifest.json: a method has 'mntp', but 'config.mntp' has no 'steps'; restore "
            "the file, or run the study again"
        ),
    ),
    job(
        "no record",
        lambda made: (made / "record.json").unlink(),
        "{path}/job-000/record.json does not exist; make it first or name another file",
    ),
    job(
        "a record that is a list",
        lambda made: (made / "record.json").write_text("[]"),
        ("{path}/job-000/record.json: 'method' is None; delete {path}/job-000 and evaluate this model again"),
    ),
    job(
        "no seed",
        edited("record.json", seed=None),
        ("{path}/job-000/record.json: 'seed' is None; delete {path}/job-000 and evaluate this model again"),
    ),
    job(
        "a seed that is a word",
        edited("record.json", seed="zero"),
        ("{path}/job-000/record.json: 'seed' is 'zero'; delete {path}/job-000 and evaluate this model again"),
    ),
    job(
        "no tasks",
        edited("record.json", tasks={}),
        ("{path}/job-000/record.json lists no tasks; delete {path}/job-000 and evaluate this model again"),
    ),
    job(
        "a task of no type",
        edited("record.json", tasks={"SciFact": {}}),
        (
            "model 'suite/tiny 6563686f-0', task 'SciFact': 'task_type' is None in {path}/job-000; "
            "delete that folder and evaluate this model again"
        ),
    ),
    job(
        "no result",
        edited("record.json", tasks={"STS12": {}}),
        (
            "model 'suite/tiny 6563686f-0' has no result for task 'STS12' (no "
            "{path}/job-000/results/suite__tiny_6563686f-0/abc/STS12.json); delete {path}/job-000 "
            "and evaluate it again"
        ),
    ),
    job(
        "no version",
        edited("results/*/*/SciFact.json", mteb_version=None),
        (
            "model 'suite/tiny 6563686f-0', task 'SciFact': 'mteb_version' is None in "
            "{path}/job-000; delete that folder and evaluate this model again"
        ),
    ),
    job(
        "scores that are a list",
        edited("results/*/*/SciFact.json", scores=[]),
        (
            "model 'suite/tiny 6563686f-0', task 'SciFact': the scores in the result file are not as "
            "mteb writes them; delete {path}/job-000 and evaluate it again"
        ),
    ),
    job(
        "an entry that is a number",
        edited("results/*/*/SciFact.json", scores={"test": [3]}),
        (
            "model 'suite/tiny 6563686f-0', task 'SciFact': the scores in the result file are not as "
            "mteb writes them; delete {path}/job-000 and evaluate it again"
        ),
    ),
    job(
        "no main score",
        edited("results/*/*/SciFact.json", scores={"test": [{"main_score": None}]}),
        (
            "model 'suite/tiny 6563686f-0', task 'SciFact' (test/default): the main score is None, "
            "not a number; see what the model returns on this task, delete {path}/job-000 and "
            "evaluate it again"
        ),
    ),
    job(
        "no scores",
        edited("results/*/*/SciFact.json", scores={}),
        (
            "model 'suite/tiny 6563686f-0', task 'SciFact': the result file holds no scores; delete "
            "{path}/job-000 and evaluate it again"
        ),
    ),
    job(
        "a revision out of the folder",
        edited("record.json", revision="../../x"),
        (
            "model 'suite/tiny 6563686f-0' has no result for task 'SciFact' (no "
            "{path}/job-000/results/suite__tiny_6563686f-0/../../x/SciFact.json); delete "
            "{path}/job-000 and evaluate it again"
        ),
    ),
    job(
        "items that are no parquet",
        lambda made: write(made / "items" / "SciFact.parquet", "x"),
        (
            "{path}/job-000/items/SciFact.parquet cannot be read (Could not open Parquet input "
            "source '{path}/job-000/items/SciFact.parquet': Parquet file size is 1 bytes, smaller "
            "than the minimum file footer (8 bytes)); delete {path}/job-000 and evaluate it again"
        ),
    ),
    Case(
        "job: items of other columns",
        items_of_other_columns,
        (
            "{path}/job-000/items/SciFact.parquet has other columns than split, subset, metric, "
            "draw, item, prediction, target (such as 'draw'); delete {path}/job-000 and evaluate it "
            "again"
        ),
    ),
    Case(
        "job: none",
        lambda f: collect_scores([], f / "mteb", f / "scores.csv"),
        "no evaluation jobs were named; give at least one folder that holds a record.json",
    ),
    statistics(
        "too few", "99 resamples are too few for a 95 % interval; ask for 100 or more, usually 2000", resamples=99
    ),
    statistics("a seed below zero", "the seed of the statistics is -1; give 0 or a positive number", seed=-1),
    statistics("a base without scores", "the compared base 'c' has no scores; name some of these: b", bases=["c"]),
    Case(
        "statistics: no notes",
        evidence_without_notes,
        (
            "{path}/statistics/notes.txt cannot be read ([Errno 2] No such file or directory: "
            "'{path}/statistics/notes.txt'); compute the statistics again"
        ),
    ),
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
            "benchmark, ablations, efficiency, conditions, savings, training, statistics, "
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
        ("{path}/tables.yaml is not valid YAML (line 2: the key 'a' stands there twice); correct it"),
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
    prompts(
        "a slip",
        "tusks: {}",
        (
            "{path}/prompts.yaml is no prompts file: unknown key 'tusks' (did you mean 'tasks'?); "
            "remove it or correct its name"
        ),
    ),
    prompts(
        "a list",
        "- a",
        ("{path}/prompts.yaml is no prompts file: it must hold a mapping; see config/prompts.yaml for one"),
    ),
    prompts(
        "a number as instruction",
        "tasks: {SciFact: 3}",
        ("{path}/prompts.yaml is no prompts file: tasks.SciFact: Input should be a valid string, but is 3; correct it"),
    ),
    prompts(
        "a template without its field",
        "template: 'Query: '",
        ("{path}/prompts.yaml is no prompts file: template: it must hold {instruction} and no other field; correct it"),
    ),
    prompts(
        "a template with another field",
        "template: '{instructoin}'",
        ("{path}/prompts.yaml is no prompts file: template: it must hold {instruction} and no other field; correct it"),
    ),
    prompts(
        "a template with half a brace",
        "template: '{instruction'",
        ("{path}/prompts.yaml is no prompts file: template: it must hold {instruction} and no other field; correct it"),
    ),
    prompts(
        "not UTF-8",
        b"template: \xff",
        (
            "{path}/prompts.yaml is not valid YAML ('utf-8' codec can't decode byte 0xff in position "
            "10: invalid start byte); correct it"
        ),
    ),
    Case(
        "prompts: absent",
        lambda f: load_prompts(f / "prompts.yaml"),
        "{path}/prompts.yaml does not exist; set evaluation.prompts to a file of prompts",
    ),
    Case(
        "prompts: no instruction",
        lambda f: load_prompts(write(f / "p.yaml", "sources: {bible: x}")).for_training("b"),
        (
            "evaluation.prompts names a file without an instruction for the training source 'b'; add "
            "it there under sources (known: bible), as an empty text if it shall have none"
        ),
    ),
    examples(
        "a template without its field",
        (
            "{path}/examples.yaml is no examples file: template: it must hold {instruction} and no "
            "other field; correct it"
        ),
        template="<instruct>",
    ),
    examples(
        "an example without its field",
        (
            "{path}/examples.yaml is no examples file: example: it must hold {instruction}, {query}, "
            "{response} and no other field; correct it"
        ),
        example="<instruct>{query}",
    ),
    examples(
        "another beginning",
        "{path}/examples.yaml is no examples file: template: it must begin with <instruct>",
        template="{instruction}",
    ),
    examples(
        "an empty query",
        (
            "{path}/examples.yaml is no examples file: tasks.A.0.query: String should have at least "
            "1 character, but is ''; correct it"
        ),
        tasks={"A": [{"query": "", "response": "x"}]},
    ),
    examples(
        "no answer",
        "{path}/examples.yaml is no examples file: key 'types.STS.0.response' is missing; add it",
        types={"STS": [{"query": "x"}]},
    ),
    examples(
        "a slip",
        (
            "{path}/examples.yaml is no examples file: unknown key 'seperator' (did you mean "
            "'separator'?); remove it or correct its name"
        ),
        seperator=" ",
    ),
    external(
        "no JSON",
        "{",
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json is not "
            "valid JSON); name another folder"
        ),
    ),
    external(
        "a list",
        [],
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json has no "
            "'scores' as mteb writes them); name another folder"
        ),
    ),
    external(
        "no scores",
        {"mteb_version": "1"},
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json has no "
            "'scores' as mteb writes them); name another folder"
        ),
    ),
    external(
        "no main score",
        result(accuracy=0.5),
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json has no "
            "usable main score for test/default); name another folder"
        ),
    ),
    external(
        "a score that is a word",
        result(main_score="0.5"),
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json has no "
            "usable main score for test/default); name another folder"
        ),
    ),
    external(
        "a score that is true",
        result(main_score=True),
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json has no "
            "usable main score for test/default); name another folder"
        ),
    ),
    external(
        "a score of 1000",
        result(main_score=1000),
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json has no "
            "usable main score for test/default); name another folder"
        ),
    ),
    external(
        "not a number",
        result(main_score=float("nan")),
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json has no "
            "usable main score for test/default); name another folder"
        ),
    ),
    external(
        "another split",
        RESULT | {"scores": {"train": [{"main_score": 0.5}]}},
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json has no "
            "usable main score for test/default); name another folder"
        ),
    ),
    external(
        "two scores",
        RESULT | {"scores": {"test": [{"main_score": 0.5}, {"main_score": 0.6}]}},
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json gives two "
            "main scores for the same split and subset); name another folder"
        ),
    ),
    external(
        "another layout",
        RESULT,
        ("{path} is not in mteb's layout, results/<org>__<model>/<revision>/<Task>.json; name another folder"),
        file="STS12.txt",
    ),
    Case(
        "external: absent",
        lambda f: read_external(f / "results"),
        "{path}/results is not a readable folder (No such file or directory); name another folder",
    ),
    Case(
        "external: a file",
        lambda f: read_external(write(f / "results", "x")),
        "{path}/results is not a readable folder (Not a directory); name another folder",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_result_or_layout_is_one_sentence(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
