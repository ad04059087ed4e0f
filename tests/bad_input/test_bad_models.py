"""Wrong model folders, settings that no model can have, and texts that cannot be embedded."""

import json
import shutil
from pathlib import Path

import pytest
from bad_cases import Case, check, write

from causal2vec.backbone import prepare_model
from causal2vec.config import ModelSource
from causal2vec.efficiency.__main__ import describe
from causal2vec.errors import UserError
from causal2vec.export import build_embedder, load_model, method_class, save_model


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


def built(name, path, says, damage=None, parts=("llm", "encoder"), **settings):
    """A method that cannot be built on these parts with these settings."""

    def run(folder: Path):
        if damage:
            damage(folder)
        build_embedder(path, {part: folder / part for part in parts}, settings)

    return Case(f"method: {name}", run, says)


def saved(folder: Path) -> Path:
    module = build_embedder(
        "causal2vec.modeling_causal2vec.Causal2Vec", {part: folder / part for part in ("llm", "encoder")}, {}
    )
    save_model(module, folder / "model", manifest={"method": "m", "base": "b", "seed": 0, "trained": False}, records={})
    return folder / "model"


def opened(name, damage, says):
    """A saved model that is damaged before it is opened."""

    def run(folder: Path):
        path = saved(folder)
        damage(path)
        load_model(str(path), "cpu", "float32")

    return Case(f"saved: {name}", run, says)


def described(name, content, says, file="manifest.json"):
    def run(folder: Path):
        write(folder / "manifest.json", json.dumps({"method": "m", "base": "b"}))
        write(folder / file, json.dumps(content))
        describe(folder)

    return Case(f"record: {name}", run, says)


def text(name, value, says, prompt=None, method="baselines.last_token.LastToken", **settings):
    """A text that cannot be embedded; models do not need this project, so that they raise a ValueError."""

    def run(folder: Path):
        module = build_embedder(method, {part: folder / part for part in ("llm", "encoder")}, settings)
        with pytest.raises(ValueError) as caught:
            module.preprocess([value], prompt=prompt)
        raise UserError(str(caught.value))

    return Case(f"text: {name}", run, says)


def no_eos(folder: Path) -> None:
    changed(folder / "llm" / "tokenizer_config.json", eos_token=None)
    removed(folder / "llm", "special_tokens_map.json")


def no_bos(folder: Path) -> None:
    changed(folder / "llm" / "tokenizer_config.json", bos_token=None)
    removed(folder / "llm", "special_tokens_map.json")


CAUSAL2VEC, ECHO = "causal2vec.modeling_causal2vec.Causal2Vec", "baselines.echo.Echo"
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
            "models.m: {path}/llm holds pickled weights that are no plain tensors and could run "
            "code; get the model as safetensors"
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
    built(
        "no end of text",
        CAUSAL2VEC,
        (
            "causal2vec.modeling_causal2vec.Causal2Vec cannot be built on llm={path}/llm, "
            "encoder={path}/encoder: the LLM's tokenizer has no EOS token; set eos_token in its "
            "tokenizer_config.json"
        ),
        damage=no_eos,
    ),
    built(
        "no beginning of text",
        CAUSAL2VEC,
        (
            "causal2vec.modeling_causal2vec.Causal2Vec cannot be built on llm={path}/llm, "
            "encoder={path}/encoder: add_bos is true, but the LLM's tokenizer has no BOS token; set "
            "add_bos to false"
        ),
        damage=no_bos,
        add_bos=True,
    ),
    built(
        "a place without a beginning",
        CAUSAL2VEC,
        (
            "causal2vec.modeling_causal2vec.Causal2Vec cannot be built on llm={path}/llm, "
            "encoder={path}/encoder: place is after_bos, but this LLM's input has no BOS; set "
            "add_bos: true or place: before_bos"
        ),
        add_bos=False,
    ),
    built(
        "another place",
        CAUSAL2VEC,
        (
            "causal2vec.modeling_causal2vec.Causal2Vec cannot be built on llm={path}/llm, "
            "encoder={path}/encoder: place is 'nowhere', but must be one of before_bos, after_bos, "
            "after_instruction"
        ),
        place="nowhere",
    ),
    built(
        "another pooling",
        CAUSAL2VEC,
        (
            "causal2vec.modeling_causal2vec.Causal2Vec cannot be built on llm={path}/llm, "
            "encoder={path}/encoder: pooling is 'max', but must be one of concat, contextual, eos, "
            "mean"
        ),
        pooling="max",
    ),
    built(
        "another pooling of echo",
        ECHO,
        ("baselines.echo.Echo cannot be built on llm={path}/llm: pooling is 'max', but must be mean or last"),
        pooling="max",
    ),
    built(
        "another template",
        ECHO,
        (
            "baselines.echo.Echo cannot be built on llm={path}/llm: template is 'again', but must be "
            "fine_tuned or rewrite"
        ),
        template="again",
    ),
    built(
        "an unknown setting",
        ECHO,
        (
            "baselines.echo.Echo has no setting 'polling' (it knows max_seq_length, add_bos, chat, "
            "pooling, template); correct methods.*.settings"
        ),
        polling="mean",
    ),
    built(
        "a part is missing",
        CAUSAL2VEC,
        (
            "causal2vec.modeling_causal2vec.Causal2Vec needs the part 'llm', but there is only "
            "encoder; run it on a base of kind llm"
        ),
        parts=("encoder",),
    ),
    built(
        "an LLM as its encoder",
        "baselines.encoder_only.EncoderOnly",
        (
            "baselines.encoder_only.EncoderOnly cannot be built on encoder={path}/encoder: there is "
            "no config.json of the part 'encoder'; prepare the model first"
        ),
        damage=lambda f: shutil.rmtree(f / "encoder"),
    ),
    built(
        "weights cut off",
        ECHO,
        (
            "baselines.echo.Echo cannot be built on llm={path}/llm: Error while deserializing "
            "header: incomplete metadata, file not fully covered"
        ),
        damage=lambda folder: halved(folder / "llm" / "model.safetensors"),
    ),
    Case(
        "method: no class",
        lambda _: method_class("baselines.echo.Ecko"),
        (
            "method class 'baselines.echo.Ecko' cannot be imported (module 'baselines.echo' has no "
            "attribute 'Ecko'); check methods.*.module"
        ),
    ),
    Case(
        "method: no module",
        lambda _: method_class("baselines.ecko.Echo"),
        (
            "method class 'baselines.ecko.Echo' cannot be imported (No module named "
            "'baselines.ecko'); check methods.*.module"
        ),
    ),
    Case(
        "method: no dot",
        lambda _: method_class("Echo"),
        "method class 'Echo' cannot be imported (Empty module name); check methods.*.module",
    ),
    Case(
        "method: another class",
        lambda _: method_class("pathlib.Path"),
        ("method class 'pathlib.Path' is not a subclass of causal2vec.embedder.Embedder; derive it from that"),
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
            "the model {path}/model cannot be opened (Expecting value: line 1 column 2 (char 1)); "
            "make it again or name another"
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
        ("the model {path}/model cannot be opened ('int' object is not iterable); make it again or name another"),
    ),
    opened(
        "a module of no type",
        lambda path: write(path / "modules.json", '[{"idx": 0}]'),
        "the model {path}/model cannot be opened ('path'); make it again or name another",
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
    described(
        "no method",
        {"base": "b"},
        ("{path}/manifest.json has no 'method'; name a model folder of this suite, or make the model again"),
    ),
    described(
        "a list",
        [],
        ("{path}/manifest.json has no 'method'; name a model folder of this suite, or make the model again"),
    ),
    described(
        "no parameters",
        {},
        "{path}/training.json has no 'trainable_parameters'; train this model again",
        file="training.json",
    ),
    text("None", None, "only strings can be embedded, but the input holds NoneType: None"),
    text("bytes", b"abc", "only strings can be embedded, but the input holds bytes: b'abc'"),
    text("a number", 3, "only strings can be embedded, but the input holds int: 3"),
    text("a pair", ["a", "b"], "only strings can be embedded, but the input holds list: ['a', 'b']"),
    text(
        "a long instruction",
        "a",
        (
            "the instruction and special tokens take 183 of max_seq_length=32 tokens and leave none "
            "for the text; raise max_seq_length or shorten the instruction"
        ),
        prompt="find it " * 60,
        max_seq_length=32,
    ),
    text(
        "long examples",
        "a",
        (
            "the in-context examples take 201 tokens, more than examples_max_length=8; shorten them "
            "or show fewer, or raise examples_max_length"
        ),
        prompt="a b c " * 50 + "<instruct>x",
        method="baselines.in_context.InContext",
        examples_max_length=8,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_model_or_text_is_one_sentence(case: Case, tmp_path: Path, tiny: dict[str, Path]) -> None:
    lay_out(tmp_path, tiny)
    check(case, tmp_path)
