"""A model as a folder that opens with ``SentenceTransformer(path, trust_remote_code=True)`` on any machine."""

from __future__ import annotations

import inspect
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal2vec.errors import UserError, check_room
from causal2vec.models.build import (
    _transformer,
    check_length,
    load_errors,
    model_kwargs,
    quiet_transformers,
)
from causal2vec.models.check_llm import check_backbone
from causal2vec.models.trust import as_neighbour, check_content, content_revision, runs_code, shared_code
from causal2vec.runtime.files import atomic_folder, read_json, write_json, write_text

if TYPE_CHECKING:
    from causal2vec.config.prompts import Study
    from causal2vec.embedder import Embedder


REQUIREMENTS = {"transformers": ">=5.2", "sentence-transformers": ">=6"}


def save_model(
    module: Embedder, target: Path, *, manifest: dict[str, Any], records: dict[str, Any], study: Study | None = None
) -> str:
    """Write a model atomically, with its code beside it, and return its revision.

    Args:
        module: The method, trained or not, adapters merged.
        manifest: How the model was made; goes into ``manifest.json`` with the revision and the environment.
        records: Further JSON files by name, for example the loss curve as ``training.json``.
        study: How it is to be evaluated. It goes into the manifest, and its prompts into sentence-transformers'
            ``prompts`` too, so that ``encode_query`` and ``encode_document`` are right wherever the model is opened.

    Returns:
        The revision: 40 hex digits of the content's SHA-256. Equal weights, code and settings give an equal revision.

    Raises:
        UserError: The disk has no room for the weights.
    """
    from sentence_transformers import SentenceTransformer

    check_room(target.parent, sum(weight.nbytes for weight in module.state_dict().values()), f"the model {target.name}")
    with atomic_folder(target) as draft:
        prompts = study.prompts.for_library() if study else None
        model = SentenceTransformer(modules=[module], device="cpu", prompts=prompts)
        model.save_pretrained(str(draft), create_model_card=False)
        _bundle_code(module, draft)
        revision = content_revision(draft)
        notes = {"study": study.model_dump(exclude={"prompts": {"sources", "symmetric"}})} if study else {}
        write_json(draft / "manifest.json", {**manifest, **notes, "revision": revision, "read_with": _versions()})
        for name, record in records.items():
            write_json(draft / name, record)
        write_text(draft / "README.md", _card(module, manifest, revision))
    return revision


def _bundle_code(module: Embedder, folder: Path) -> None:
    """Copy the method's file and the files it builds on, and point ``modules.json`` at them."""
    source = Path(inspect.getfile(type(module)))
    for name, text in shared_code().items():
        write_text(folder / name, text)
    code = as_neighbour(source.read_text(encoding="utf-8"))
    if "causal2vec." in "".join(line for line in code.splitlines() if line.lstrip().startswith(("import ", "from "))):
        raise UserError(
            f"{source} imports more of causal2vec than causal2vec.embedder; a method must stand in one file, "
            "so that its models open without this project"
        )
    write_text(folder / source.name, code)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = f"{source.stem}.{type(module).__name__}"
    write_json(folder / "modules.json", modules)
    config = json.loads((folder / "config_sentence_transformers.json").read_text())
    write_json(folder / "config_sentence_transformers.json", {**config, "requirements": REQUIREMENTS})


def load_model(
    path: str,
    device: str,
    dtype: str,
    *,
    max_length: int | None = None,
    trusted: bool = False,
    revision: str | None = None,
    attention: str | None = None,
) -> Any:
    """Open a saved model as any user would, in the given number format.

    Args:
        path: A folder, or a name on the hub.
        device: ``cpu`` or ``cuda``.
        dtype: ``float32`` or ``bfloat16``.
        max_length: Tokens per text, instead of what the model was saved with.
        trusted: Whether to run code that the model brings. Without it only code runs that this installation has too,
            see `causal2vec.models.trust.runs_code`.
        revision: Commit, branch or tag of a model on the hub; the default branch without it.
        attention: As for `build_embedder`.

    Raises:
        UserError: The folder is no such model, has changed since it was saved, or brings code of others; the hub
            does not have it; or other versions of torch or transformers than made it do not read it rightly.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    quiet_transformers()
    folder = Path(path)
    if folder.is_dir():
        check_content(folder)
        trusted = runs_code(folder, trusted=trusted)
    try:
        model = SentenceTransformer(
            path,
            device=device,
            trust_remote_code=trusted,
            revision=None if folder.is_dir() else revision,
            model_kwargs=model_kwargs(getattr(torch, dtype), attention),
        )
    except load_errors() as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"the model {path} cannot be opened ({reason}); make it again or name another") from error
    first: Any = model[0]
    if hasattr(first, "parts") and not _was_checked(folder):
        check_backbone(first)
    if not hasattr(first, "parts"):
        _mend(model)
    if max_length is not None:
        check_length(first if hasattr(first, "parts") else model, max_length, path)
        model.max_seq_length = max_length
    return model.eval()


def _mend(model: Any) -> None:
    """Give a model of others what its files lack: a length within its positions, and a padding token with a vector."""
    from causal2vec.embedder import positions_of

    transformer: Any = _transformer(model)
    tokenizer: Any = getattr(model, "tokenizer", None)
    if transformer is None or not hasattr(tokenizer, "pad_token_id"):
        return
    longest = positions_of(transformer)
    if longest is not None and (model.max_seq_length is None or model.max_seq_length > longest):
        model.max_seq_length = longest
    rows = transformer.get_input_embeddings().weight.shape[0]
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= rows:  # nobody reads it, if it is one
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)


def _versions() -> dict[str, str]:
    """What decides whether a backbone is read rightly, beside the model and the code that comes with it."""
    return {name: version(name) for name in ("torch", "transformers")}


def _was_checked(folder: Path) -> bool:
    """Whether a model's backbone was checked when it was built, with what reads it now."""
    manifest = read_json(folder / "manifest.json") if (folder / "manifest.json").is_file() else {}
    return isinstance(manifest, dict) and manifest.get("read_with") == _versions()


def _card(module: Embedder, manifest: dict[str, Any], revision: str) -> str:
    settings = json.dumps(module.get_config_dict(), sort_keys=True)
    return f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
---
# {manifest["method"]} on {manifest["base"]}, seed {manifest["seed"]}

{"Trained" if manifest["trained"] else "Not trained"}. Revision `{revision}`. Settings: `{settings}`.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("PATH", trust_remote_code=True)
queries = model.encode_query(["a question"])  # behind a general instruction
documents = model.encode_document(["a text"])  # bare
prompt = model.prompts["template"].format(instruction="Find what the task asks for")
queries = model.encode_query(["a question"], prompt=prompt)
```

Without a prompt, `model.encode` reads a text bare. `manifest.json` says how this model was made and is evaluated,
`training.json` how its training went.
"""
