"""Wrong files of training pairs, and of evaluation texts that these are compared with."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_cases import Case, check

from causal2vec.data.pairs.decontaminate import index_files
from causal2vec.data.pairs.files import read_pairs
from causal2vec.training.batches import load_training_data

GOOD = {"query": ["a", "b"], "positive": ["c", "d"], "source": ["s", "s"], "pair_id": ["1", "2"]}
NONE = {name: pa.array([], pa.string()) for name in GOOD}


def parquet(folder: Path, **columns) -> Path:
    """``train.parquet`` of good pairs but for some columns; None leaves one out."""
    path = folder / "train.parquet"
    pq.write_table(pa.table({name: values for name, values in (GOOD | columns).items() if values is not None}), path)
    return path


def pairs(name, says, **columns):
    return Case(f"pairs: {name}", lambda folder: read_pairs(parquet(folder, **columns)), says)


def raw_pairs(name, content, says):
    """A train.parquet of these bytes; a function gets those of a good one."""

    def run(folder: Path):
        path = parquet(folder)
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)
        load_training_data(folder)

    return Case(f"pairs: {name}", run, says)


def not_utf8(folder: Path):
    texts = pa.array([b"a", b"\xff"], pa.binary())
    column = pa.Array.from_buffers(pa.string(), 2, texts.buffers())
    read_pairs(parquet(folder, query=column))


CASES = [
    pairs(
        "a column is missing",
        "{path}/train.parquet has no column 'positive'; it needs query, positive, source, pair_id",
        positive=None,
    ),
    pairs(
        "a column of numbers",
        "{path}/train.parquet: column 'query' holds int64, not text; correct the file",
        query=[1, 2],
    ),
    pairs(
        "a column of lists",
        ("{path}/train.parquet: column 'query' holds list<element: string>, not text; correct the file"),
        query=[["a"], ["b"]],
    ),
    pairs(
        "an empty text",
        "{path}/train.parquet: column 'positive' is empty in row 1; fill it or leave the row out",
        positive=["c", ""],
    ),
    pairs(
        "only whitespace",
        "{path}/train.parquet: column 'query' is empty in row 1; fill it or leave the row out",
        query=["a", " \n\t\u3000"],
    ),
    pairs(
        "a null",
        "{path}/train.parquet: column 'query' is empty in row 1; fill it or leave the row out",
        query=["a", None],
    ),
    pairs(
        "an empty source",
        "{path}/train.parquet: column 'source' is empty in row 1; fill it or leave the row out",
        source=["s", ""],
    ),
    pairs(
        "negatives of numbers",
        "{path}/train.parquet: column 'negative_1' holds int64, not text; correct the file",
        negative_1=[1, 2],
    ),
    pairs(
        "an empty negative",
        ("{path}/train.parquet: column 'negative_1' is empty in row 1; fill it or leave the row out"),
        negative_1=["x", " "],
    ),
    Case(
        "pairs: no rows",
        lambda f: (parquet(f, **NONE), load_training_data(f)),
        "{path}/train.parquet holds no pairs; prepare them again with more",
    ),
    Case(
        "pairs: a text that is not UTF-8",
        not_utf8,
        (
            "{path}/train.parquet is damaged (In column 0: Invalid: Invalid UTF8 sequence at string "
            "index 1); prepare the pairs again"
        ),
    ),
    raw_pairs(
        "no bytes",
        b"",
        ("{path}/train.parquet is not a parquet file (Parquet file size is 0 bytes); prepare the pairs again"),
    ),
    raw_pairs(
        "no parquet",
        b"query,positive\na,b\n",
        (
            "{path}/train.parquet is not a parquet file (Parquet magic bytes not found in footer); "
            "prepare the pairs again"
        ),
    ),
    raw_pairs(
        "cut off",
        lambda data: data[: len(data) // 2],
        (
            "{path}/train.parquet is not a parquet file (Parquet magic bytes not found in footer); "
            "prepare the pairs again"
        ),
    ),
    raw_pairs(
        "a flipped page",
        lambda data: data[:30] + bytes([data[30] ^ 255]) + data[31:],
        (
            "{path}/train.parquet is damaged (Couldn't deserialize thrift: TProtocolException: "
            "Invalid data Deserializing page header failed); prepare the pairs again"
        ),
    ),
    Case(
        "pairs: no file",
        lambda folder: read_pairs(folder / "train.parquet"),
        "{path}/train.parquet does not exist; prepare the pairs first",
    ),
    Case(
        "pairs: a folder",
        lambda folder: read_pairs(folder),
        (
            "{path} is not a parquet file (Cannot open for reading: path '{path}' is a directory); "
            "prepare the pairs again"
        ),
    ),
    Case(
        "pairs: an empty folder of sources",
        lambda f: (parquet(f), (f / "train").mkdir(), load_training_data(f)),
        (
            "{path}/train holds 0 pairs, but {path}/train.parquet 2; prepare the pairs again, or "
            "delete {path}/train to train on the parquet file"
        ),
    ),
    Case(
        "pairs: texts of the evaluation without text",
        lambda f: index_files([parquet(f)], 8),
        "{path}/train.parquet has no column 'text'; write the evaluation texts again",
    ),
    Case(
        "pairs: texts of the evaluation are absent",
        lambda f: index_files([f / "texts.parquet"], 8),
        "{path}/texts.parquet does not exist; write the evaluation texts first",
    ),
    Case(
        "pairs: runs of three words",
        lambda f: index_files([], 3),
        "ngram is 3, but runs of fewer than 4 words match everything; use about 8",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_file_of_pairs_is_one_sentence(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
