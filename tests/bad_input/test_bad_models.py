"""Wrong model folders: what a base comes as, and what a method was saved as."""

import json
import shutil
from pathlib import Path

import pytest
from bad_cases import Case, check, write

from causal2vec.config import ModelSource
from causal2vec.models.build import build_embedder
from causal2vec.models.folder import load_model, save_model
from causal2vec.models.prepare import prepare_model


def lay_out(folder: Path, tiny: dict[str, Path]) -> None:
    """A good LLM and a good encoder, as ``llm`` and ``encoder``."""
    for part, path in tiny.items():
        shutil.copytree(path, folder / part)


def changed(path: Path, **keys) -> None:
    """Keys of a JSON file set; None takes one out."""
    content = json.loads(path.read_text()) | keys
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def removed(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink()


def source(name, damage, says, kind="llm", part="llm", **more):
    """A local model that is damaged before it is prepared."""

    def run(folder: Path):
        damage(folder / part)
        prepare_model("m", ModelSource(kind=kind, source="local", path=str(folder / part), **more), folder / "out")

    return Case(f"model: {name}", run, says)


def without_a_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def pickled(folder: Path) -> None:
    removed(folder, "model.safetensors")
    write(folder / "pytorch_model.bin", b"cos\nsystem\n(S'true'\ntR.")


def indexed(**content):
    def damage(folder: Path):
        (folder / "model.safetensors").rename(folder / "model-1.safetensors")
        write(folder / "model.safetensors.index.json", json.dumps(content))

    return damage


def asks_for_code(folder: Path) -> None:
    changed(folder / "config.json", model_type="mine", auto_map={"AutoConfig": "code.Mine"})
    write(folder / "code.py", "raise SystemExit('this code must not run')")


def saved(folder: Path) -> Path:
    module = build_embedder(
        "causal2vec.modeling_causal2vec.Causal2Vec", {part: folder / part for part in ("llm", "encoder")}, {}
    )
    save_model(module, folder / "model", manifest={"method": "m", "base": "b", "seed": 0, "trained": False}, records={})
    # Without it, what is damaged is not found by its checksum before it is opened.
    (folder / "model" / "manifest.json").unlink()
    return folder / "model"


def opened(name, damage, says):
    """A saved model that is damaged before it is opened."""

    def run(folder: Path):
        path = saved(folder)
        damage(path)
        load_model(str(path), "cpu", "float32")

    return Case(f"saved: {name}", run, says)


CASES = [
    source(
        "no folder",
        lambda folder: shutil.rmtree(folder),
        "models.m.path: {path}/llm holds no config.json; name a folder in Hugging Face's format",
    ),
    source(
        "no config.json",
        lambda folder: removed(folder, "config.json"),
        "models.m.path: {path}/llm holds no config.json; name a folder in Hugging Face's format",
    ),
    source(
        "a config.json that is no JSON",
        lambda folder: write(folder / "config.json", "{"),
        (
            "models.m: {path}/llm cannot be read as a llm (It looks like the config file at "
            "'{path}/llm/config.json' is not a valid JSON file); get it again or name another model"
        ),
    ),
    source(
        "a config.json that is a list",
        lambda folder: write(folder / "config.json", "[]"),
        (
            "models.m: {path}/llm cannot be read as a llm "
            "(transformers.configuration_utils.PreTrainedConfig() argument after ** must be a "
            "mapping, not list); get it again or name another model"
        ),
    ),
    source(
        "no type",
        lambda folder: changed(folder / "config.json", model_type=None),
        (
            "models.m: {path}/llm cannot be read as a llm (Unrecognized model in {path}/llm); get it "
            "again or name another model"
        ),
    ),
    source(
        "an unknown type",
        lambda folder: changed(folder / "config.json", model_type="lama"),
        (
            "models.m: {path}/llm cannot be read as a llm (The checkpoint you are trying to load has "
            "model type `lama` but Transformers does not recognize this architecture); get it again "
            "or name another model"
        ),
    ),
    source(
        "layers in words",
        lambda folder: changed(folder / "config.json", num_hidden_layers="two"),
        (
            "models.m: {path}/llm cannot be read as a llm (Validation error for field "
            "'num_hidden_layers': TypeError: Field 'num_hidden_layers' expected int, got str (value: "
            "'two')); get it again or name another model"
        ),
    ),
    source(
        "brings code",
        asks_for_code,
        (
            "models.m: {path}/llm cannot be read as a llm (The repository {path}/llm contains custom "
            "code which must be executed to correctly load the model); get it again or name another "
            "model"
        ),
    ),
    source(
        "no weights",
        lambda folder: removed(folder, "*.safetensors"),
        (
            "models.m: {path}/llm cannot be read as a llm (Error no file named model.safetensors, or "
            "pytorch_model.bin, found in directory {path}/llm); get it again or name another model"
        ),
    ),
    source(
        "weights cut off",
        lambda folder: halved(folder / "model.safetensors"),
        (
            "models.m: {path}/llm cannot be read as a llm (Error while deserializing header: "
            "incomplete metadata, file not fully covered); get it again or name another model"
        ),
    ),
    source(
        "weights of no bytes",
        lambda folder: write(folder / "model.safetensors", ""),
        (
            "models.m: {path}/llm cannot be read as a llm (Error while deserializing header: header "
            "too small); get it again or name another model"
        ),
    ),
    source(
        "a tensor is missing",
        without_a_tensor,
        (
            "models.m: the weights in {path}/llm lack model.norm.weight and 0 more, so that they are "
            "no whole llm; name another model or correct kind"
        ),
    ),
    source(
        "pickled weights that run code",
        pickled,
        (
            "models.m: a .bin file of {path}/llm holds more than numbers, which would be run as code "
            "when opened; it is not opened: use a model with safetensors, or convert it where you "
            "trust it"
        ),
    ),
    source(
        "an index without its files",
        indexed(metadata={}, weight_map={"a": "model-9.safetensors"}),
        (
            "models.m: {path}/llm cannot be read as a llm (No such file or directory: "
            "{path}/llm/model-9.safetensors); get it again or name another model"
        ),
    ),
    source(
        "an index without a map",
        indexed(metadata={}),
        (
            "{path}/llm/model.safetensors.index.json: 'weight_map' does not name files of this "
            "folder; get the model again"
        ),
    ),
    source(
        "an index that leads out",
        indexed(weight_map={"a": "../model-1.safetensors"}),
        (
            "{path}/llm/model.safetensors.index.json: 'weight_map' does not name files of this "
            "folder; get the model again"
        ),
    ),
    source(
        "no tokenizer",
        lambda folder: removed(folder, "tokenizer*"),
        (
            "models.m: {path}/llm cannot be read as a llm (Couldn't instantiate the backend "
            "tokenizer from one of: (1) a `tokenizers` library serialization file, (2) a slow "
            "tokenizer instance to convert or (3) an equivalent slow tokenizer class to instantiate "
            "and convert); get it again or name another model"
        ),
    ),
    source(
        "no tokenizer of an encoder",
        lambda folder: removed(folder, "tokenizer*"),
        (
            "models.m: {path}/encoder holds no tokenizer (tokenizer.json, vocab.txt); get the model "
            "again or name another"
        ),
        kind="encoder",
        part="encoder",
    ),
    source(
        "a damaged tokenizer",
        lambda folder: halved(folder / "tokenizer.json"),
        (
            "models.m: {path}/llm cannot be read as a llm (Unterminated string starting at: line 508 "
            "column 7 (char 8588)); get it again or name another model"
        ),
    ),
    source(
        "an encoder as an LLM",
        lambda folder: None,
        (
            "models.m.kind is llm, but {path}/encoder holds a bert model, which is no decoder LLM; "
            "name another model or correct kind"
        ),
        part="encoder",
    ),
    source(
        "an LLM as an encoder",
        lambda folder: None,
        (
            "models.m.kind is encoder, but {path}/llm holds a llama model, which is a decoder LLM; "
            "name another model or correct kind"
        ),
        kind="encoder",
    ),
    source(
        "more layers than there are",
        lambda folder: None,
        "models.m.keep_layers is 9, but the model has only 2 layers; lower it",
        keep_layers=9,
    ),
    opened(
        "no modules.json",
        lambda path: removed(path, "modules.json"),
        ("{path}/model is no sentence-transformers model (it has no modules.json); name a model folder"),
    ),
    opened(
        "a modules.json that is no JSON",
        lambda path: write(path / "modules.json", "["),
        (
            "{path}/model/modules.json is not valid JSON (Expecting value: line 1 column 2 (char "
            "1)); delete it and run the same command again"
        ),
    ),
    opened(
        "a modules.json without a module",
        lambda path: write(path / "modules.json", "[]"),
        (
            "the model {path}/model cannot be opened (An empty modules list was passed to "
            "SentenceTransformer. Please provide at least one module, e.g. a Transformer module.); "
            "make it again or name another"
        ),
    ),
    opened(
        "a modules.json that is a number",
        lambda path: write(path / "modules.json", "3"),
        ("{path}/model/modules.json does not list modules with their types; save the model again"),
    ),
    opened(
        "a module of no type",
        lambda path: write(path / "modules.json", '[{"idx": 0}]'),
        "{path}/model/modules.json does not list modules with their types; save the model again",
    ),
    opened(
        "no settings",
        lambda path: removed(path, "embedder_config.json"),
        (
            "the model {path}/model cannot be opened ({path}/model lacks embedder_config.json, the "
            "settings of Causal2Vec); make it again or name another"
        ),
    ),
    opened(
        "an unknown setting",
        lambda path: changed(path / "embedder_config.json", colour="red"),
        (
            "the model {path}/model cannot be opened (Causal2Vec.__init__() got an unexpected "
            "keyword argument 'colour'); make it again or name another"
        ),
    ),
    opened(
        "no weights of its own",
        lambda path: removed(path, "own.safetensors"),
        (
            "the model {path}/model cannot be opened ({path}/model lacks own.safetensors, the "
            "weights of projection.0.weight, projection.0.bias, projection.2.weight, "
            "projection.2.bias); make it again or name another"
        ),
    ),
    opened(
        "its own weights cut off",
        lambda path: halved(path / "own.safetensors"),
        (
            "the model {path}/model cannot be opened (Error while deserializing header: incomplete "
            "metadata, file not fully covered); make it again or name another"
        ),
    ),
    opened(
        "the LLM cut off",
        lambda path: halved(path / "llm" / "model.safetensors"),
        (
            "the model {path}/model cannot be opened (Error while deserializing header: incomplete "
            "metadata, file not fully covered); make it again or name another"
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_model_folder_is_one_sentence(case: Case, tmp_path: Path, tiny: dict[str, Path]) -> None:
    lay_out(tmp_path, tiny)
    check(case, tmp_path)
