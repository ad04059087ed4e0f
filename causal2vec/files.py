"""Files that are either whole or absent: atomic writes, checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from causal2vec.errors import UserError
from causal2vec.parsing import json_value, yaml_value


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_tree(folder: Path, skip: tuple[str, ...] = ()) -> str:
    """SHA-256 over the relative names and contents of all files below ``folder``, in sorted order.

    ``skip`` names files (by base name) that do not count, such as a manifest that holds this very hash.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (*skip, ".snakemake_timestamp")):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a JSON-serialisable value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target`` that takes its place, whole, when the block ends well.

    On any error the half-written folder is removed and an earlier ``target`` stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp makes private folders; results are for sharing
        if target.exists():
            shutil.rmtree(target)
        draft.replace(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


@contextlib.contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a draft path beside ``target`` that is moved into place when the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft{target.suffix}")
    try:
        yield draft
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, with sorted keys, so that equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_yaml(path: Path, advice: str) -> Any:
    """Read a YAML file.

    Raises:
        UserError: The file is absent (``advice`` says what to do then) or not YAML.
    """
    try:
        return yaml_value(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; {advice}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {advice}") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid YAML ({error}); correct it") from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: The file is absent or not JSON.
    """
    try:
        return json_value(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; make it first or name another file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); make it again or name another file") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); delete it and run the same command again") from error
