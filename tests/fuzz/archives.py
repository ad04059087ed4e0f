"""Harness: `causal2vec.data.corpora.archives` on zip and tar files that are wrong in every way.

The fuzzer's bytes decide how an archive is built (names, kinds, sizes, extended headers, compression), and which of
its bytes are changed afterwards; so most archives are almost right, and what reads them gets far into them.
"""

from __future__ import annotations

import io
import tarfile
import warnings
import zipfile

import atheris

with atheris.instrument_imports(include=["causal2vec.data.corpora.archives"]):
    from causal2vec.data.corpora import archives
from guard import Scratch, fuzz, guarded

from causal2vec.errors import UserError

warnings.filterwarnings("ignore", "Duplicate name")

LIMIT = 20_000
"""Bytes that one archive may unpack to."""

NAMES = 5 * ["data/a.txt", "b", "a/b/c.tsv", "d.txt"] + [
    "data/a.txt/d", "../up", "data/../../up", "/tmp/fuzz-escape", "//x", "C:\\x",
    "a\\b", "", ".", "..", "./a", "a//b", "a\0b", "é", "\udcff", "x" * 300, "con", "~/x", "a/", "*", "[",
    "\u202ex", "\n", "-rf",
]  # fmt: skip
PATTERNS = [["*"], ["data/*"], ["b", "*.txt"], ["a/*/c.*"], ["[", "*"], []]
KINDS = [
    tarfile.REGTYPE, tarfile.REGTYPE, tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE,
    tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE,
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, b"Z",
]  # fmt: skip
EXTENDED = [
    {}, {}, {}, {"size": "-512"}, {"size": "99999999999"}, {"size": "x"}, {"path": "../up"}, {"path": "a\0b"},
    {"linkpath": "/etc/passwd"}, {"mtime": "nan"}, {"uid": "1e99"}, {"hdrcharset": "BINARY"},
    {"GNU.sparse.map": "0,9,1,-5", "GNU.sparse.size": "-1"}, {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
    {"GNU.sparse.numblocks": "1", "GNU.sparse.offset": "0", "GNU.sparse.numbytes": "9" * 30},
]  # fmt: skip
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
SUFFIXES = [".whl", ".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"]
ODD = [0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 2**63, 2**64 - 1]


def name_of(data: atheris.FuzzedDataProvider) -> str:
    """A name from the list, or any other."""
    return data.PickValueInList(NAMES) if data.ConsumeProbability() < 0.8 else data.ConsumeUnicode(20)


def content_of(data: atheris.FuzzedDataProvider) -> bytes:
    """Some bytes, or so many zeros that they go beyond the limit."""
    size = data.PickValueInList([0, 3, 600, 5000, LIMIT + 1, 300_000])
    return data.ConsumeBytes(size) if size < 100 else b"\0" * size


def zip_of(data: atheris.FuzzedDataProvider) -> bytes:
    """A zip file of up to five members, as `zipfile` writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", data.PickValueInList(METHODS)) as archive:
        for _ in range(data.ConsumeIntInRange(0, 5)):
            entry = zipfile.ZipInfo(name_of(data).encode("utf-8", "replace").decode() or "x")
            entry.compress_type = data.PickValueInList(METHODS)
            entry.external_attr = data.PickValueInList([0, 0o100644, 0o120777, 0o040755, 0o010644]) << 16
            archive.writestr(entry, content_of(data))
    return buffer.getvalue()


def tar_of(data: atheris.FuzzedDataProvider) -> bytes:
    """A tar file of up to five members, of any kind and with extended headers."""
    buffer = io.BytesIO()
    form = data.PickValueInList([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
    for _ in range(data.ConsumeIntInRange(0, 5)):
        entry, content = tarfile.TarInfo(name_of(data)), content_of(data)
        entry.type, entry.linkname = data.PickValueInList(KINDS), name_of(data)
        entry.size = len(content) if data.ConsumeProbability() < 0.9 else data.PickValueInList([-512, -1, 2**31, 2**40])
        entry.pax_headers = dict(data.PickValueInList(EXTENDED))
        try:
            header = entry.tobuf(form, errors="surrogateescape")
        except (ValueError, UnicodeError):  # too long a name for this form, say
            continue
        buffer.write(header + content + b"\0" * (-len(content) % 512))
    return buffer.getvalue() + b"\0" * 1024


def damaged(data: atheris.FuzzedDataProvider, archive: bytes) -> bytes:
    """Up to six bytes or fields changed, stretches cut out, doubled or moved, the end cut off."""
    changed = bytearray(archive)
    for _ in range(data.ConsumeIntInRange(0, 6)):
        place = data.ConsumeIntInRange(0, max(0, len(changed) - 1))
        width = data.PickValueInList([1, 1, 2, 4, 8])
        what = data.ConsumeIntInRange(0, 4)
        if what == 0 and changed:
            changed[place] ^= 1 << data.ConsumeIntInRange(0, 7)
        elif what == 1:
            changed[place : place + width] = (data.PickValueInList(ODD) % 2 ** (8 * width)).to_bytes(width, "little")
        elif what == 2:
            del changed[place : place + data.PickValueInList([1, 4, 30, 512])]
        elif what == 3:
            changed[place:place] = changed[place : place + data.PickValueInList([4, 46, 512, 1024])]
        elif data.ConsumeBool():
            del changed[place:]
    return bytes(changed)


def packed(suffix: str, archive: bytes) -> bytes:
    """A tar file compressed as its suffix says."""
    import bz2
    import gzip
    import lzma

    how = {".tar.gz": gzip.compress, ".tar.bz2": bz2.compress, ".tar.xz": lambda b: lzma.compress(b, preset=0)}
    return how[suffix](archive) if suffix in how else archive


def build(raw: bytes) -> tuple[str, bytes, list[str]]:
    """The fuzzer's bytes as an archive: its suffix, its bytes, the patterns that are asked for."""
    data = atheris.FuzzedDataProvider(raw)
    suffix = data.PickValueInList(SUFFIXES)
    patterns = data.PickValueInList(PATTERNS)
    archive = zip_of(data) if suffix in (".whl", ".zip") else tar_of(data)
    archive = packed(suffix, damaged(data, archive))
    if suffix.count(".") > 1 and data.ConsumeBool():
        archive = damaged(data, archive)
    return suffix, archive, patterns


scratch = Scratch()


def try_one(raw: bytes) -> None:
    """One archive: only `UserError`, nothing outside the folder, no links in it, no more bytes than allowed."""
    suffix, archive, patterns = build(raw)
    folder, target = scratch.fresh("in"), scratch.fresh("target")
    path = folder / f"a{suffix}"
    path.write_bytes(archive)
    try:
        with guarded(target):
            written = archives.unpack(path, patterns, target, limit=LIMIT)
    except UserError as error:
        assert str(error).isprintable(), error
        written = []
    found = list(target.rglob("*"))
    assert not any(member.is_symlink() for member in found)
    assert sum(member.stat().st_size for member in found if member.is_file()) <= LIMIT
    assert all((target / name).is_file() for name in written)


if __name__ == "__main__":
    fuzz(try_one)
