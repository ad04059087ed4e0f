"""Wrong records: of trainings, of evaluation jobs, of the whole study; and statistics that cannot be."""

import json
from pathlib import Path

import pandas as pd
import pytest
from bad_cases import Case, check, write
from fixtures_reporting import make_job, score_rows, write_frame

from causal2vec.reporting.analysis.evidence import read_evidence
from causal2vec.reporting.analysis.statistics import compute_statistics
from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.read.gather import collect_items, collect_training
from causal2vec.reporting.read.schema import read_training
from causal2vec.reporting.read.scores import collect_scores

SCORES = score_rows({("echo", "b"): [0.1, 0.2, 0.3], ("last_token", "b"): [0.1, 0.2, 0.4]})
RUN = {
    "method": "m", "base": "b", "seed": 0, "steps": 1, "pairs": 2, "seconds": 1.0, "loss": [{"step": 1, "loss": 1.0}],
    "trainable_parameters": 1,
}  # fmt: skip


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


def statistics(name, says, **changes):
    def run(folder: Path):
        write_frame(SCORES, folder / "scores.csv")
        compute_statistics(folder, folder / "out", **changes)

    return Case(f"statistics: {name}", run, says)


def evidence_without_notes(folder: Path):
    write_frame(SCORES, folder / "scores.csv")
    compute_statistics(folder, folder / "statistics")
    (folder / "statistics" / "notes.txt").unlink()
    read_evidence(folder / "statistics")


def items_of_other_columns(folder: Path):
    made = make_job(folder, "echo", scores={"SciFact": 0.5})
    (made / "items").mkdir()
    pd.DataFrame({"item": ["1"], "score": [0.5]}).to_parquet(made / "items" / "SciFact.parquet")
    collect_items([made], folder / "items")


CASES = [
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
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_record_is_one_sentence(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
