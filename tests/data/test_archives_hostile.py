"""Archives: only what matches is unpacked, nothing outside the folder, no links, no more than is allowed."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

from causal2vec.data.corpora import archives
from causal2vec.errors import UserError

NAMES = ["..", "../evil", "a/../../evil", "/etc/evil", "//host/share/evil", "a\\..\\..\\evil", "a\nb", "a\x1b[2Jb",
         "a\x7fb", "a\u202egnp.exe"]  # fmt: skip


def make_zip(path: Path, members: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            zipped.writestr(info, data, zipfile.ZIP_DEFLATED)
    return path


def make_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tarred:
        for info, data in members:
            info.size = len(data)
            tarred.addfile(info, io.BytesIO(data))
    return path


def tar_info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "out"
    folder.mkdir(parents=True)
    return folder


def refused(archive: Path, out: Path, words: str, **more) -> None:
    """One sentence, and not one file anywhere."""
    with pytest.raises(UserError, match=words) as error:
        archives.unpack(archive, ["*"], out, **more)
    assert str(error.value).isprintable()
    assert not [path for path in archive.parent.rglob("*") if path.is_file() and path != archive]


def test_unpacks_only_what_matches(out, tmp_path):
    archive = make_zip(tmp_path / "a.whl", {"p/data/x.json": b"{}", "p/code.py": b"boom", "p/data/y.txt": b"no"})
    assert archives.unpack(archive, ["p/data/*.json"], out) == ["p/data/x.json"]
    assert [p.name for p in out.rglob("*") if p.is_file()] == ["x.json"]
    with pytest.raises(UserError, match=r"no file that matches 'y\*'; correct `files`"):
        archives.unpack(archive, ["p/*", "y*"], out)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_hostile_names(kind, name, out, tmp_path):
    if kind == "zip":
        archive = make_zip(tmp_path / "a.whl", {"good": b"x", name: b"x"})
    else:
        archive = make_tar(tmp_path / "a.tar.gz", (tar_info("good"), b"x"), (tar_info(name), b"x"))
    refused(archive, out, "holds the unsafe member .*; do not use this archive")


@pytest.mark.parametrize(
    "info",
    [
        tar_info("link", tarfile.SYMTYPE, "/etc/passwd"),
        tar_info("hard", tarfile.LNKTYPE, "other"),
        tar_info("device", tarfile.CHRTYPE),
        tar_info("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda info: info.name,
)
def test_links_and_devices(info, out, tmp_path):
    refused(make_tar(tmp_path / "a.tar.gz", (info, b"")), out, "unsafe member")


def test_a_python_without_the_filter_unpacks_and_refuses_the_same(out, tmp_path, monkeypatch):
    """Python 3.11.0 to 3.11.3, which Debian 12 has."""
    extract = tarfile.TarFile.extract
    monkeypatch.delattr(tarfile, "data_filter")
    monkeypatch.setattr(tarfile.TarFile, "extract", lambda self, member, path: extract(self, member, path))
    refused(make_tar(tmp_path / "a.tar.gz", (tar_info("../bad"), b"x")), out, "unsafe member")
    archives.unpack(make_tar(tmp_path / "a.tar.gz", (tar_info("good"), b"x")), ["good"], out)
    assert (out / "good").read_bytes() == b"x"


def test_a_link_in_a_zip(out, tmp_path):
    refused(make_zip(tmp_path / "a.whl", {"link": b"/etc/passwd"}, mode=0o120777), out, "unsafe member")


def test_name_with_nul_ends_there_and_escapes_nothing(out, tmp_path):
    """zipfile cuts a name at NUL: what is left is what is checked, matched and written."""
    data = make_zip(tmp_path / "a.whl", {"good#../../evil": b"x"}).read_bytes().replace(b"good#", b"good\0")
    (tmp_path / "a.whl").write_bytes(data)
    assert archives.unpack(tmp_path / "a.whl", ["*"], out) == ["good"]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.whl", "good"]


def test_a_link_and_then_a_file_through_it(out, tmp_path):
    """The old trick: a link out of the folder, then a member below it; with a pattern that passes over the link too."""
    (tmp_path / "outside").mkdir()
    link = tar_info("sub", tarfile.SYMTYPE, str(tmp_path / "outside"))
    archive = make_tar(tmp_path / "a.tar.gz", (link, b""), (tar_info("sub/file.txt"), b"x"))
    refused(archive, out, "unsafe member")
    assert archives.unpack(archive, ["*.txt"], out) == ["sub/file.txt"]
    assert not (out / "sub").is_symlink() and list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_bomb_is_refused_before_a_byte_is_written(kind, out, tmp_path):
    if kind == "zip":
        archive = make_zip(tmp_path / "a.whl", {"a": b"\0" * 600_000, "b": b"\0" * 600_000})
    else:
        archive = make_tar(tmp_path / "a.tar.gz", (tar_info("a"), b"\0" * 1_200_000))
    assert archive.stat().st_size < 10_000
    refused(archive, out, "unpacks to more than the 1,000,000 bytes allowed", limit=1_000_000)


def test_a_header_that_lies_about_its_size_helps_nothing(out, tmp_path):
    archive = make_zip(tmp_path / "a.whl", {"a": b"\0" * 600_000})
    with zipfile.ZipFile(archive) as zipped:
        true = zipped.getinfo("a").file_size.to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(true, (10).to_bytes(4, "little")))
    with pytest.raises(UserError, match="cannot be unpacked"):
        archives.unpack(archive, ["*"], out, limit=100_000)
    assert sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) <= 10


def test_too_many_members(out, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    refused(make_zip(tmp_path / "a.whl", {f"m{number}": b"" for number in range(11)}), out, "more than 10 members")


def damaged_lzma() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        entry = tar_info("x.txt")
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
    entry = tar_info("x.txt")
    entry.size = -512
    return entry.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2048


DAMAGED = {
    "no bytes": ("a.tar.gz", b""),
    "no zip": ("a.whl", b"PK\3\4"),
    "a name that is not UTF-8": ("a.whl", name_not_utf8()),
    "a flipped byte": ("a.tar.xz", damaged_lzma()),
    "truncated": ("a.tar.xz", damaged_lzma()[:100_000]),
    "a size below zero": ("a.tar", endless_tar()),
}


@pytest.mark.parametrize(("name", "content"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_archives(name, content, out, tmp_path):
    (tmp_path / name).write_bytes(content)
    refused(
        tmp_path / name, out, "cannot be unpacked .*; delete it and fetch it again|unsafe member|more than .* members"
    )


def test_a_file_where_a_folder_must_be(out, tmp_path):
    with pytest.raises(UserError, match="cannot be unpacked"):
        archives.unpack(make_zip(tmp_path / "a.whl", {"a": b"x", "a/b": b"y"}), ["*"], out)
