"""Wrong public training mixes, and wrong texts for the pre-training stages."""

import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_cases import Case, check, write

from causal2vec.config import Pairs, TextSource
from causal2vec.data.pairs.prepare import prepare
from causal2vec.data.pairs.texts import read_texts

LINE = {"query": "a", "positive": "b", "negative": "c"}


def mix(name, line, says, kind="e5", **changes):
    """A mix whose second line is this one."""

    def run(folder: Path):
        text = line if isinstance(line, bytes) else json.dumps(line).encode()
        good = json.dumps(LINE if kind == "e5" else {"query": "a", "pos": ["b"], "neg": ["c"]}).encode()
        write(folder / "mix" / "nq.jsonl", good + b"\n" + text + b"\n")
        settings = {"sources": {"nq": 1.0}, "validation": 0, "decontaminate_ngram": None, **changes}
        prepare(Pairs(kind=kind, folder=str(folder / "mix"), **settings), folder, folder / "out", eval_texts=[])

    return Case(f"mix: {name}", run, says)


def bad_mix_file(folder: Path):
    path = write(folder / "mix" / "nq.jsonl.gz", gzip.compress(json.dumps(LINE).encode() * 99)[:40])
    made = Pairs(kind="e5", folder=str(path.parent), sources={"nq": 1.0}, validation=0, decontaminate_ngram=None)
    prepare(made, folder, folder / "out", eval_texts=[])


def texts(name, file, content, says, files="*", column="text"):
    """A text source of the pre-training stages with one file."""

    def run(folder: Path):
        if content is not None:
            write(folder / "texts" / file, content)
        source = TextSource(source="local", path=str(folder / "texts"), files=files, column=column)
        read_texts(source, folder / "train.parquet", 4, seed=0, where="mntp.texts")

    return Case(f"texts: {name}", run, says)


def number_column() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": [1, 2]}), buffer)
    return buffer.getvalue()


CASES = [
    mix(
        "no JSON",
        b"{query: a}",
        (
            "{path}/mix/nq.jsonl line 2 is not JSON (Expecting property name enclosed in double "
            "quotes at character 2); correct or delete it"
        ),
    ),
    mix(
        "not UTF-8",
        b'{"query": "\xff"}',
        "{path}/mix/nq.jsonl line 2 is not UTF-8; convert the file or delete the line",
    ),
    mix("a list", [LINE], ("{path}/mix/nq.jsonl line 2 is no JSON object; write one with a key per column")),
    mix(
        "no query",
        {"positive": "b"},
        ("{path}/mix/nq.jsonl line 2 has no key 'query'; every line needs query, positive, negative"),
    ),
    mix(
        "no positive",
        {"query": "b", "pos": "x"},
        ("{path}/mix/nq.jsonl line 2 has no key 'positive'; every line needs query, positive, negative"),
    ),
    mix(
        "an empty positive",
        LINE | {"positive": "  "},
        "{path}/mix/nq.jsonl line 2 has an empty 'positive'; fill it or delete the line",
    ),
    mix(
        "a null",
        LINE | {"query": None},
        "{path}/mix/nq.jsonl line 2 has NoneType as 'query', not text; correct or delete it",
    ),
    mix(
        "half a character",
        b'{"query": "\\ud800", "positive": "b"}',
        "{path}/mix/nq.jsonl line 2 has half a character (\\ud800) in 'query'; correct it",
    ),
    mix(
        "a number among negatives",
        LINE | {"negative": ["c", 3]},
        "{path}/mix/nq.jsonl line 2 has int as 'negative', not text; correct or delete it",
    ),
    mix(
        "nested without end",
        b"[" * 20000,
        "{path}/mix/nq.jsonl line 2 is not JSON (it is nested too deeply); correct or delete it",
    ),
    mix(
        "a number of 5000 digits",
        b'{"query": ' + b"1" * 5000 + b"}",
        (
            "{path}/mix/nq.jsonl line 2 is not JSON (Exceeds the limit (4300 digits) for integer "
            "string conversion: value has 5000 digits); correct or delete it"
        ),
    ),
    mix(
        "no list of positives",
        {"query": "a", "pos": {}, "neg": []},
        "{path}/mix/nq.jsonl line 2 has dict as 'pos', not text; correct or delete it",
        kind="bge",
    ),
    mix(
        "an empty list of positives",
        {"query": "a", "pos": [], "neg": []},
        "{path}/mix/nq.jsonl line 2 has list as 'pos', not text; correct or delete it",
        kind="bge",
    ),
    mix(
        "negatives that are not there",
        {"query": "a", "positive": "b"},
        "{path}/mix has no file of the source 'nqq' (did you mean 'nq'?); correct pairs.sources",
        negatives=2,
        sources={"nqq": 1.0},
    ),
    mix(
        "more validation than pairs",
        LINE | {"query": "z"},
        "validation asks for 9 of 2 pairs; ask for fewer or take more of the sources",
        validation=9,
    ),
    Case(
        "mix: cut off",
        bad_mix_file,
        (
            "{path}/mix/nq.jsonl.gz cannot be read to its end (Compressed file ended before the "
            "end-of-stream marker was reached); fetch the file again"
        ),
    ),
    texts(
        "no folder",
        "x.txt",
        None,
        "mntp.texts: {path}/texts has no file *; correct mntp.texts.path or mntp.texts.files",
    ),
    texts(
        "no such file",
        "x.txt",
        "a",
        ("mntp.texts: {path}/texts has no file *.parquet; correct mntp.texts.path or mntp.texts.files"),
        files="*.parquet",
    ),
    texts(
        "another kind of file",
        "x.csv",
        "a",
        ("mntp.texts: {path}/texts/x.csv is none of .txt, .jsonl, .parquet; narrow mntp.texts.files"),
    ),
    texts(
        "nothing but blanks", "x.txt", " \n\n\t\n", "mntp.texts: the files * in {path}/texts hold no text; name others"
    ),
    texts(
        "not UTF-8",
        "x.txt",
        b"a\n\xff\n",
        "mntp.texts: {path}/texts/x.txt is not UTF-8 (invalid start byte at byte 2); convert the file",
    ),
    texts(
        "no JSON",
        "x.jsonl",
        '{"text": "a"}\nb\n',
        "{path}/texts/x.jsonl line 2 is not JSON (Expecting value at character 1); correct or delete it",
    ),
    texts(
        "another column",
        "x.jsonl",
        '{"body": "a"}\n',
        "{path}/texts/x.jsonl has no column 'text' (known: body); correct the file, or mntp.texts.column",
    ),
    texts(
        "a number",
        "x.jsonl",
        '{"text": 3}\n',
        "{path}/texts/x.jsonl line 1 has int as 'text', not text; correct or delete it",
    ),
    texts(
        "no parquet",
        "x.parquet",
        "PAR1",
        (
            "{path}/texts/x.parquet cannot be read (Parquet file size is 4 bytes, smaller than the minimum "
            "file footer (8 bytes)); get the file again"
        ),
    ),
    texts(
        "a column of numbers",
        "x.parquet",
        number_column(),
        "{path}/texts/x.parquet row 1 has int as 'text', not text; correct or delete it",
    ),
    texts(
        "a pattern out of the folder",
        "x.txt",
        "a",
        "mntp.texts.files is '/etc/*', no pattern below a folder; name one like '*.txt'",
        files="/etc/*",
    ),
    texts(
        "an empty pattern",
        "x.txt",
        "a",
        "mntp.texts.files is '', no pattern below a folder; name one like '*.txt'",
        files="",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_mix_or_text_file_is_one_sentence(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
