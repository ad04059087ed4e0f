"""Unpack chosen members of a wheel or a source archive, whose checksum is known: no links, no paths out, no bombs."""

from __future__ import annotations

import contextlib
import fnmatch
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from causal2vec.errors import UserError, one_line

MAX_UNPACKED_BYTES = 2_000_000_000
"""More than this from one archive is refused: the largest data package here unpacks to 130 MB."""
MAX_MEMBERS = 100_000
"""More entries in one archive are refused: no data package here comes near."""
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, struct.error, OSError),
    # What the two libraries raise where a header holds what they do not expect.
    *(RuntimeError, ValueError, OverflowError, MemoryError, IndexError, KeyError),
)


class Member(NamedTuple):
    """One entry of an archive that is no folder; neither library reads more of it than its declared size."""

    name: str
    size: int
    plain: bool
    """Whether it is a file, and no link or device."""
    extract: Callable[[Path], object]
    """Writes it below a folder."""


def unpack(archive: Path, patterns: list[str], target: Path, *, limit: int = MAX_UNPACKED_BYTES) -> list[str]:
    """Write the members of ``archive`` that match ``patterns`` below the existing folder ``target``.

    Patterns are those of `fnmatch` on the whole member name, so ``*`` also crosses ``/``. A ``.zip``/``.whl``
    is read as a zip file, anything else as a (compressed) tar file. Returns the sorted names written.

    Raises:
        UserError: The archive is damaged, a pattern matches nothing, a matching member has a path out of its folder or
            is no plain file, there are too many members, or they exceed ``limit`` bytes together.
    """
    try:
        with _members(archive) as every:
            members = list(islice(every, MAX_MEMBERS + 1))
            if len(members) > MAX_MEMBERS:
                raise UserError(f"{archive.name} has more than {MAX_MEMBERS:,} members; do not use this archive")
            for pattern in patterns:
                if not any(fnmatch.fnmatchcase(member.name, pattern) for member in members):
                    raise UserError(f"{archive.name} holds no file that matches {pattern!r}; correct `files` for it")
            wanted = [m for m in members if any(fnmatch.fnmatchcase(m.name, pattern) for pattern in patterns)]
            for member in wanted:
                _check(archive, member)
            if sum(member.size for member in wanted) > limit:
                raise UserError(
                    f"{archive.name} unpacks to more than the {limit:,} bytes allowed; do not use this archive"
                )
            for member in wanted:
                member.extract(target)
    except _DAMAGED as error:
        raise UserError(f"{archive} cannot be unpacked ({one_line(error)}); delete it and fetch it again") from error
    return sorted({member.name for member in wanted})


@contextlib.contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as zipped:
            yield (
                Member(entry.filename, entry.file_size, _is_plain(entry), partial(zipped.extract, entry))
                for entry in zipped.infolist()
                if not entry.is_dir()
            )
    else:
        # Python 3.11 has the filter from 3.11.4 on; what it would refuse is refused by `_check` before.
        filtered: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        with tarfile.open(archive) as tarred:
            yield (
                Member(info.name, info.size, info.isreg(), partial(tarred.extract, info, **filtered))
                for info in tarred
                if not info.isdir()
            )


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    kind = (entry.external_attr >> 16) & 0o170000  # the Unix file type, 0 where none was recorded
    return kind in (0, 0o100000)


def _check(archive: Path, member: Member) -> None:
    name = PurePosixPath(member.name)
    strange = "\\" in member.name or not member.name.isprintable()
    if name.is_absolute() or ".." in name.parts or not name.parts or strange or not member.plain or member.size < 0:
        raise UserError(
            f"{archive.name} holds the unsafe member {member.name!r} (a link, a device, a path out of its "
            "folder or a name with control characters); do not use this archive"
        )
