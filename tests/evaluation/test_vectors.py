"""Vectors kept on disk: found again, shared, bounded, and never wrong."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import TEXTS, build

from causal2vec.evaluation import vectors as module
from causal2vec.evaluation.encoder import PromptedEncoder, model_meta
from causal2vec.evaluation.run import Evaluating, evaluate_model
from causal2vec.evaluation.vectors import Vectors, keys_of, place


def some(count: int, dim: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def named(count: int, start: int = 0) -> np.ndarray:
    return keys_of("", [f"text {place}" for place in range(start, start + count)])


def segments(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.npy"))


def model_of(tiny, method: str = "last_token", **settings):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(modules=[build(method, tiny, **settings)], device="cpu")


def evaluate(model, data: Path, folder: Path, tasks: list[str], cache: Path | None = None) -> dict[str, float]:
    what = Evaluating(tasks, data, folder / "out", folder / "state", None, 8, cache=cache, progress=False)
    evaluate_model(model, "a/b", "c" * 40, what, {})
    found = {path.stem: json.loads(path.read_text()) for path in (folder / "out").rglob("results/**/[A-Z]*.json")}
    return {name: result["scores"]["test"][0]["main_score"] for name, result in found.items()}


def test_vectors_are_found_again_in_any_order(tmp_path):
    keys, made = named(3000), some(3000)
    Vectors(tmp_path / "m", 1e9).add(keys, made)
    order = np.random.default_rng(1).permutation(3000)
    known, found = Vectors(tmp_path / "m", 1e9).look_up(np.concatenate([keys[order], named(5, 9000)]))
    assert known.tolist() == [True] * 3000 + [False] * 5
    assert (found == made[order]).all()


def test_vectors_of_several_segments_come_in_the_order_of_the_keys(tmp_path):
    store = Vectors(tmp_path / "m", 1e9)
    store.add(named(10), some(10))
    store.add(named(10, 10), some(10, seed=1))
    known, found = Vectors(tmp_path / "m", 1e9).look_up(named(20)[::-1])
    assert known.all() and (found == np.concatenate([some(10), some(10, seed=1)])[::-1]).all()


def test_text_and_prompt_are_told_apart():
    assert len(np.unique(np.concatenate([keys_of("ab", ["c"]), keys_of("a", ["bc"]), keys_of("", ["abc"])])[:, 0])) == 3


def test_folder_changes_with_all_that_changes_a_vector(tiny, tmp_path):
    def folder(**changes):
        model = model_of(tiny, changes.pop("method", "last_token"))
        model.max_seq_length = changes.pop("max_length", 64)
        if changes.pop("half", False):
            model = model.bfloat16()
        if attention := changes.pop("attention", None):
            model[0].llm.config._attn_implementation = attention
        return place(tmp_path, model, **{"revision": "r", "batch_tokens": 1024, **changes})

    assert folder() == folder()
    others = [{"max_length": 65}, {"half": True}, {"attention": "eager"}, {"revision": "s"}, {"batch_tokens": 8}]
    assert len({folder(), *(folder(**other) for other in others)}) == 1 + len(others)


def test_second_evaluation_does_not_call_the_model(tiny, task_data, tmp_path, monkeypatch):
    """Nor does a further task whose texts are known; scores are the same to the last digit with and without cache."""
    model = model_of(tiny, max_seq_length=32)
    tasks = ["WordSim353STS", "AWSServiceClustering"]
    plain = evaluate(model, task_data, tmp_path / "plain", tasks)
    first = evaluate(model, task_data, tmp_path / "first", tasks, tmp_path / "cache")
    monkeypatch.setattr(PromptedEncoder, "_embed", lambda *_: pytest.fail("the model was called"))
    again = evaluate(model, task_data, tmp_path / "again", tasks, tmp_path / "cache")
    assert plain == first == again and set(plain) == set(tasks)
    record = json.loads((tmp_path / "again" / "out" / "record.json").read_text())
    assert record["batch_tokens"] == 1024 and record["tasks"]["WordSim353STS"]["encoding_seconds"] == 0


def test_other_prompt_is_embedded_anew(tiny, tmp_path):
    model = model_of(tiny)
    encoder = PromptedEncoder(model, model_meta("a/b", "c", 32, 128), None, 8, vectors=Vectors(tmp_path / "m", 1e9))

    class Task:
        name, type, prompt = "T", "STS", None

    def vectors(prompt: str) -> np.ndarray:
        model.prompts["STS"] = prompt
        return encoder.encode([{"text": TEXTS}], task_metadata=Task, hf_split="test", hf_subset="default")

    assert not np.allclose(vectors(""), vectors("find: "))
    assert (vectors("") == vectors("")).all() and len(segments(tmp_path)) == 2


WRITER = """
import sys
from pathlib import Path
import numpy as np
from causal2vec.evaluation.vectors import Vectors, keys_of
store = Vectors(Path(sys.argv[1]), 1e9)
for turn in range(20):
    texts = [f"text {turn} {place}" for place in range(50)]
    keys = keys_of("", texts)
    known, found = store.look_up(keys)
    expected = (keys[:, :1] % 1000).astype(np.float32).repeat(8, axis=1)
    assert found is None or (found == expected[known]).all()
    if not known.all():
        store.add(keys[~known], expected[~known])
"""


def test_processes_share_a_folder_without_a_lock(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "m")]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in running:
        assert process.wait(timeout=120) == 0, process.stderr.read()
    keys = keys_of("", [f"text {turn} {place}" for turn in range(20) for place in range(50)])
    known, found = Vectors(tmp_path / "m", 1e9).look_up(keys)
    assert known.all() and (found[:, 0] == (keys[:, 0] % 1000).astype(np.float32)).all()


def test_oldest_segments_of_all_models_make_room(tmp_path):
    for number in range(4):
        Vectors(tmp_path / f"m{number}", 1e9).add(named(100, 100 * number), some(100, 64))
    files = segments(tmp_path)
    size = files[0].stat().st_size
    for age, path in enumerate(reversed(files)):  # m0 was used last
        os.utime(path, (time.time() - 1000 - age * 100,) * 2)
    store = Vectors(tmp_path / "m9", 3.5 * size)
    store.add(named(100, 900), some(100, 64))
    left = segments(tmp_path)
    assert sum(path.stat().st_size for path in left) <= 3.5 * size
    assert [path.parent.name for path in left] == ["m2", "m3", "m9"]


def test_nothing_younger_than_the_process_is_dropped(tmp_path):
    store = Vectors(tmp_path / "m", 40_000)
    for number in range(4):
        store.add(named(100, 100 * number), some(100, 32))
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 40_000
    known, found = store.look_up(named(400))
    assert known.all(), "what does not fit on disk stays in memory"
    assert (found[100:200] == some(100, 32)).all()
    assert Vectors(tmp_path / "m", 40_000).look_up(named(400))[0].sum() == 200


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped", "other"])
def test_damaged_segment_is_removed_and_never_believed(damage, tmp_path, caplog):
    Vectors(tmp_path / "m", 1e9).add(named(50), some(50, 64))
    [path] = segments(tmp_path)
    content = bytearray(path.read_bytes())
    spot = content.index(some(50, 64)[int(np.argsort(named(50)[:, 0])[20])].tobytes())
    content[spot + 2] ^= 1
    changed = {"cut": content[:-900], "emptied": b"", "flipped": content, "other": b"ARROW1" + bytes(500)}
    path.write_bytes(changed[damage])
    store = Vectors(tmp_path / "m", 1e9)
    with caplog.at_level(logging.WARNING):
        known, found = store.look_up(named(50))
    assert not known.any() and found is None
    assert not path.exists() and "is damaged" in caplog.text
    store.add(named(50), some(50, 64))
    assert store.look_up(named(50))[0].all()


def test_segment_that_another_process_removed_is_embedded_again(tmp_path):
    store = Vectors(tmp_path / "m", 1e9)
    store.add(named(5), some(5))
    segments(tmp_path)[0].unlink()
    assert not store.look_up(named(5))[0].any()


def test_full_disk_is_said_once_and_vectors_stay_in_memory(tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    store = Vectors(tmp_path / "m", 1e9)
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            store.add(named(5, 5 * number), some(5))
    assert caplog.text.count("No space left on device") == 1
    assert store.look_up(named(15))[0].all()


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MEMORY_BYTES", 10_000)
    store = Vectors(None)
    for number in range(10):
        store.add(named(50, 50 * number), some(50, 16))
    known, _ = store.look_up(named(500))
    assert known[-50:].all() and known.sum() == 100
