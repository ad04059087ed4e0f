"""Settings that no model can have, records of models, and texts that cannot be embedded."""

import json
import shutil
from pathlib import Path

import pytest
from bad_cases import Case, check, write

from causal2vec.efficiency.__main__ import describe
from causal2vec.errors import UserError
from causal2vec.models.build import build_embedder, method_class


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


def built(name, path, says, damage=None, parts=("llm", "encoder"), **settings):
    """A method that cannot be built on these parts with these settings."""

    def run(folder: Path):
        if damage:
            damage(folder)
        build_embedder(path, {part: folder / part for part in parts}, settings)

    return Case(f"method: {name}", run, says)


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
def test_a_wrong_method_or_text_is_one_sentence(case: Case, tmp_path: Path, tiny: dict[str, Path]) -> None:
    lay_out(tmp_path, tiny)
    check(case, tmp_path)
