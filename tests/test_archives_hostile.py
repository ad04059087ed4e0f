"""Archives made to harm: nothing is written outside the folder, no more than is allowed, and nothing twice."""

from __future__ import annotations

import io
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest
from test_corpora import make_tar, make_zip, tar_info

from causal2vec.data.corpora import archives
from causal2vec.errors import UserError

NAMES = [
    "..",
    "../evil",
    "a/../../evil",
    "/etc/evil",
    "//host/share/evil",
    "C:/evil",
    "file.txt:stream",
    "a\\..\\..\\evil",
    "a\nb",
    "a\x1b[2Jb",
    "a\x7fb",
    "a|b",
    "a\u202egnp.exe",
    "a*b",
]


def written(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and path.suffix not in (".whl", ".gz")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_hostile_names(kind, name, tmp_path):
    if kind == "zip":
        archive = make_zip(tmp_path / "a.whl", {name: b"x"})
    else:
        archive = make_tar(tmp_path / "a.tar.gz", (tar_info(name), b"x"))
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    with pytest.raises(UserError, match="holds the unsafe member") as error:
        archives.unpack(archive, ["*"], out)
    assert written(tmp_path) == [] and "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_name_with_nul_ends_there_and_escapes_nothing(tmp_path):
    """zipfile cuts a name at NUL: what is left is what is checked, matched and written."""
    data = make_zip(tmp_path / "a.whl", {"good#../../evil": b"x"}).read_bytes().replace(b"good#", b"good\0")
    (tmp_path / "a.whl").write_bytes(data)
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    try:
        assert archives.unpack(tmp_path / "a.whl", ["*"], out) == ["good"]
    except UserError:
        assert written(tmp_path) == []
    assert set(written(tmp_path)) <= {"good"}


@pytest.mark.parametrize("name", ["a/x", "a//x", "./a/x"])
def test_a_member_twice_is_refused_however_it_is_written(name, tmp_path):
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a.whl", "w") as zipped:
        warnings.simplefilter("ignore")
        zipped.writestr("a/x", b"first")
        zipped.writestr(name, b"second")
    with pytest.raises(UserError, match=r"holds the member '.*' twice; do not use this archive"):
        archives.unpack(tmp_path / "a.whl", ["*"], tmp_path)


def test_a_link_and_then_a_file_through_it(tmp_path):
    """The old trick: a link out of the folder, then a member below it; with a pattern that passes over the link too."""
    (tmp_path / "outside").mkdir()
    link = tar_info("sub", tarfile.SYMTYPE, str(tmp_path / "outside"))
    archive = make_tar(tmp_path / "a.tar.gz", (link, b""), (tar_info("sub/file.txt"), b"x"))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UserError, match="unsafe member"):
        archives.unpack(archive, ["*"], out)
    assert archives.unpack(archive, ["*.txt"], out) == ["sub/file.txt"]
    assert not (out / "sub").is_symlink() and list((tmp_path / "outside").iterdir()) == []


def test_a_file_where_a_folder_must_be(tmp_path):
    archive = make_zip(tmp_path / "a.whl", {"a": b"x", "a/b": b"y"})
    with pytest.raises(UserError, match="cannot be unpacked"):
        archives.unpack(archive, ["*"], tmp_path)


def test_a_bomb_is_known_by_its_ratio(tmp_path, monkeypatch):
    """A thousandfold; allowed as long as it is small."""
    archive = make_zip(tmp_path / "a.whl", {"a": b"\0" * 3_000_000})
    assert archives.unpack(archive, ["a"], tmp_path) == ["a"]
    monkeypatch.setattr(archives, "SMALL_BYTES", 1_000_000)
    size = archive.stat().st_size
    assert 3_000_000 / size > archives.MAX_RATIO
    with pytest.raises(UserError, match="unpacks to more than the 1,000,000 bytes allowed, at 'a'"):
        archives.unpack(archive, ["a"], tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_header_that_lies_about_its_size_helps_nothing(kind, tmp_path):
    if kind == "zip":
        archive = make_zip(tmp_path / "a.whl", {"a": b"\0" * 600_000})
        with zipfile.ZipFile(archive) as zipped:
            true = zipped.getinfo("a").file_size.to_bytes(4, "little")
        archive.write_bytes(archive.read_bytes().replace(true, (10).to_bytes(4, "little")))
    else:
        archive = make_tar(tmp_path / "a.tar.gz", (tar_info("a"), b"\0" * 600_000))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UserError):
        archives.unpack(archive, ["*"], out, limit=100_000)
    assert sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) <= 100_000


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    archive = make_zip(tmp_path / "a.whl", {f"m{number}": b"" for number in range(11)})
    with pytest.raises(UserError, match="has more than 10 members"):
        archives.unpack(archive, ["m0"], tmp_path)


def test_a_tar_within_a_bomb_of_gzip_is_bounded(tmp_path):
    """20 MB of zeros in 20 KB of gzip: bytes are counted as they are read, not believed from a header."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz", compresslevel=9) as tarred:
        info = tar_info("big")
        info.size = 20_000_000
        tarred.addfile(info, io.BytesIO(b"\0" * info.size))
    (tmp_path / "a.tar.gz").write_bytes(inner.getvalue())
    with pytest.raises(UserError, match="unpacks to more than the 5,000,000 bytes"):
        archives.unpack(tmp_path / "a.tar.gz", ["*"], tmp_path, limit=5_000_000)
