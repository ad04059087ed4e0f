"""Results of others: what mteb writes is read as scores.csv counts it, and a hostile folder does no harm."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time

import pandas as pd
import pytest

from causal2vec.errors import UserError
from causal2vec.reporting.read import others as external_files
from causal2vec.reporting.read.benchmarks import load_benchmarks, types_of
from causal2vec.reporting.read.others import (
    CQADUPSTACK,
    CQADUPSTACK_PARTS,
    Evaluated,
    evaluated,
    external_rows,
    keep_external,
    kept_external,
    read_external,
)

MODEL = "intfloat__e5-base-v2"


def result(*parts, version="2.26.24", revision="data-1", task="STS12", **more):
    """A result file as mteb writes it; each part is (split, subset, main score)."""
    scores: dict = {}
    for split, subset, score in parts:
        entry = {"hf_subset": subset, "languages": ["eng-Latn"], "main_score": score, "accuracy": 0.9}
        scores.setdefault(split, []).append(entry)
    fixed = {"dataset_revision": revision, "task_name": task, "mteb_version": version, "evaluation_time": 1.5}
    return {**fixed, "scores": scores, **more}


def put(root, path, content):
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return root


def ours(**parts):
    return Evaluated({task: set(found) for task, found in parts.items()}, {}, {"2.26.24"})


@pytest.mark.parametrize("level", ["results/", ""])
def test_both_layouts_are_read_and_model_meta_is_no_task(tmp_path, level):
    put(tmp_path, f"{level}{MODEL}/rev/STS12.json", result(("test", "default", 0.5)))
    put(tmp_path, f"{level}{MODEL}/rev/model_meta.json", {"name": "something else"})
    put(tmp_path, "paths.json", {})
    (model,) = read_external(tmp_path).models
    assert (model.name, model.folder, model.scores) == ("intfloat/e5-base-v2", f"{MODEL}/rev", {"STS12": 0.5})
    assert model.skipped == []


def test_one_models_folder_can_be_named_itself(tmp_path):
    put(tmp_path, f"results/{MODEL}/rev/STS12.json", result(("test", "default", 0.5)))
    assert [m.name for m in read_external(tmp_path / "results" / MODEL).models] == ["intfloat/e5-base-v2"]


def test_what_mteb_itself_writes_is_read(tmp_path):
    results = pytest.importorskip("mteb.results")
    written = results.TaskResult(
        dataset_revision="abc",
        task_name="STS17",
        mteb_version="2.26.24",
        evaluation_time=1.0,
        scores={
            "test": [
                {"hf_subset": "en-en", "languages": ["eng-Latn"], "main_score": 0.8123456, "cosine_spearman": 0.8},
                {"hf_subset": "es-es", "languages": ["spa-Latn"], "main_score": 0.1, "cosine_spearman": 0.1},
            ]
        },
    )
    folder = tmp_path / "results" / MODEL / "rev"
    folder.mkdir(parents=True)
    written.to_disk(folder / "STS17.json")
    (model,) = read_external(tmp_path).models
    assert model.scores == {"STS17": 0.812346}


def test_files_from_before_mteb_1_11_are_read_too_and_nothing_loads_torch(tmp_path):
    old = {"mteb_dataset_name": "STS17", "mteb_version": "1.1.1", "dataset_revision": "r"}
    put(tmp_path, "m/r/STS17.json", {**old, "test": {"en-en": {"cos_sim": {"spearman": 0.8}}, "evaluation_time": 3.0}})
    code = (
        "import sys; from pathlib import Path; from causal2vec.reporting.read.others import read_external;"
        "(model,) = read_external(Path(sys.argv[1])).models; assert 'torch' not in sys.modules;"
        "print(model.scores, *model.notes)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "{'STS17': 0.8} Evaluated with mteb 1.1.1.\n"


def test_a_score_is_the_mean_of_the_parts_that_the_study_has(tmp_path):
    put(tmp_path, "m/r/T.json", result(("test", "en", 0.2), ("test", "de", 0.6), ("dev", "en", 0.9)))
    parts = ours(T=[("test", "en"), ("test", "de")])
    assert read_external(tmp_path, ours=parts).models[0].scores["T"] == pytest.approx(0.4)
    assert read_external(tmp_path, ours=ours(T=[("dev", "en")])).models[0].scores["T"] == 0.9
    with pytest.raises(UserError, match=r"m/r/T\.json has no usable main score for test/fr"):
        read_external(tmp_path, ours=ours(T=[("test", "en"), ("test", "fr")]))


@pytest.mark.parametrize(
    ("task", "parts", "expected"),
    [
        ("MSMARCO", [("dev", "default", 0.4), ("test", "default", 0.7)], 0.4),
        ("MassiveIntentClassification", [("test", "de", 0.1), ("test", "en", 0.6), ("validation", "en", 0.9)], 0.6),
        ("UnknownTask", [("test", "fra", 0.1), ("test", "eng-Latn", 0.3)], 0.3),
    ],
)
def test_tasks_that_the_study_lacks_count_their_usual_part(tmp_path, task, parts, expected):
    put(tmp_path, f"m/r/{task}.json", result(*parts))
    assert read_external(tmp_path).models[0].scores == {task: expected}


def test_the_revision_with_most_wanted_tasks_is_taken_and_named(tmp_path):
    for revision, tasks in {"a": "ABX", "b": "AB", "c": "AC", "d": "DEFG"}.items():
        for task in tasks:
            put(tmp_path, f"m/{revision}/{task}.json", result(("test", "default", 0.5)))
    assert read_external(tmp_path).models[0].folder == "m/d"
    (model,) = read_external(tmp_path, tasks=["A", "B", "C"]).models
    assert model.folder == "m/c" and set(model.scores) == {"A", "C"}
    assert model.notes[0] == "Revision c, of 4 the one with most tasks."


def test_other_versions_and_other_data_are_kept_but_noted(tmp_path):
    put(tmp_path, "m/r/A.json", result(("test", "default", 0.5), version="1.2.3", revision="data-0"))
    put(tmp_path, "m/r/B.json", result(("test", "default", 0.5), version="x" * 50, revision="data"))
    put(tmp_path, "m/r/C.json", result(("test", "default", 0.5), version="1.2.3"))
    rows = [[t, "test", "default", "data-1", "2.26.24"] for t in "ABC"]
    known = evaluated(pd.DataFrame(rows, columns=["task", "split", "subset", "data_revision", "mteb_version"]))
    (model,) = read_external(tmp_path, ours=known).models
    assert set(model.scores) == {"A", "B", "C"}
    assert model.notes == [
        "Evaluated with mteb (version unknown), 1.2.3.",
        "Another revision of the data than ours: A, B.",
    ]
    put(tmp_path, "n/r/A.json", result(("test", "default", 0.5)))
    assert read_external(tmp_path, ours=known).models[1].notes == []


def test_authors_own_reports_on_0_to_100_are_brought_to_our_scale_and_noted(tmp_path):
    own = result(("test", "default", 35.389), version="0.0.0", revision="None", evaluation_time=math.nan)
    put(tmp_path, "m/external/NFCorpus.json", own)
    put(tmp_path, "m/external/STS17.json", result(("test", "en-en", 0.9), ("test", "en-ar", 61.5), version="0.0.0"))
    put(tmp_path, "m/external/STS12.json", result(("test", "default", 1.0), version="0.0.0"))
    (model,) = read_external(tmp_path).models
    assert model.scores == {"NFCorpus": pytest.approx(0.35389), "STS12": 0.01, "STS17": pytest.approx(0.009)}
    assert model.notes == [
        "Evaluated with mteb (version unknown).",
        "Reported on 0 to 100, divided by 100.",
        "Doubtful, as not above 1 before that: STS12.",
    ]


@pytest.mark.parametrize(
    ("files", "scores", "note"),
    [
        (
            {"STS12": 0.9, "STS13": 70.1, "NQ": 65.0},
            {"STS12": 0.009, "STS13": 0.701},
            "not above 1 before that: STS12.",
        ),
        ({"STS12": 0.9, "NQ": 65.0}, {"STS12": 0.009}, "Doubtful, as not above 1 before that: STS12."),
        ({"STS12": 0.9}, {"STS12": 0.9}, "Taken to be on 0 to 1, from so few files doubtful."),
        ({"STS12": 0.9, "STS13": 0.8, "NQ": 0.7}, {"STS12": 0.9, "STS13": 0.8}, None),
        ({"STS12": 0.9, "STS13": 61.5, "NQ": 0.7}, {"STS12": 0.9}, None),
    ],
)
def test_the_scale_is_that_of_the_whole_folder_and_doubt_is_said(files, scores, note, tmp_path):
    for task, score in files.items():
        put(tmp_path, f"m/external/{task}.json", result(("test", "default", score), version="0.0.0"))
    (model,) = read_external(tmp_path, tasks=["STS12", "STS13"]).models
    assert model.scores == pytest.approx(scores)
    notes = " ".join(model.notes)
    assert (note in notes) if note else ("oubtful" not in notes)
    refused = ["m/external/STS13.json has the main score 61.5, though its folder's scores are on 0 to 1"]
    assert model.skipped == (refused if files.get("STS13") == 61.5 else [])


def test_cqadupstack_is_the_mean_of_all_its_forums_only(tmp_path):
    for number, part in enumerate(CQADUPSTACK_PARTS):
        put(tmp_path, f"m/r/{part}.json", result(("test", "default", number / 100)))
    (model,) = read_external(tmp_path, tasks=[CQADUPSTACK]).models
    assert model.scores[CQADUPSTACK] == pytest.approx(0.055)
    assert "CQADupstackRetrieval is the mean of its 12 parts." in model.notes
    (tmp_path / f"m/r/{CQADUPSTACK_PARTS[0]}.json").unlink()
    assert CQADUPSTACK not in read_external(tmp_path, tasks=[CQADUPSTACK]).models[0].scores


NO_RESULT = "is no result as mteb writes it ("
NO_SCORE = "has no usable main score for test/default"
BROKEN = {
    "not JSON": ("{", NO_RESULT),
    "nested without end": ("[" * 200_000, NO_RESULT),
    "endless number": ('{"scores": ' + "9" * 5000 + "}", NO_RESULT),
    "a list": ([], NO_RESULT),
    "no task of mteb's": ({"mteb_version": "1.0.0", "mteb_dataset_name": "NoTask", "test": {"a": 0.5}}, NO_RESULT),
    "a version that is no text": (result(("test", "default", 0.5), version={"x": 1}), NO_RESULT),
    "NaN": (result(("test", "default", math.nan)), NO_SCORE),
    "text": (result(("test", "default", "0.5")), NO_SCORE),
    "true": (result(("test", "default", True)), NO_SCORE),
    "out of scale": (result(("test", "default", 161.2)), NO_SCORE),
    "another split": (result(("dev", "default", 0.5)), NO_SCORE),
    "no entries": ({**result(), "scores": {"test": None, "dev": [1, None, "x"]}}, NO_RESULT),
    "odd subset": (result(("test", ["default"], 0.5)), NO_RESULT),
    "two scores": (
        result(("test", "default", 0.5), ("test", "default", 0.6)),
        "gives two main scores for the same split and subset",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_costs_its_own_score_and_is_named(tmp_path, case):
    content, reason = BROKEN[case]
    put(tmp_path, "m/r/Bad.json", content)
    put(tmp_path, "m/r/Good.json", result(("test", "default", -0.1)))
    found = read_external(tmp_path)
    assert found.models[0].scores == {"Good": -0.1}
    (skipped,) = found.models[0].skipped
    assert skipped.startswith(f"m/r/Bad.json {reason}") and skipped.isprintable()
    assert found.notes == [f"Imported files without a usable score: 1, such as {skipped}."]


def test_huge_files_pipes_and_links_out_of_the_folder_are_not_opened(tmp_path):
    root = tmp_path / "in"
    put(root, "m/r/Good.json", result(("test", "default", 0.5)))
    put(tmp_path, "secret.json", result(("test", "default", 0.9)))
    put(tmp_path, "out/rev/Stolen.json", result(("test", "default", 0.9)))
    revision = root / "m" / "r"
    (revision / "Link.json").symlink_to(tmp_path / "secret.json")
    (revision / "Dangling.json").symlink_to(tmp_path / "nowhere.json")
    (revision / "Loop.json").symlink_to(revision / "Loop.json")
    os.mkfifo(revision / "Pipe.json")
    (revision / "Folder.json").mkdir()
    with (revision / "Huge.json").open("wb") as file:
        file.truncate(external_files.MAX_BYTES + 1)
    (root / "linked__model").symlink_to(tmp_path / "out")
    (root / "m" / "linked").symlink_to(tmp_path / "out" / "rev")
    found = read_external(root)
    assert [(model.name, model.scores) for model in found.models] == [("m", {"Good": 0.5})]
    assert found.models[0].skipped == [
        *(f"m/r/{n}.json leads out of the folder or is not a plain file" for n in ["Dangling", "Folder"]),
        "m/r/Huge.json is larger than 50 MB",
        *(f"m/r/{n}.json leads out of the folder or is not a plain file" for n in ["Link", "Loop", "Pipe"]),
    ]


def test_names_keep_to_one_line_and_a_bearable_length(tmp_path):
    put(tmp_path, f"org__a\nb\x1b[31m{'x' * 200}/r/T.json", result(("test", "default", 0.5)))
    name = read_external(tmp_path).models[0].name
    assert name.isprintable() and len(name) < 125 and name.startswith("org/a b [31m")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "is not a readable folder"),
        ({"notes.txt": "x"}, r"is not in mteb's layout, results/<org>__<model>/<revision>/<Task>\.json"),
        ({"m/r/T.json": "{"}, r"no usable score in 1 model folder\(s\) \(for example, m/r/T\.json is no result"),
        ({"m/r/Other.json": "{}"}, r"no usable score in 1 model folder\(s\) \(its files are of other tasks"),
    ],
)
def test_a_folder_without_any_score_is_one_clear_sentence(tmp_path, content, complaint):
    for path, text in (content or {}).items():
        put(tmp_path, f"in/{path}", text)
    with pytest.raises(UserError, match=complaint):
        read_external(tmp_path / "in", tasks=["T"])


def test_thousands_of_models_are_refused_at_once(tmp_path):
    for number in range(2000):
        (tmp_path / "results" / f"org__m{number}" / "r").mkdir(parents=True)
    start = time.monotonic()
    with pytest.raises(UserError, match="holds 2000 models, more than the 200 that a table can show; copy"):
        read_external(tmp_path)
    assert time.monotonic() - start < 5


def test_models_without_a_score_are_counted_and_the_order_is_that_of_the_names(tmp_path):
    for name in ["z__b", "a__c"]:
        put(tmp_path, f"{name}/r/T.json", result(("test", "default", 0.5)))
    put(tmp_path, "b__x/r/T.json", "{")
    found = read_external(tmp_path)
    assert [model.name for model in found.models] == ["a/c", "z/b"]
    assert found.notes[1] == "Imported models left out, as they have no usable score: 1."
    assert found == read_external(tmp_path)


def test_imported_rows_are_like_published_ones_and_average_only_what_is_complete(tmp_path):
    tasks = load_benchmarks()["LLM2Vec 15-task subset"]
    types = types_of(tasks)
    for task in tasks:
        subset = {"STS17": "en-en", "MassiveIntentClassification": "en"}.get(task, "default")
        put(tmp_path, f"org__full/r/{task}.json", result(("test", subset, 0.5)))
        if task != "STS17":
            put(tmp_path, f"org__part/r/{task}.json", result(("test", subset, 0.25)))
    put(tmp_path, "org__none/r/Else.json", result(("test", "default", 0.5)))
    rows = external_rows(read_external(tmp_path), types)
    assert [row.method for row in rows] == ["org/full", "org/part"]
    full, part = rows
    assert full.values["Average"] == 50 and full.values["STS"] == 50 and full.values["STS17"] == 50
    assert "Average" not in part.values and "STS" not in part.values and part.values["Retrieval"] == 25
    assert (part.setting, part.source, part.confidence) == ("imported", "org__part/r", "as imported")
    assert part.note == "Evaluated with mteb 2.26.24."


def test_what_was_imported_is_kept_whole(tmp_path):
    put(tmp_path, f"results/{MODEL}/rev/STS12.json", result(("test", "default", 0.5)))
    put(tmp_path, f"results/{MODEL}/rev/STS13.json", "broken")
    found = read_external(tmp_path / "results")
    keep_external(found, tmp_path / "external.json")
    assert kept_external(tmp_path / "external.json") == found and found.notes
    (tmp_path / "external.json").write_text('{"models": 3}')
    with pytest.raises(UserError, match=r"external\.json: models: .*; import these results again"):
        kept_external(tmp_path / "external.json")
