"""Vectors of texts, kept from task to task and, in files, from evaluation to evaluation.

A model's vectors lie in a folder named after all that decides them (`place`). They are added in segments: files that
never change once they are there, so that shards of an evaluation share them without a lock, on NFS too. In memory stand
only the keys, 16 bytes per text; a vector is read where it is needed. (mteb's own cache is of one task and one process,
knows neither prompts nor settings, and has no bound.)
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import time
import uuid
import zlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from causal2vec.runtime.files import draft_of, sha256_json

logger = logging.getLogger(__name__)

MEMORY_BYTES = 500_000_000
"""Vectors kept in memory where there is no folder, or no room in it."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""Reasons to go on without writing."""

STALE_SECONDS = 3600
"""A draft of this age is what a killed process left."""

SUFFIX = ".npy"


class Segment(NamedTuple):
    """Some texts' vectors, in a file or in memory.

    Attributes:
        keys: ``(texts, 2)``, uint64, sorted by the first column.
        path: The file; None: they are in ``vectors``.
        vectors: ``(texts, dim)``, float32.
    """

    keys: np.ndarray
    path: Path | None = None
    vectors: np.ndarray | None = None

    @property
    def size(self) -> int:
        """In bytes, of what is in memory."""
        return self.keys.nbytes + (0 if self.vectors is None else self.vectors.nbytes)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """The row of each key; -1 where it is not here."""
        rows = np.searchsorted(self.keys[:, 0], keys[:, 0])
        rows[rows == len(self.keys)] = 0
        # Of two keys that begin alike only the first is found; the other is embedded again, which does no harm.
        return np.where((self.keys[rows] == keys).all(axis=1), rows, -1)


class Vectors:
    """What a model made of texts, looked up by `keys_of`.

    Args:
        folder: Of this model and its settings, see `place`; None keeps vectors in memory only.
        limit: Bytes that all models' folders, the neighbours of ``folder``, may take together. The segments used
            longest ago make room; never one that was made or read after this object.
    """

    def __init__(self, folder: Path | None, limit: float = 0) -> None:
        self.folder = folder if limit > 0 else None
        self.limit = limit
        self._started = time.time() - 0.02  # times of files lag behind the clock by a tick
        self._files: dict[Path, Segment] = {}
        self._memory: list[Segment] = []

    def look_up(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The vectors that are known.

        Args:
            keys: ``(texts, 2)``.

        Returns:
            Which are known, ``(texts,)``, and their vectors ``(known, dim)``, float32; None without any.
        """
        self._refresh()
        known = np.zeros(len(keys), dtype=bool)
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for segment in [*self._memory, *self._files.values()]:
            open_places = np.flatnonzero(~known)
            if not len(open_places):
                break
            rows = segment.find(keys[open_places])
            hit = rows >= 0
            vectors = self._rows(segment, rows[hit]) if hit.any() else None
            if vectors is not None:
                found.append((open_places[hit], vectors))
                known[open_places[hit]] = True
        if not found:
            return known, None
        if len(found) == 1:
            return known, found[0][1]
        order = np.argsort(np.concatenate([places for places, _ in found]))
        return known, np.concatenate([vectors for _, vectors in found])[order]

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Keep vectors ``(texts, dim)``, float32, under their keys ``(texts, 2)``."""
        order = np.argsort(keys[:, 0], kind="stable")
        segment = Segment(keys[order], None, vectors[order])
        if self.folder is not None:
            try:
                if self._make_room(vectors.nbytes + keys.nbytes):
                    path = _write(self.folder, segment)
                    self._files[path] = Segment(segment.keys, path)
                    return
            except OSError as error:
                if error.errno not in FULL:
                    raise
                logger.warning("vectors are not kept in %s any more: %s", self.folder, error.strerror)
                self.folder = None
        self._memory.append(segment)
        while len(self._memory) > 1 and sum(kept.size for kept in self._memory) > MEMORY_BYTES:
            self._memory.pop(0)

    def _refresh(self) -> None:
        """Take note of what other processes have added and removed."""
        if self.folder is None:
            return
        present = {path for path in self.folder.glob(f"*{SUFFIX}") if not path.name.startswith(".")}
        for path in self._files.keys() - present:
            del self._files[path]
        for path in sorted(present - self._files.keys()):
            if (keys := _read_keys(path)) is not None:
                self._files[path] = Segment(keys, path)

    def _rows(self, segment: Segment, rows: np.ndarray) -> np.ndarray | None:
        """Vectors of some rows; None if the file is gone."""
        if segment.path is None:
            return segment.vectors[rows] if segment.vectors is not None else None
        try:
            return np.load(segment.path, mmap_mode="r")["vector"][rows]
        except (OSError, ValueError, EOFError):
            del self._files[segment.path]
            return None

    def _make_room(self, needed: int) -> bool:
        """Drop what was used longest ago until ``needed`` bytes fit; whether they do."""
        assert self.folder is not None
        if needed > self.limit:
            return False
        kept = []
        for path in self.folder.parent.glob("*/*.*"):
            try:
                facts = path.stat()
            except OSError:  # another process was faster
                continue
            if path.name.startswith(".") and facts.st_mtime < time.time() - STALE_SECONDS:
                path.unlink(missing_ok=True)
            else:
                kept.append((facts.st_mtime, facts.st_size, path))
        total = sum(size for _, size, _ in kept)
        for used, size, path in sorted(kept):
            if total + needed <= self.limit or used >= self._started:
                break
            path.unlink(missing_ok=True)
            self._files.pop(path, None)
            total -= size
        return total + needed <= self.limit


def place(cache: Path, model: Any, **further: Any) -> Path:
    """The folder of a model's vectors: its name changes with all that changes a vector.

    Args:
        cache: The folder of all models.
        model: A SentenceTransformer; its number format, device, attention and lengths count.
        further: What else counts, such as the revision.
    """
    import torch

    from causal2vec.speed.packing import plain

    first = next(model.parameters())
    attentions = sorted({str(m.config._attn_implementation) for m in model.modules() if hasattr(m, "config")})
    identity = {
        "dtype": str(first.dtype),
        **({"plain": True} if plain() else {}),
        "device": first.device.type,
        "threads": torch.get_num_threads(),
        "attention": attentions,
        "max_length": model.max_seq_length,
        "versions": {name: version(name) for name in ("torch", "transformers", "sentence-transformers")},
        **further,
    }
    return cache / sha256_json(identity)[:16]


def keys_of(prompt: str, texts: Iterable[str]) -> np.ndarray:
    """``(texts, 2)``, uint64: the first 16 bytes of SHA-256 over prompt and text."""
    start = hashlib.sha256(f"{len(prompt)}:{prompt}".encode("utf-8", "surrogatepass"))
    digests = []
    for text in texts:
        digest = start.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        digests.append(digest.digest()[:16])
    return np.frombuffer(b"".join(digests), dtype=np.uint64).reshape(-1, 2)


def _write(folder: Path, segment: Segment) -> Path:
    """Write a segment as a NumPy file of (key, vector) rows, whose name ends in the CRC-32 of its bytes."""
    assert segment.vectors is not None
    rows = np.empty(len(segment.keys), [("key", "<u8", 2), ("vector", "<f4", segment.vectors.shape[1])])
    rows["key"], rows["vector"] = segment.keys, segment.vectors
    name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
    draft = draft_of(folder / f"{name}{SUFFIX}")
    try:
        with draft.open("wb") as file:
            np.save(file, rows)
        return draft.replace(folder / f"{name}-{_checksum(draft)}{SUFFIX}")
    finally:
        draft.unlink(missing_ok=True)


def _checksum(path: Path) -> str:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return f"{checksum:08x}"


def _read_keys(path: Path) -> np.ndarray | None:
    """A segment's keys, and note that it is in use; None if it is gone, or damaged, and then it is removed."""
    try:
        with contextlib.suppress(PermissionError):
            os.utime(path)
        if _checksum(path) == path.stem.rpartition("-")[2]:  # before anything is made of its bytes
            return np.ascontiguousarray(np.load(path, mmap_mode="r")["key"])
        logger.warning("%s is damaged and not used", path)
        path.unlink()
    except OSError:  # gone already, or not to be read this time
        pass
    return None
