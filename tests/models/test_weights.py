"""Weights that bring code: a pickle that would write a file is refused, with one sentence, and nothing is written."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from causal2vec.config import ModelSource
from causal2vec.errors import UserError
from causal2vec.models.prepare import prepare_model


class Payload:
    """Unpickled, it makes a folder of the given name."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def source(path: Path, **more) -> ModelSource:
    return ModelSource(kind="llm", source="local", path=str(path), **more)


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    """A model whose weights come as a .bin file only."""
    shutil.copytree(tiny["llm"], tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    return tmp_path / "model"


def bare_pickle(path: Path, value: object) -> None:
    path.write_bytes(pickle.dumps(value))


def zipped(path: Path, value: object) -> None:
    torch.save(value, path)


def old_format(path: Path, value: object) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [bare_pickle, zipped, old_format])
def test_code_in_weights_is_refused_and_not_run(write, folder, tiny, tmp_path):
    mark = tmp_path / "was here"
    weights = load_file(tiny["llm"] / "model.safetensors")
    write(folder / "pytorch_model.bin", {**weights, "model.norm.weight": Payload(mark)})
    with pytest.raises(
        UserError,
        match=r"models.m: .*model.* (holds more than numbers, which .* is not opened|is damaged or no file of weights)",
    ) as error:
        prepare_model("m", source(folder), tmp_path / "out")
    assert "\n" not in str(error.value) and not mark.exists() and not (tmp_path / "out").exists()
    with pytest.raises(FileExistsError):  # the payload does run where somebody unpickles it
        mark.mkdir()
        pickle.loads(pickle.dumps(Payload(mark)))


def test_honest_bin_files_are_read_and_written_as_safetensors_only(folder, tiny, tmp_path):
    weights = load_file(tiny["llm"] / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    prepare_model("m", source(folder), tmp_path / "out")
    assert {path.suffix for path in (tmp_path / "out").iterdir()} <= {".safetensors", ".json", ".jinja"}
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(written[name], weights[name]) for name in written)


def test_damaged_bin_file_is_one_sentence(folder, tmp_path):
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    with pytest.raises(UserError, match=r"models.m: .* cannot be read as a llm") as error:
        prepare_model("m", source(folder), tmp_path / "out")
    assert "\n" not in str(error.value)


def test_code_in_a_local_or_hub_models_configuration_is_refused(tiny, tmp_path):
    """``auto_map`` names code that transformers would ask, on a terminal, to run."""
    import json

    shutil.copytree(tiny["llm"], tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "model_type": "own", "auto_map": {"AutoConfig": "e.C"}})
    )
    (tmp_path / "model" / "e.py").write_text(f"import os; os.mkdir({str(tmp_path / 'mark')!r})")
    with pytest.raises(UserError, match=r"models.m: .* cannot be read as a llm"):
        prepare_model("m", source(tmp_path / "model"), tmp_path / "out")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("keep", [None, 1])
@pytest.mark.parametrize("kind", ["llm", "encoder"])
def test_adapter_beside_weights_is_neither_dropped_nor_taken_for_the_model(kind, keep, tiny, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    shutil.copytree(tiny[kind], tmp_path / "model")
    layer = {"llm": "q_proj", "encoder": "query"}[kind]
    adapter = get_peft_model(AutoModel.from_pretrained(tiny[kind]), LoraConfig(target_modules=[layer]))
    adapter.save_pretrained(tmp_path / "model")
    own = ModelSource(kind=kind, source="local", path=str(tmp_path / "model"), keep_layers=keep)
    with pytest.raises(UserError, match=r"models\.m: .* holds an adapter .*merge it"):
        prepare_model("m", own, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "model" / "config.json").unlink()  # the adapter alone
    with pytest.raises(UserError, match="holds an adapter"):
        prepare_model("m", own, tmp_path / "out")
