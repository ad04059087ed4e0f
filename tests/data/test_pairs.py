"""Training pairs: sources, duplicates, leaks, validation, determinism, reading back."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from causal2vec.config import Pairs
from causal2vec.data.corpora.text import plain
from causal2vec.data.pairs.decontaminate import contaminated, index_files, index_texts
from causal2vec.data.pairs.files import read_pairs
from causal2vec.data.pairs.packages import SOURCES, SYMMETRIC
from causal2vec.data.pairs.prepare import prepare
from causal2vec.errors import UserError
from causal2vec.evaluation.tasks import PACKAGED_TASKS, write_task_texts
from causal2vec.runtime.files import sha256_tree
from causal2vec.training.batches import load_training_data

EVERYTHING = 1_000_000
MIX = {
    "wikipedia_description": EVERYTHING,
    "wikipedia_sentence": EVERYTHING,
    "recipe_title": EVERYTHING,
    "recipe_ingredients": EVERYTHING,
    "aws_sentence": 4000,
    "aws_operation": 2000,
    "bible": 5000,
    "hpo_synonym": 3000,
    "hpo_definition": 3000,
    "icd10": 2000,
}
SMALL = {"recipe_title": 300, "recipe_ingredients": 300}
SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank"


def texts_file(path: Path, texts: list[str]) -> Path:
    pq.write_table(pa.table({"text": texts}), path)
    return path


def settings(sources: dict[str, int], validation: int, seed: int = 1) -> Pairs:
    return Pairs(sources=sources, validation=validation, seed=seed)


@pytest.fixture(scope="module")
def evaluation_texts(task_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.parquet"
    assert write_task_texts(list(PACKAGED_TASKS), task_data, path) > 3000
    return path


@pytest.fixture(scope="module")
def prepared(packages_folder: Path, evaluation_texts: Path, tmp_path_factory: pytest.TempPathFactory):
    output = tmp_path_factory.mktemp("prepared") / "pairs"
    report = prepare(settings(MIX, 500), packages_folder, output, eval_texts=[evaluation_texts])
    return output, report


def test_default_mix_is_large_enough(prepared) -> None:
    output, report = prepared
    train, validation = read_pairs(output / "train.parquet"), read_pairs(output / "validation.parquet")
    assert train.num_rows == report["train"] >= 20_000
    assert validation.num_rows == report["validation"] == 500
    assert set(train["source"].to_pylist()) == set(validation["source"].to_pylist()) == set(SOURCES)
    assert len(set(train["pair_id"].to_pylist())) == train.num_rows
    for name, counts in report["sources"].items():
        written = report["written"][name]
        parts = [value for key, value in counts.items() if key not in ("available", "symmetric")]
        assert sum(parts) + sum(written.values()) == counts["available"], name
        assert written["train"] + written["validation"] <= MIX[name]
        assert written["validation"] == 50 and counts["symmetric"] == (name in SYMMETRIC)


def test_sides_are_new_within_a_source(prepared) -> None:
    frame = read_pairs(prepared[0] / "train.parquet").to_pandas()
    for column in ("query", "positive"):
        assert not frame.assign(text=frame[column].map(plain)).duplicated(["source", "text"]).any()
    assert (frame["query"].map(plain) != frame["positive"].map(plain)).all()
    assert frame[["query", "positive"]].map(len).max().max() <= 2000


def test_training_shares_no_text_with_validation(prepared) -> None:
    train, held = (read_pairs(prepared[0] / f"{n}.parquet").to_pandas() for n in ("train", "validation"))
    sides = [{plain(t) for c in ("query", "positive") for t in frame[c]} for frame in (train, held)]
    assert not sides[0] & sides[1]
    extracts = held["positive"][held["source"] == "wikipedia_description"]
    rests = train["positive"][train["source"] == "wikipedia_sentence"]
    assert not [rest for extract in extracts for rest in rests if rest in extract], "nor an article"


def test_training_shares_nothing_with_evaluation(prepared, evaluation_texts: Path) -> None:
    index = index_files([evaluation_texts], 8)
    for name in ("train", "validation"):
        table = read_pairs(prepared[0] / f"{name}.parquet")
        for column in ("query", "positive"):
            texts = table[column].to_pylist()
            assert not contaminated(texts, index).any()


def test_same_input_same_bytes(packages_folder: Path, tmp_path: Path) -> None:
    def run(name: str, sources: dict[str, int], seed: int) -> str:
        prepare(settings(sources, 20, seed), packages_folder, tmp_path / name, eval_texts=[])
        return sha256_tree(tmp_path / name)

    first = run("a", SMALL, 1)
    assert first == run("b", dict(reversed(SMALL.items())), 1)
    ids = " ".join(read_pairs(tmp_path / "a" / "train.parquet")["pair_id"].to_pylist())
    assert hashlib.sha256(ids.encode()).hexdigest().startswith("ccd04a88d64e2263"), "other pairs, or in another order"
    assert first != run("c", SMALL, 2)


def test_training_reads_the_pairs_by_source_with_and_without_the_mapped_files(prepared, tmp_path: Path) -> None:
    frame = read_pairs(prepared[0] / "train.parquet").to_pandas()
    shutil.copy(prepared[0] / "train.parquet", tmp_path)
    mapped, own = load_training_data(prepared[0]), load_training_data(tmp_path)
    assert list(mapped) == list(own) == sorted(SOURCES)
    for source, rows in frame.groupby("source"):
        expected = rows[["query", "positive"]].to_dict("records")
        assert mapped[source].to_list() == own[source].to_list() == expected


def test_planted_leak_is_found(packages_folder: Path, tmp_path: Path) -> None:
    def run(leaks: list[Path]) -> dict:
        return prepare(settings(SMALL, 0), packages_folder, tmp_path / "p", eval_texts=leaks)

    run([])
    victim = read_pairs(tmp_path / "p" / "train.parquet").to_pylist()[7]
    middle = " ".join(victim["positive"].split()[1:12]).upper()
    report = run([texts_file(tmp_path / "leak.parquet", [f"Now {middle} and more"])])
    assert victim["positive"] not in read_pairs(tmp_path / "p" / "train.parquet")["positive"].to_pylist()
    assert report["sources"][victim["source"]]["dropped_contaminated"] >= 1


def test_ngram_rules() -> None:
    index = index_texts([SENTENCE, "A short evaluation text", "Heart disease"], 8)
    cases = {
        SENTENCE: True,
        "He said: the QUICK brown fox, jumps over the lazy cat": True,
        "the quick brown fox jumps over the cat": False,
        "a short: evaluation TEXT": True,
        "this is a short evaluation text": False,
        "text short evaluation a": False,
        "heart disease": False,
        "": False,
    }
    assert contaminated(cases, index).tolist() == list(cases.values())
    assert contaminated([], index).tolist() == []
    assert not contaminated([SENTENCE], index_texts([], 8)).any()


def test_ngrams_do_not_cross_texts() -> None:
    words = [f"word{i}" for i in range(16)]
    index = index_texts([" ".join(words[:8]), " ".join(words[8:])], 8)
    assert len(index.grams) == 2
    assert not contaminated([" ".join(words[4:12])], index)[0]


def test_ngrams_agree_with_plain_python() -> None:
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(list("abcde"), random.integers(0, 30))) for _ in range(400)]
    known, asked = texts[:100], texts[100:]

    def grams(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        runs = {tuple(words[i : i + 5]) for i in range(len(words) - 4)}
        return runs if len(words) >= 5 else {tuple(words)} if len(words) == 4 else set()

    evaluation = set().union(*map(grams, known))
    expected = [bool(grams(text) & evaluation) for text in asked]
    assert contaminated(asked, index_texts(known, 5)).tolist() == expected and 0 < sum(expected) < 300


@pytest.mark.parametrize(
    ("sources", "validation", "message"),
    [
        ({"wikipedia": 5}, 0, "no source of pairs 'wikipedia'; choose from wikipedia_description"),
        ({}, 0, "names no source of pairs"),
        ({"recipe_title": 100}, 5000, "validation asks for 5000"),
        ({"recipe_title": 100}, 0, "absent.parquet does not exist"),
    ],
)
def test_bad_input(packages_folder: Path, tmp_path: Path, sources: dict, validation: int, message: str) -> None:
    eval_texts = [Path("absent.parquet")] * ("absent" in message)
    with pytest.raises(UserError, match=message):
        prepare(settings(sources, validation), packages_folder, tmp_path / "out", eval_texts=eval_texts)
    assert not (tmp_path / "out").exists()


def test_read_pairs_accepts_negatives(tmp_path: Path) -> None:
    good = {"query": ["a"], "positive": ["c"], "source": ["s"], "pair_id": ["1"], "negative_1": ["n"]}
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.table(good | {"negative_2": pa.nulls(1)}), path)
    assert read_pairs(path).num_rows == 1
