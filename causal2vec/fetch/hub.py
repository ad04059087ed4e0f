"""Repositories of the model hub, brought into its own cache: resumable, with every failure in one sentence."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from causal2vec.errors import UserError
from causal2vec.files import sha256_file

Kind = Literal["model", "dataset"]
_NETWORK = (
    "ConnectError",
    "ConnectTimeout",
    "ReadTimeout",
    "ReadError",
    "RemoteProtocolError",
    "ProxyError",
    "LocalEntryNotFoundError",
    "IncompleteSnapshotError",
    "OfflineModeIsEnabled",
    "FileMetadataError",
)


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

    What is in the cache already is not asked for again, so an interrupted download goes on from there. Honours the
    variables of huggingface_hub: HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE.

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
    from huggingface_hub import snapshot_download

    what = f"{where}: {repository}@{revision}"
    try:
        reached = _check_room(repository, revision, kind, what, allow, ignore)
        folder = Path(
            snapshot_download(
                repository,
                repo_type=kind,
                revision=revision,
                allow_patterns=allow,
                ignore_patterns=ignore,
                local_files_only=not reached,  # no second wait for a network that is not there
            )
        )
    except UserError:
        raise
    except Exception as error:  # the hub's client raises a dozen unrelated types
        raise UserError(f"{what} {_reason(error, kind)}") from error
    if allow and not any(True for _ in _matching(_names(folder), allow, ignore)):
        raise UserError(f"{what} has no file like {' or '.join(allow)}; look at the repository's list of files")
    return folder


def record(folder: Path, repository: str, revision: str) -> dict[str, Any]:
    """What a download brought: ``commit``, and ``files`` with ``size`` (bytes) and ``sha256`` of each.

    Files that are listed but not there are skipped. The cache names a large file after its SHA-256, so that one
    which was damaged on its way is found here.

    Raises:
        UserError: A large file does not have the checksum that the hub gives for it.
    """
    files = {}
    for name in _names(folder):
        path = folder / name
        found = sha256_file(path)
        blob = path.resolve().name
        if re.fullmatch(r"[0-9a-f]{64}", blob) and blob != found:
            raise UserError(_damaged(path, repository, blob, found))
        files[name] = {"size": path.stat().st_size, "sha256": found}
    commit = folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else None
    return {"repository": repository, "revision": revision, "commit": commit, "files": files}


def from_cache(known: dict[str, Any], *, kind: Kind, where: str) -> Path:
    """The cached folder of what `record` describes, every file compared with its checksum; no network is asked.

    Only where a file is gone, for example in another HF_HOME, it is downloaded again.

    Raises:
        UserError: A file has changed since it was downloaded, or is gone and cannot be had.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    repository, commit = known["repository"], known["commit"] or known["revision"]
    cache = Path(constants.HF_HUB_CACHE).expanduser()
    folder = cache / repo_folder_name(repo_id=repository, repo_type=kind) / "snapshots" / commit
    if not all((folder / name).is_file() for name in known["files"]):
        folder = download(repository, commit, kind=kind, where=where, allow=list(known["files"]))
    for name, facts in known["files"].items():
        found = sha256_file(folder / name)
        if found != facts["sha256"]:
            raise UserError(_damaged(folder / name, repository, facts["sha256"], found))
    return folder


def _damaged(path: Path, repository: str, expected: str, found: str) -> str:
    return (
        f"{path.resolve()} ({path.name} of {repository}) is damaged: its sha256 is {found[:12]}…, not "
        f"{expected[:12]}…; delete that file and run the same command where there is a network"
    )


def _names(folder: Path) -> list[str]:
    """Relative names of the files that are really there, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _matching(names: list[str], allow: list[str] | None, ignore: list[str] | None) -> Iterator[str]:
    from huggingface_hub.utils import filter_repo_objects

    yield from filter_repo_objects(names, allow_patterns=allow, ignore_patterns=ignore)


def _check_room(
    repository: str, revision: str, kind: Kind, what: str, allow: list[str] | None, ignore: list[str] | None
) -> bool:
    """Stop before a download that the disk cannot hold; returns whether the hub answers at all.

    Raises:
        UserError: With the room needed and the room there is.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.file_download import repo_folder_name

    if constants.HF_HUB_OFFLINE:
        return False
    cache = Path(constants.HF_HUB_CACHE).expanduser()
    snapshot = cache / repo_folder_name(repo_id=repository, repo_type=kind) / "snapshots" / revision
    try:
        tree = HfApi().list_repo_tree(repository, recursive=True, revision=revision, repo_type=kind)
        sizes = {entry.path: int(getattr(entry, "size", None) or 0) for entry in tree}
    except Exception as error:
        if _is_network(error):
            return False
        raise
    needed = sum(sizes[name] for name in _matching(list(sizes), allow, ignore) if not (snapshot / name).is_file())
    free = shutil.disk_usage(next(folder for folder in (cache, *cache.parents) if folder.exists())).free
    if needed > free:
        raise UserError(
            f"{what} needs {needed / 1e9:.1f} GB more in {cache}, where {free / 1e9:.1f} GB are free; make room, or "
            "set HF_HOME to a folder on a larger disk"
        )
    return True


def _is_network(error: BaseException) -> bool:
    return any(kind.__name__ in _NETWORK for kind in type(error).__mro__)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _reason(error: Exception, kind: Kind) -> str:
    """What is wrong and what to do, for the end of a sentence that begins with the repository."""
    from huggingface_hub import constants, errors

    full = next((e for e in _chain(error) if getattr(e, "errno", None) in (errno.ENOSPC, errno.EDQUOT)), None)
    if full or "No space left on device" in str(error):
        return (
            f"does not fit on the disk of {constants.HF_HUB_CACHE}; make room, or set HF_HOME to a folder on a "
            "larger disk, and run the same command again: it goes on from where it stopped"
        )
    if isinstance(error, errors.GatedRepoError):
        if _has_token():
            return f"is gated, and your token has no access; accept the licence on the {kind}'s page with its account"
        return f"is gated; accept the licence on the {kind}'s page and set HF_TOKEN to a token of your account"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"is not on the hub: the {kind} is there, but has no such revision; correct the revision"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"is not on the hub: there is no such {kind}, or it is private; correct the name, or set HF_TOKEN"
    if isinstance(error, PermissionError):
        return f"cannot be stored: {error.filename} is not writable; set HF_HOME to a folder of your own"
    return _reason_of_transport(error)


def _reason_of_transport(error: Exception) -> str:
    from huggingface_hub import constants, errors

    if isinstance(error, errors.HFValidationError):
        return f"is no name of a repository ({_first_line(error)}); write organisation/name"
    if constants.HF_HUB_OFFLINE:
        return (
            "is not in the cache, or not all of it, and HF_HUB_OFFLINE is set; run `snakemake fetch` where there is "
            "a network, with the HF_HOME that is set here"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 429:
        return "was refused: too many requests; wait some minutes and run again, or set HF_TOKEN for a higher limit"
    if status is not None:
        return f"cannot be downloaded: the hub answers with status {status} ({_first_line(error)}); try again later"
    if _is_network(error):
        return f"cannot be downloaded: no answer from {constants.ENDPOINT}; check the network, or set HF_ENDPOINT"
    return f"cannot be downloaded ({type(error).__name__}: {_first_line(error)}); run the same command again"


def _has_token() -> bool:
    from huggingface_hub import get_token

    return bool(os.environ.get("HF_TOKEN") or get_token())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:160]
