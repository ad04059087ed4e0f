"""Which code in a model folder may run without being asked for: this installation's own, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from causal2vec.errors import UserError
from causal2vec.runtime.files import read_json, sha256_tree

RECORDS = ("manifest.json", "training.json", "validation.json", "config_sentence_transformers.json")
"""Files of a model folder that say how it was made and do not change its vectors."""

_PAPERS = re.compile(
    r"(readme|licen[cs]e|notice|copying|authors|changelog)(\.(txt|html))?|citation\.(cff|bib)|.*\.(md|rst|pdf|png|jpe?g|svg|log)",
    re.IGNORECASE,
)
"""Names of files for people, as a model's folder collects them when it is published or copied."""

SHARED_CODE = (
    "embedder.py",
    "speed/packing.py",
    "speed/cpu_attention.py",
    "speed/gpu_attention.py",
    "speed/last_layer.py",
)
"""What every method builds on, in this package; copied beside every saved model."""

_OURS = Path(__file__).parents[1]
_LIBRARY = "sentence_transformers."


def revision_of(folder: Path) -> str:
    """The revision in a model folder's manifest.

    Raises:
        UserError: There is no manifest, or it names no revision.
    """
    return str(read_manifest(folder, "revision")["revision"])


def read_manifest(folder: Path, *keys: str) -> dict[str, Any]:
    """A model folder's manifest, which must have these keys, all of them text.

    Raises:
        UserError: It is absent, no JSON, or lacks a key.
    """
    path = folder / "manifest.json"
    manifest = read_json(path)
    for key in keys:
        if not isinstance(manifest, dict) or not isinstance(manifest.get(key), str):
            raise UserError(f"{path} has no '{key}'; name a model folder of this suite, or make the model again")
    return manifest  # type: ignore[no-any-return]


def content_revision(folder: Path) -> str:
    """What a folder's revision must be: 40 hex digits of the SHA-256 over all that its vectors depend on."""
    return sha256_tree(folder, skip=_is_aside)[:40]


def _is_aside(path: Path) -> bool:
    """Whether a file cannot change a vector: records, papers, hidden files such as git's, what Python keeps of code."""
    hidden = any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    return hidden or path.name in RECORDS or bool(_PAPERS.fullmatch(path.name))


def check_content(folder: Path) -> None:
    """Compare a model folder with the revision in its manifest; a folder without a manifest passes.

    Raises:
        UserError: A file was changed, added or removed after the model was saved.
    """
    if not (folder / "manifest.json").is_file():
        return
    noted, found = revision_of(folder), content_revision(folder)
    if noted != found:
        raise UserError(
            f"{folder} is not the model that its manifest.json describes (revision {noted[:12]}…, but its files give "
            f"{found[:12]}…): a file was damaged, changed or added; {_remedy(folder)}"
        )


def runs_code(folder: Path, *, trusted: bool) -> bool:
    """Whether opening a model folder takes code from it, once it is clear that this code may run.

    Code is this installation's own if every Python file of the folder has the very bytes that `save_model` writes here
    for a method of ``causal2vec`` or ``baselines``, and nothing refers to code elsewhere.

    Args:
        folder: A folder with ``modules.json``.
        trusted: Whether the user asked for the folder's code to run, or the DAG made the folder itself.

    Raises:
        UserError: The folder is no model, or brings code of others without being trusted.
    """
    types = _module_types(folder)
    foreign = [name for name in types if not name.startswith(_LIBRARY)]
    referring = _referring(folder)
    if not foreign and not referring:
        return False
    if trusted:
        return True
    if referring:
        raise UserError(f"{referring} names code of its own to run (auto_map); {_advice(folder)}")
    files = sorted(path for path in folder.rglob("*.py"))
    stems = {path.stem for path in files if path.parent == folder}
    for name in foreign:
        if not (re.fullmatch(r"\w+\.\w+", name) and name.partition(".")[0] in stems):
            raise UserError(f"{folder / 'modules.json'} names code from elsewhere, {name!r}; {_advice(folder)}")
    known = known_code()
    for path in files:
        if path.parent != folder or known.get(path.name) != path.read_bytes():
            raise UserError(f"{path} is not code of this installation of the suite; {_advice(folder)}")
    return True


def known_code() -> dict[str, bytes]:
    """Every Python file that this installation would put beside a model of its own methods, by name."""
    import baselines

    methods = [_OURS / "modeling_causal2vec.py", *sorted(Path(baselines.__path__[0]).glob("*.py"))]
    paths = [*(_OURS / name for name in SHARED_CODE), *(path for path in methods if path.name != "__init__.py")]
    return {path.name: as_neighbour(path.read_text(encoding="utf-8")).encode() for path in paths}


def as_neighbour(code: str) -> str:
    """Within a model folder the files are neighbours, not members of this project."""
    for file in SHARED_CODE:
        module = file.removesuffix(".py").replace("/", ".")
        code = code.replace(f"from causal2vec.{module} import", f"from .{module.rpartition('.')[2]} import")
    return code


def shared_code() -> dict[str, str]:
    """The files of `SHARED_CODE` as neighbours, by name."""
    return {Path(file).name: as_neighbour((_OURS / file).read_text(encoding="utf-8")) for file in SHARED_CODE}


def _module_types(folder: Path) -> list[str]:
    path = folder / "modules.json"
    if not path.is_file():
        raise UserError(f"{folder} is no sentence-transformers model (it has no modules.json); name a model folder")
    modules = read_json(path)
    try:
        return [str(entry["type"]) for entry in modules]
    except (TypeError, KeyError) as error:
        raise UserError(f"{path} does not list modules with their types; save the model again") from error


def _referring(folder: Path) -> Path | None:
    """The first configuration that names code by transformers' ``auto_map``."""
    for path in sorted(folder.rglob("*config.json")):
        try:
            value: Any = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError):
            continue  # whoever opens it says so
        if isinstance(value, dict) and value.get("auto_map"):
            return path
    return None


def _advice(folder: Path) -> str:
    return f"read it, and if you trust it say --trust-remote-code, else do not use {folder.name}"


def _remedy(folder: Path) -> str:
    return f"delete {folder.name} and make the model again, or restore it from where it came"
