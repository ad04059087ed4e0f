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
from causal2vec.reporting.read.schema import read_training
from causal2vec.reporting.read.scores import collect_items, collect_scores, collect_training

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


NO_JSON = "is not valid JSON (…); delete it and run the same command again"
TRAIN = "look at this run's training log and train it again"
RESTORE = "restore the file, or run the study again"
EVALUATE = "delete {path}/job-000 and evaluate this model again"
RESULT = "model 'suite/tiny 6563686f-0', task 'SciFact'…; …delete {path}/job-000 and evaluate it again"


def result(key):
    """What is said of a wrong result file: the model and the task, the key, what to do."""
    return RESULT.replace("…; …", f": {key}…; see what the model returns on this task, ")


CASES = [
    training("no JSON", "[{]", f"{{path}}/training.json {NO_JSON}"),
    training("no list", {}, "{path}/training.json: …list…; collect the records again"),
    training("no record", [3], "{path}/training.json: 0: …mapping…; collect the records again"),
    training(
        "a field is missing",
        [{k: v for k, v in RUN.items() if k != "loss"}],
        f"{{path}}/training.json, record 1: key 'loss' is missing; {TRAIN}",
    ),
    training("a seed that is true", [RUN | {"seed": True}], f"{{path}}/training.json, record 1: seed: …True; {TRAIN}"),
    training(
        "a loss that is no number",
        [RUN | {"loss": [{"step": 1, "loss": None}]}],
        f"{{path}}/training.json, record 1: loss.0.loss: …None; {TRAIN}",
    ),
    training(
        "a loss that is not finite",
        [RUN, RUN | {"seed": 1, "loss": [{"step": 1, "loss": float("nan")}]}],
        f"{{path}}/training.json, record 2: loss.0.loss: …nan; {TRAIN}",
    ),
    training(
        "twice the same",
        [RUN, RUN],
        "{path}/training.json describes m / b / 0 a second time; collect the records again",
    ),
    training("a number of 5000 digits", f"[{'1' * 5000}]", f"{{path}}/training.json {NO_JSON}"),
    training("nested without end", "[" * 100000, f"{{path}}/training.json {NO_JSON}"),
    Case("training: a folder", read_training, "{path} cannot be read (…); make it again or name another file"),
    Case(
        "training: no record to collect",
        lambda f: collect_training([f], f / "training.json"),
        "{path}/training.json does not exist; make it first or name another file",
    ),
    manifest("no JSON", "{", f"{{path}}/manifest.json {NO_JSON}"),
    manifest("a list", [], f"{{path}}/manifest.json: …mapping…[]; {RESTORE}"),
    manifest("no configuration", {"id": "1"}, f"{{path}}/manifest.json: key 'config' is missing; {RESTORE}"),
    manifest("no id", {"config": {}}, f"{{path}}/manifest.json: key 'id' is missing; {RESTORE}"),
    configured("a configuration that is a list", [], f"{{path}}/manifest.json: config: …mapping…; {RESTORE}"),
    configured(
        "methods that are a list",
        {"methods": ["echo"]},
        f"{{path}}/manifest.json: config.methods: …mapping…; {RESTORE}",
    ),
    configured("a base without scores", {"bases": ["c"]}, "the compared base 'c' has no scores; name some of these: b"),
    configured(
        "an ablation of no method",
        {"ablations": {"x": {"method": "m", "axis": "a", "values": []}}},
        f"{{path}}/manifest.json: config: ablations.x varies a method that is not there; {RESTORE}",
    ),
    configured(
        "an ablation without values",
        {"methods": {"m": {}}, "ablations": {"x": {"method": "m"}}},
        f"{{path}}/manifest.json: key 'config.ablations.x.axis' is missing; {RESTORE}",
    ),
    configured(
        "a stage without settings",
        {"methods": {"m": {"mntp": True}}},
        f"{{path}}/manifest.json: config: a method has 'mntp', but mntp has no steps; {RESTORE}",
    ),
    job(
        "no record",
        lambda made: (made / "record.json").unlink(),
        "{path}/job-000/record.json does not exist; make it first or name another file",
    ),
    job(
        "a record that is a list",
        lambda made: (made / "record.json").write_text("[]"),
        f"{{path}}/job-000/record.json: …mapping…; {EVALUATE}",
    ),
    job(
        "no seed", edited("record.json", seed=None), f"{{path}}/job-000/record.json: key 'seed' is missing; {EVALUATE}"
    ),
    job(
        "a seed that is a word",
        edited("record.json", seed="zero"),
        f"{{path}}/job-000/record.json: seed: …'zero'; {EVALUATE}",
    ),
    job("no tasks", edited("record.json", tasks={}), f"{{path}}/job-000/record.json: tasks: …{{}}; {EVALUATE}"),
    job(
        "a task of no type",
        edited("record.json", tasks={"SciFact": {}}),
        f"{{path}}/job-000/record.json: key 'tasks.SciFact.task_type' is missing; {EVALUATE}",
    ),
    job(
        "no result",
        edited("record.json", tasks={"STS12": {"task_type": "STS", "data_revision": "r", "items": {}}}),
        "model 'suite/tiny 6563686f-0', task 'STS12' has no result (no …/abc/STS12.json); …evaluate it again",
    ),
    job(
        "no number of items",
        edited("record.json", tasks={"SciFact": {"task_type": "STS", "data_revision": "r", "items": {}}}),
        "{path}/job-000/record.json: task 'SciFact' has no number of items for 'test/default'; …evaluate it again",
    ),
    job("no version", edited("results/*/*/SciFact.json", mteb_version=None), result("key 'mteb_version' is missing")),
    job("scores that are a list", edited("results/*/*/SciFact.json", scores=[]), result("scores: …mapping")),
    job(
        "an entry that is a number",
        edited("results/*/*/SciFact.json", scores={"test": [3]}),
        result("scores.test.0: …mapping"),
    ),
    job(
        "no main score",
        edited("results/*/*/SciFact.json", scores={"test": [{"main_score": None}]}),
        result("scores.test.0.main_score: …None"),
    ),
    job("no scores", edited("results/*/*/SciFact.json", scores={}), result("scores: …at least 1")),
    job(
        "a revision out of the folder",
        edited("record.json", revision="../../x"),
        "model 'suite/tiny 6563686f-0', task 'SciFact' has no result (no {path}/job-000/results/suite__tiny_6563686f-0/"
        "../../x/SciFact.json); delete {path}/job-000 and evaluate it again",
    ),
    job(
        "items that are no parquet",
        lambda made: write(made / "items" / "SciFact.parquet", "x"),
        "{path}/job-000/items/SciFact.parquet cannot be read (…); delete {path}/job-000 and evaluate it again",
    ),
    Case(
        "job: items of other columns",
        items_of_other_columns,
        "{path}/job-000/items/SciFact.parquet cannot be read (…such as 'draw'); delete {path}/job-000 and evaluate it "
        "again",
    ),
    Case(
        "job: none",
        lambda f: collect_scores([], f / "mteb", f / "scores.csv"),
        "no evaluation jobs were named; give at least one folder that holds a record.json",
    ),
    statistics("too few", "99 resamples are too few…; ask for 100 or more, usually 2000", resamples=99),
    statistics("a seed below zero", "the seed of the statistics is -1; give 0 or a positive number", seed=-1),
    statistics("a base without scores", "the compared base 'c' has no scores; name some of these: b", bases=["c"]),
    Case(
        "statistics: no notes",
        evidence_without_notes,
        "{path}/statistics/notes.txt cannot be read (…); compute the statistics again",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_record_is_one_sentence(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
