"""Unpack chosen members of a wheel or a source archive, trusting nothing that the archive says."""

from __future__ import annotations

import fnmatch
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from causal2vec.errors import UserError, one_line

MAX_UNPACKED_BYTES = 2_000_000_000
"""More than this from one archive is refused: the largest data package here unpacks to 130 MB."""
MAX_RATIO = 200
"""An archive that unpacks to more than this many times its size is a bomb; text packs to a tenth or so."""
SMALL_BYTES = 100_000_000
"""So much may always be unpacked, however small the archive: it fills no disk."""
MAX_MEMBERS = 100_000
"""More entries in one archive are refused: no data package here comes near."""
MAX_HEADER_BYTES = 65_536
"""Longer headers of a tar member are refused: they are read into memory whole, names have a few hundred bytes."""
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, struct.error, OSError),
    # What the two libraries raise where a header holds what they do not expect: names that are not UTF-8 or hold NUL,
    # methods of compression and encryption that are unknown, sizes and dates that no number of theirs can hold.
    *(RuntimeError, ValueError, OverflowError, MemoryError, IndexError, KeyError),
)


class Member(NamedTuple):
    """One entry of an archive: its name, its declared size, whether it is a plain file, how to open it."""

    name: str
    size: int
    plain: bool
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, patterns: list[str], target: Path, *, limit: int = MAX_UNPACKED_BYTES) -> list[str]:
    """Write the members of ``archive`` that match ``patterns`` below the existing folder ``target``.

    Patterns are those of `fnmatch` on the whole member name, so ``*`` also crosses ``/``. A ``.zip``/``.whl``
    is read as a zip file, anything else as a (compressed) tar file. Returns the sorted names written.

    Raises:
        UserError: The archive is damaged, a pattern matches nothing, a matching member has an absolute path,
            ``..``, is a link or a device, or appears twice, there are too many members, or they exceed ``limit``
            bytes or `MAX_RATIO` times the archive's size together.
    """
    written: set[str] = set()
    matched: set[str] = set()
    places: set[PurePosixPath] = set()
    try:
        left = limit = min(limit, max(SMALL_BYTES, archive.stat().st_size * MAX_RATIO))
        for count, member in enumerate(_members(archive)):
            if count >= MAX_MEMBERS:
                raise UserError(f"{archive.name} has more than {MAX_MEMBERS:,} members; do not use this archive")
            hits = {pattern for pattern in patterns if fnmatch.fnmatchcase(member.name, pattern)}
            if not hits:
                continue
            matched |= hits
            name = _safe_name(archive, member)
            if name in places:
                raise UserError(f"{archive.name} holds the member {member.name!r} twice; do not use this archive")
            places.add(name)
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            left -= _write(archive, member, path, left, limit)
            written.add(member.name)
    except _DAMAGED as error:
        raise UserError(f"{archive} cannot be unpacked ({one_line(error)}); delete it and fetch it again") from error
    if missing := sorted(set(patterns) - matched):
        raise UserError(f"{archive.name} holds no file that matches {missing[0]!r}; correct `files` for it")
    return sorted(written)


def _members(archive: Path) -> Iterator[Member]:
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as zipped:
            for entry in zipped.infolist():
                if not entry.is_dir():
                    yield Member(entry.filename, entry.file_size, _is_plain(entry), _zip_opener(zipped, entry))
        return
    before = -1
    with _opened_tar(archive) as tarred:
        for info in tarred:
            # Extended headers may set a size below zero, by which a reader comes back to where it was.
            if info.size < 0 or info.offset <= before:
                raise tarfile.ReadError(f"the member {info.name!r} has no valid size")
            before = info.offset
            if not info.isdir():
                yield Member(info.name, info.size, info.isreg(), _tar_opener(tarred, info))


class _Header(tarfile.TarInfo):
    """A tar member's header, refused where reading on would end silently, never, or with all memory taken."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            found = super().frombuf(buf, encoding, errors)
        except tarfile.InvalidHeaderError as error:  # type: ignore[attr-defined]
            # Behind the first member tarfile would take this for the end of the archive.
            raise tarfile.ReadError(f"a damaged header: {error}") from error
        extended = found.type in (*tarfile.GNU_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        if found.size < 0 or (extended and not found.isreg() and found.size > MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header of {found.size} bytes")
        return found


def _opened_tar(archive: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(archive, tarinfo=_Header)
    except tarfile.ReadError as error:  # which tells in five lines what was tried
        raise tarfile.ReadError("it is no tar file, compressed or not, or its beginning is damaged") from error


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    kind = (entry.external_attr >> 16) & 0o170000  # the Unix file type, 0 where none was recorded
    return kind in (0, 0o100000)


def _zip_opener(zipped: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: zipped.open(entry)


def _tar_opener(tarred: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        stream = tarred.extractfile(info)
        if stream is None:
            raise tarfile.TarError(f"{info.name} has no content")
        return stream

    return opened


def _safe_name(archive: Path, member: Member) -> PurePosixPath:
    name = PurePosixPath(member.name)
    strange = any(character in '\\:<>"|?*' or not character.isprintable() for character in member.name)
    if name.is_absolute() or ".." in name.parts or strange or not member.plain or not name.parts:
        raise UserError(
            f"{archive.name} holds the unsafe member {member.name!r} (a link, a device, a path out of its "
            "folder or a name with control characters); do not use this archive"
        )
    return name


def _write(archive: Path, member: Member, path: Path, left: int, limit: int) -> int:
    """Copy one member to ``path``; the bytes really read are counted, for a header may lie about them."""
    size = 0
    with member.open() as source, path.open("wb") as out:
        while chunk := source.read(1 << 20):
            size += len(chunk)
            if size > left:
                raise UserError(
                    f"{archive.name} unpacks to more than the {limit:,} bytes allowed, at {member.name!r}; "
                    "do not use this archive"
                )
            out.write(chunk)
    return size


def read_inner_tar(archive: Path, pattern: str, *, limit: int = 50_000_000) -> bytes:
    """Bytes of the first regular file in a (compressed) tar archive whose name matches ``pattern``.

    Raises:
        UserError: The archive is absent or damaged, nothing matches, or the file exceeds ``limit`` bytes.
    """
    try:
        for member in _members(archive):
            if not (member.plain and fnmatch.fnmatchcase(member.name, pattern)):
                continue
            with member.open() as stream:
                data = stream.read(limit + 1)
            if len(data) > limit:
                raise UserError(f"{archive}: {member.name!r} is larger than {limit:,} bytes; fetch it again")
            return data
    except FileNotFoundError as error:
        raise UserError(f"{archive} does not exist; fetch the data packages again") from error
    except _DAMAGED as error:
        raise UserError(f"{archive} cannot be read ({one_line(error)}); fetch the data packages again") from error
    raise UserError(f"{archive} holds no file that matches {pattern!r}; fetch the data packages again")
