"""Repositories of the model hub, brought into its own cache: tried again, checked, every failure in one sentence."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.errors import UserError, check_room
from causal2vec.fetch.client import Kind, as_transient, bounded_client, reason
from causal2vec.fetch.retry import Patience, retrying
from causal2vec.runtime.files import sha256_file

_ABANDONED = 3600
"""Seconds after which a half-written file of the cache belongs to no download: one that stalls ends sooner."""
_log = logging.getLogger(__name__)


def download(
    repository: str,
    revision: str,
    *,
    kind: Kind,
    where: str,
    allow: list[str] | None = None,
    ignore: list[str] | None = None,
) -> Path:
    """Bring a repository into the hub's cache and return the folder of its files.

    What is in the cache already is not asked for again, so an interrupted download goes on from there. A server that
    stalls, breaks off or is busy is asked again, see `Patience`. Honours the variables of huggingface_hub: HF_HOME,
    HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, HF_HUB_DOWNLOAD_TIMEOUT.

    Args:
        repository: ``organisation/name``.
        revision: A commit (40 hex digits), branch or tag.
        kind: ``model`` or ``dataset``.
        where: The configuration key that asks for it, for messages.
        allow: Patterns of the files to take; ``None`` takes all.
        ignore: Patterns of files to leave.

    Raises:
        UserError: Repository, revision, permission, network, or room on the disk is lacking.
    """
    what = f"{where}: {repository}@{revision}"
    patience = Patience.from_environment()
    try:
        with bounded_client(patience):
            folder = retrying(what, lambda: _attempt(repository, revision, kind, what, allow, ignore), patience)
    except UserError:
        raise
    except Exception as error:  # the hub's client raises a dozen unrelated types
        raise UserError(f"{what} {reason(error, kind)}") from error
    if allow and not any(True for _ in _matching(_names(folder), allow, ignore)):
        raise UserError(f"{what} has no file like {' or '.join(allow)}; look at the repository's list of files")
    return folder


def obtain(
    repository: str,
    revision: str,
    *,
    kind: Kind,
    where: str,
    allow: list[str] | None = None,
    ignore: list[str] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """`download`, and what it brought: ``commit``, and ``files`` with ``size`` (bytes) and ``sha256`` of each.

    The cache names a file after its checksum, so that one which was damaged on its way or since is found here; it is
    downloaded once more.

    Raises:
        UserError: As for `download`; or a file is damaged again.
    """
    files: dict[str, dict[str, Any]] = {}

    def look(folder: Path) -> list[Damage]:
        damaged = []
        for name in _names(folder):
            path = folder / name
            found, expected = sha256_file(path), path.resolve().name
            files[name] = {"size": path.stat().st_size, "sha256": found}
            if expected != found and not _is_as_named(path):
                damaged.append(Damage(path, repository, expected, found))
        return damaged

    folder = _whole(lambda: download(repository, revision, kind=kind, where=where, allow=allow, ignore=ignore), look)
    commit = folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else None
    return folder, {"repository": repository, "revision": revision, "commit": commit, "files": files}


def from_cache(known: dict[str, Any], *, kind: Kind, where: str) -> Path:
    """The cached folder of what `obtain` describes, every file compared with its checksum; no network is asked.

    Only a file that is gone, for example in another HF_HOME, or damaged, is downloaded again.

    Raises:
        UserError: A file has changed since it was downloaded, or is gone, and cannot be had.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    repository, commit = known["repository"], known["commit"] or known["revision"]
    cache = Path(constants.HF_HUB_CACHE).expanduser()
    folder = cache / repo_folder_name(repo_id=repository, repo_type=kind) / "snapshots" / commit
    names = list(known["files"])

    def get() -> Path:
        there = all((folder / name).is_file() for name in names)
        return folder if there else download(repository, commit, kind=kind, where=where, allow=names)

    def look(folder: Path) -> list[Damage]:
        hashes = ((name, facts["sha256"], sha256_file(folder / name)) for name, facts in known["files"].items())
        return [Damage(folder / name, repository, noted, found) for name, noted, found in hashes if noted != found]

    return _whole(get, look)


class Damage(NamedTuple):
    """A file of the cache that has another checksum than it should have."""

    path: Path
    repository: str
    expected: str
    found: str

    def __str__(self) -> str:
        digest = "sha256" if len(self.expected) == 64 else "checksum"
        return (
            f"{self.path.resolve()} ({self.path.name} of {self.repository}) is damaged: its {digest} is "
            f"{self.found[:12]}…, not {self.expected[:12]}…"
        )


def _whole(get: Callable[[], Path], look: Callable[[Path], list[Damage]]) -> Path:
    """The folder that ``get`` brings; what is damaged in it is brought once more.

    Raises:
        UserError: It is damaged again, or there is no network.
    """
    from huggingface_hub import constants

    folder, again = get(), False
    while damaged := look(folder):
        if again or constants.HF_HUB_OFFLINE:
            twice = (
                "it came so twice; whatever the hub is reached through alters it, so set HF_ENDPOINT to another mirror"
            )
            once = "delete that file and run the same command where there is a network"
            raise UserError(f"{damaged[0]}; {twice if again else once}")
        for damage in damaged:
            _log.warning("%s; it is downloaded once more", damage)
            blob = damage.path.resolve()
            damage.path.unlink(missing_ok=True)
            blob.unlink(missing_ok=True)  # a second name of it elsewhere keeps what it has
        folder, again = get(), True
    return folder


def _is_as_named(path: Path) -> bool:
    """Whether a file has the checksum after which the cache names it; True where its name is no checksum known here.

    Large files are named after their SHA-256; small ones after git's SHA-1 or, by some mirrors, the plain one.
    """
    blob = path.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", blob):
        return blob == sha256_file(path)
    if not re.fullmatch(r"[0-9a-f]{40}", blob):
        return True
    heads = (b"", b"blob %d\0" % path.stat().st_size)
    return any(_sha1(path, head) == blob for head in heads)


def _sha1(path: Path, head: bytes) -> str:
    digest = hashlib.sha1(head, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _names(folder: Path) -> list[str]:
    """Relative names of the files that are really there, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _matching(names: list[str], allow: list[str] | None, ignore: list[str] | None) -> Iterator[str]:
    from huggingface_hub.utils import filter_repo_objects

    yield from filter_repo_objects(names, allow_patterns=allow, ignore_patterns=ignore)


def _attempt(
    repository: str, revision: str, kind: Kind, what: str, allow: list[str] | None, ignore: list[str] | None
) -> Path:
    """One try; raises `TransientError` where another may do better."""
    from huggingface_hub import constants, snapshot_download

    def snapshot(*, cached: bool) -> Path:
        folder = snapshot_download(
            repository,
            repo_type=kind,
            revision=revision,
            allow_patterns=allow,
            ignore_patterns=ignore,
            local_files_only=cached,
        )
        return Path(folder)

    if constants.HF_HUB_OFFLINE:
        return snapshot(cached=True)
    try:
        _check_room(repository, revision, kind, what, allow, ignore)
    except Exception as error:
        if (transient := as_transient(error)) is None:
            raise
        try:
            return snapshot(cached=True)  # a network is not needed if all is there
        except Exception:
            raise transient from error
    try:
        folder = snapshot(cached=False)
    except Exception as error:
        if (transient := as_transient(error)) is None:
            raise
        raise transient from error
    _sweep(folder.parents[1] / "blobs")
    return folder


def _sweep(blobs: Path) -> None:
    """Remove what killed downloads left half-written: the hub's client never comes back to it."""
    for path in blobs.glob("*.incomplete"):
        try:
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()
        except OSError:
            continue  # somebody else's, or just gone


def _check_room(
    repository: str, revision: str, kind: Kind, what: str, allow: list[str] | None, ignore: list[str] | None
) -> None:
    """Stop before a download that the disk cannot hold.

    Raises:
        UserError: With the room needed and the room there is.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.file_download import repo_folder_name

    cache = Path(constants.HF_HUB_CACHE).expanduser()
    snapshot = cache / repo_folder_name(repo_id=repository, repo_type=kind) / "snapshots" / revision
    tree = HfApi().list_repo_tree(repository, recursive=True, revision=revision, repo_type=kind)
    sizes = {entry.path: int(getattr(entry, "size", None) or 0) for entry in tree}
    needed = sum(sizes[name] for name in _matching(list(sizes), allow, ignore) if not (snapshot / name).is_file())
    check_room(cache, needed, what, "make room, or set HF_HOME to a folder on a larger disk")
