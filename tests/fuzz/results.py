"""Harness: the import of other people's mteb results, on files that are almost right.

The fuzzer's bytes decide what is changed in a valid result (values, keys, whole branches), how its files and folders
are called, and which bytes of the text are changed afterwards.
"""

from __future__ import annotations

import copy
import json
import math
import os
from pathlib import Path
from typing import Any

import atheris
import mteb.results  # noqa: F401  # what it reads while it is loaded is no fault of a file's

with atheris.instrument_imports(include=["causal2vec.reporting.read.others"]):
    from causal2vec.reporting.read import others
from guard import Scratch, fuzz, guarded

from causal2vec.errors import UserError
from causal2vec.reporting.read.benchmarks import types_of

TASKS = ["STS12", "SciFact", "NFCorpus", *others.CQADUPSTACK_PARTS[:2]]
VALID = {
    "dataset_revision": "r1", "task_name": "STS12", "mteb_version": "2.26.24", "evaluation_time": 1.5,
    "scores": {
        "test": [
            {"main_score": 0.5, "hf_subset": "default", "languages": ["eng-Latn"], "cosine_spearman": 0.5},
            {"main_score": 0.25, "hf_subset": "en"},
        ],
        "validation": [{"main_score": 0.75, "hf_subset": "default"}],
    },
}  # fmt: skip
DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]
VALUES = [
    None, True, False, 0, -1, 1, 0.5, -0.5, 2, 47.3, 100, 100.1, 1e308, -1e308, float("nan"), float("inf"), 10**400,
    "", "test", "default", "en", "0.5", "nan", "\ud800", "a\nb", "<script>", "../..", "x" * 2000, [], {}, [[]], [None],
    {"": 1}, DEEP,
]  # fmt: skip
KEYS = ["main_score", "hf_subset", "scores", "test", "mteb_version", "dataset_revision", "", "\ud800", "__class__"]
FOLDERS = ["org__m", "m", "a__b__c", "x" * 200, "\u202ename", "a\nb", ".hidden", "-", "results", "%s{0}"]
OURS = others.Evaluated(
    {"STS12": {("test", "default")}, "SciFact": {("test", "default"), ("test", "en")}}, {"STS12": {"r1"}}, {"2.26.24"}
)
ODD = [b"\0", b"\xff", b'"', b"\\ud800", b"{", b"]", b"1e9999", b"NaN", b"1" * 5000, b"[" * 3000, b"\xef\xbb\xbf"]


def changed(data: atheris.FuzzedDataProvider, value: Any) -> Any:
    """A result with one value, key or branch changed, somewhere."""
    if not isinstance(value, dict | list) or not value or data.ConsumeProbability() < 0.2:
        return copy.deepcopy(data.PickValueInList(VALUES))
    place = data.PickValueInList(list(value) if isinstance(value, dict) else list(range(len(value))))
    what = data.ConsumeIntInRange(0, 5)
    if what == 0:
        del value[place]
    elif what == 1 and isinstance(value, dict):
        value[data.PickValueInList(KEYS)] = value.pop(place)
    elif what == 1:
        value.append(copy.deepcopy(value[place]))
    else:
        value[place] = changed(data, value[place])
    return value


def text_of(data: atheris.FuzzedDataProvider) -> bytes:
    """One result file."""
    result: Any = copy.deepcopy(VALID)
    for _ in range(data.ConsumeIntInRange(0, 4)):
        result = changed(data, result)
    text = bytearray(json.dumps(result).encode())
    for _ in range(data.ConsumeIntInRange(0, 2)):
        place = data.ConsumeIntInRange(0, len(text))
        text[place : place + data.ConsumeIntInRange(0, 9)] = data.PickValueInList(ODD)
    return bytes(text)


def lay_out(data: atheris.FuzzedDataProvider, root: Path) -> None:
    """A tree of up to three models with up to three files each, some of them folders, links and pipes."""
    for _ in range(data.ConsumeIntInRange(1, 3)):
        folder = root / data.PickValueInList(FOLDERS) / data.PickValueInList(["r", "r2", "..r", "\u00e9"])
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(data.ConsumeIntInRange(0, 3)):
            path = folder / f"{data.PickValueInList([*TASKS, 'model_meta', 'T' * 200])}.json"
            if path.exists() or path.is_symlink():
                continue
            kind = data.ConsumeIntInRange(0, 19)
            if kind == 0:
                path.symlink_to(data.PickValueInList(["/etc/passwd", path.name, "..", "nowhere"]))
            elif kind == 1:
                path.mkdir()
            elif kind == 2:
                os.mkfifo(path)
            else:
                path.write_bytes(text_of(data))


scratch = Scratch()


def try_one(raw: bytes) -> None:
    """One tree: only `UserError`, nothing written, every score a finite number of the right scale, plain names."""
    data = atheris.FuzzedDataProvider(raw)
    root = scratch.fresh("in")
    lay_out(data, root)
    tasks, ours = data.PickValueInList([None, TASKS]), data.PickValueInList([None, OURS])
    nothing = scratch.fresh("nothing")
    try:
        with guarded(nothing):
            found = others.read_external(root, tasks, ours)
            rows = others.external_rows(found, types_of(TASKS))
    except UserError as error:
        assert str(error).replace(str(root), "").isprintable(), error
        return
    assert not list(nothing.iterdir())
    for model in found.models:
        assert model.name.isprintable() and model.folder.isprintable()
        assert all(math.isfinite(score) and -1 <= score <= 1 for score in model.scores.values())
        assert all(note.isprintable() for note in [*model.notes, *model.skipped])
    assert all(math.isfinite(value) and -100 <= value <= 100 for row in rows for value in row.values.values())


if __name__ == "__main__":
    fuzz(try_one)
