"""What each method promises about how a text becomes a vector."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import METHODS, ROOT, TEXTS, build

from causal2vec.embedder import Role
from causal2vec.errors import UserError
from causal2vec.models.build import build_embedder
from causal2vec.models.folder import load_model, save_model

PROMPT = "Instruct: find\nQuery: "
GOLDEN = Path(__file__).with_name("llm2vec_golden_8_layers.json")
CAUSAL = [
    "causal2vec", "last_token", "echo", "mean_causal", "weighted_mean", "value_aggregation", "generated_tokens",
]  # fmt: skip
BIDIRECTIONAL = ["bidirectional", "latent_attention", "soft_mask"]
ENDLESS = [*BIDIRECTIONAL, "mean_causal", "weighted_mean", "value_aggregation", "generated_tokens"]
"""Methods that append no EOS."""

DECODERS = [*CAUSAL, *BIDIRECTIONAL]


def vectors(module, texts, prompt=None) -> torch.Tensor:
    with torch.no_grad():
        return module(module.preprocess(texts, prompt))["sentence_embedding"]


def save(module, folder: Path, method: str) -> Path:
    manifest = {"method": method, "base": "tiny", "seed": 0, "trained": False}
    save_model(module, folder, manifest=manifest, records={})
    return folder


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("method", DECODERS)
def test_attention_leaks_from_later_tokens_only_where_it_should(method, backend, tiny):
    module = build(method, tiny)
    module.llm.set_attn_implementation(backend)
    features = module.preprocess(TEXTS)  # texts of different lengths: a padded batch
    assert not features["attention_mask"].all()
    changed = {key: value.clone() for key, value in features.items()}
    changed["input_ids"][:, -1] = (features["input_ids"][:, -1] + 7) % 600
    with torch.no_grad():
        before, after = module.states(features), module.states(changed)
    real = features["attention_mask"].bool()
    real[:, -1] = False
    moved = (before - after).abs().amax(dim=-1)[real]
    if method in CAUSAL:
        assert moved.max() < 1e-6
    else:
        assert moved.min() > 1e-6


@pytest.mark.parametrize("place", ["before_bos", "after_bos", "after_instruction"])
def test_contextual_token_tells_earlier_tokens_of_later_text(place, tiny):
    """The point of the method: two texts that differ only at their end differ from the Contextual token on."""
    module = build("causal2vec", tiny, place=place)
    pair = ["Short text x", "Short text y"]
    features = module.preprocess(pair, PROMPT)
    with torch.no_grad():
        states = module.states(features)
    contextual = (features["roles"][0] == Role.CONTEXTUAL).nonzero().item()
    gap = (states[0] - states[1]).abs().amax(dim=-1)
    assert (gap[:contextual] < 1e-6).all() and (gap[contextual:] > 1e-6).all()


@pytest.mark.parametrize("method", METHODS)
def test_vector_does_not_depend_on_neighbours(method, tiny):
    module = build(method, tiny)
    together = vectors(module, TEXTS, PROMPT)
    alone = torch.cat([vectors(module, [text], PROMPT) for text in TEXTS])
    assert torch.allclose(together, alone, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3  # and it does depend on the text


@pytest.mark.parametrize("method", METHODS)
def test_saved_model_opens_without_this_project(method, tiny, tmp_path):
    module = build(method, tiny)
    folder = save(module, tmp_path / "models" / method / "seed0", method)
    code = f"""
import sys
class Absent:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("causal2vec", "baselines"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import numpy, torch
from sentence_transformers import SentenceTransformer
model = SentenceTransformer({str(folder)!r}, trust_remote_code=True, device="cpu")
numpy.save({str(tmp_path / "vectors.npy")!r}, model.encode({TEXTS!r}, prompt={PROMPT!r}, batch_size=4))
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True)
    opened = np.load(tmp_path / "vectors.npy")
    here = load_model(str(folder), "cpu", "float32").encode(TEXTS, prompt=PROMPT, batch_size=4)
    assert np.array_equal(opened, here)
    assert np.allclose(vectors(module, TEXTS, PROMPT).numpy(), here, atol=1e-6)


def test_models_of_different_methods_open_side_by_side(tiny, tmp_path):
    """Folders of the same base name must not take each other's code."""
    for method in METHODS:
        folder = save(build(method, tiny), tmp_path / method / "seed0", method)
        model = load_model(str(folder), "cpu", "float32")
        assert type(model[0]).__name__ == METHODS[method][0].rpartition(".")[2]


@pytest.mark.parametrize("method", METHODS)
def test_same_model_has_the_same_revision(method, tiny, tmp_path):
    folders = []
    for name in ("a", "b"):
        torch.manual_seed(0)  # as make_model does; the projection starts at random
        folders.append(save(build(method, tiny), tmp_path / name, method))
    first, second = folders
    assert json.loads((first / "manifest.json").read_text()) == json.loads((second / "manifest.json").read_text())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("text", ["", " ", "word " * 5000, "\ud800 lone", "🦊" * 40, "\0"])
def test_odd_texts_give_finite_vectors(method, text, tiny):
    module = build(method, tiny)
    assert torch.isfinite(vectors(module, [text, "normal"], PROMPT)).all()
    assert torch.isfinite(vectors(module, [text])).all()


@pytest.mark.parametrize("method", DECODERS)
def test_long_text_is_cut_and_keeps_its_end_token(method, tiny):
    module = build(method, tiny, max_seq_length=40)
    features = module.preprocess(["word " * 500, "word"], PROMPT)
    assert features["input_ids"].shape[1] == 40 or method == "echo"
    assert features["input_ids"].shape[1] <= 40
    if method not in ENDLESS:
        assert (features["input_ids"][:, -1] == module.tokenizer.eos_token_id).all()
        assert (features["roles"][:, -1] == Role.EOS).all()


@pytest.mark.parametrize(("method", "weight"), [("mean_causal", lambda i: 1), ("weighted_mean", lambda i: i)])
def test_means_are_those_by_hand_whatever_the_padding(method, weight, tiny):
    """Over the text alone: neither BOS, nor the instruction, nor where the text begins in its row."""
    module = build(method, tiny)
    found = vectors(module, TEXTS, PROMPT)
    bos = module.tokenizer.bos_token_id
    for text, vector in zip(TEXTS, found, strict=True):
        read = module.tokenizer(PROMPT + text, add_special_tokens=False, return_offsets_mapping=True)
        before = 1 + sum(end <= len(PROMPT) for _, end in read["offset_mapping"])
        with torch.no_grad():
            own = module.llm(input_ids=torch.tensor([[bos, *read["input_ids"]]])).last_hidden_state[0, before:]
        weights = [weight(i) for i in range(1, len(own) + 1)]
        by_hand = sum(w * state for w, state in zip(weights, own, strict=True)) / sum(weights)
        torch.testing.assert_close(vector, by_hand, rtol=1e-4, atol=1e-5)


def test_echo_keeps_both_copies_alike_and_pools_the_second(tiny):
    module = build("echo", tiny, max_seq_length=60)
    ids = module.tokenizer(("word " * 500), add_special_tokens=False)["input_ids"]
    features = module.preprocess(["word " * 500], PROMPT)
    pooled = features["input_ids"][0][features["roles"][0] == Role.TEXT].tolist()
    assert len(pooled) > 8
    sequence = features["input_ids"][0].tolist()
    starts = [i for i in range(len(sequence)) if sequence[i : i + len(pooled)][1:] == pooled[1:]]
    assert len(starts) == 2, "the cut text must be there twice"
    assert features["roles"][0].nonzero()[0].item() == starts[1]
    assert ids[1 : len(pooled)] == pooled[1:]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("before_bos", "C<bos>Instruct: find\nQuery: Short<eos>"),
        ("after_bos", "<bos>CInstruct: find\nQuery: Short<eos>"),
        ("after_instruction", "<bos>Instruct: find\nQuery:C Short<eos>"),
    ],
)
def test_contextual_token_stands_where_the_setting_says(place, expected, tiny):
    module = build("causal2vec", tiny, place=place)
    features = module.preprocess(["Short"], PROMPT)
    words = [
        "C" if role == Role.CONTEXTUAL else module.tokenizer.decode([token])
        for token, role in zip(features["input_ids"][0].tolist(), features["roles"][0].tolist(), strict=True)
    ]
    assert "".join(words).replace(" ", "") == expected.replace(" ", "")


@pytest.mark.parametrize("pooling", ["concat", "contextual", "eos", "mean"])
def test_causal2vec_pooling_takes_the_states_it_names(pooling, tiny):
    module = build("causal2vec", tiny, pooling=pooling)
    features = module.preprocess(TEXTS, PROMPT)
    with torch.no_grad():
        states, result = module.states(features), module(features)["sentence_embedding"]
    contextual = states[features["roles"] == Role.CONTEXTUAL]
    end = states[:, -1]
    text = torch.stack([s[r == Role.TEXT].mean(dim=0) for s, r in zip(states, features["roles"], strict=True)])
    wanted = {
        "concat": torch.cat([contextual, end], dim=-1),
        "contextual": contextual,
        "eos": end,
        "mean": text,
    }
    assert torch.allclose(result, wanted[pooling], atol=1e-6)
    assert result.shape[1] == module.get_embedding_dimension()


def test_contextual_token_starts_as_long_as_the_llms_own_tokens(tiny):
    module = build("causal2vec", tiny)
    length = module.contextual_token(module.preprocess(TEXTS)).detach().norm(dim=-1).mean()
    own = module.llm.get_input_embeddings().weight.detach().norm(dim=-1).mean()
    assert 0.5 < float(length / own) < 2


@pytest.mark.parametrize("sees", [True, False])
def test_encoder_sees_the_instruction_only_when_told_to(sees, tiny):
    module = build("causal2vec", tiny, encoder_sees_instruction=sees)
    with_prompt, without = (module.preprocess(["text"], prompt)["pre_ids"].shape[1] for prompt in (PROMPT, None))
    assert (with_prompt > without) is sees


CHAT = ["[INST] ", " [/INST]"]
CHATS = {
    ("causal2vec", "before_bos"): "C<bos>[INST] Instruct: find\nQuery: Short [/INST]<eos>",
    ("causal2vec", "after_bos"): "<bos>C[INST] Instruct: find\nQuery: Short [/INST]<eos>",
    ("causal2vec", "after_instruction"): "<bos>[INST] Instruct: find\nQuery:C Short [/INST]<eos>",
    ("last_token", None): "<bos>[INST] Instruct: find\nQuery: Short [/INST]<eos>",
    ("echo", None): "<bos>[INST] Instruct: find\nQuery: Short\nQuery again: Short [/INST]<eos>",
    ("bidirectional", None): "<bos>[INST] Instruct: find\nQuery: Short [/INST]",
}


@pytest.mark.parametrize(("method", "place"), CHATS)
def test_chat_wrapper_goes_around_instruction_and_text(method, place, tiny):
    module = build(method, tiny, chat=CHAT, **({"place": place} if place else {}))
    features = module.preprocess(["Short"], PROMPT)
    ids, roles = features["input_ids"][0].tolist(), features["roles"][0].tolist()
    words = [
        "C" if role == Role.CONTEXTUAL else module.tokenizer.decode([i]) for i, role in zip(ids, roles, strict=True)
    ]
    assert "".join(words).replace(" ", "") == CHATS[method, place].replace(" ", "")
    pooled = "".join(word for word, role in zip(words, roles, strict=True) if role == Role.TEXT)
    assert pooled.strip() == ("Short [/INST]" if method == "bidirectional" else "Short")


@pytest.mark.parametrize("method", DECODERS)
def test_chat_wrapper_survives_saving_cutting_and_neighbours(method, tiny, tmp_path):
    module = build(method, tiny, chat=CHAT, max_seq_length=60)
    texts = [*TEXTS, "word " * 500]
    expected = vectors(module, texts, PROMPT)
    assert (expected - vectors(build(method, tiny, max_seq_length=60), texts, PROMPT)).abs().max() > 1e-3
    alone = torch.cat([vectors(module, [text], PROMPT) for text in texts])
    assert torch.allclose(expected, alone, atol=1e-5)
    ids = module.preprocess(["word " * 500], PROMPT)["input_ids"][0].tolist()
    assert len(ids) <= 60 and "[/INST]" in module.tokenizer.decode(ids)
    if method != "causal2vec":  # its projection starts at random
        opened = load_model(str(save(module, tmp_path / "model", method)), "cpu", "float32")
        assert opened[0].chat == CHAT
        assert np.allclose(opened.encode(texts, prompt=PROMPT, batch_size=8), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("sees", [True, False])
@pytest.mark.parametrize(("method", "key"), [("causal2vec", "pre_ids"), ("encoder_only", "input_ids")])
def test_encoder_prefix_depends_on_whether_there_is_a_prompt(method, key, sees, tiny, tmp_path):
    name = "encoder_sees_instruction" if method == "causal2vec" else "sees_instruction"
    module = build(method, tiny, prefixes=["query: ", "passage: "], **{name: sees})

    def read(prompt: str | None) -> str:
        return module.tokenizers["encoder"].decode(module.preprocess(["Short"], prompt)[key][0])

    assert read(PROMPT) == f"<bos>query: {PROMPT if sees else ''}Short<eos>"
    assert read(None) == read("") == "<bos>passage: Short<eos>"
    opened = load_model(str(save(module, tmp_path / "model", method)), "cpu", "float32")
    assert opened[0].prefixes == ["query: ", "passage: "]
    assert np.array_equal(opened.encode(["Short"], prompt=PROMPT)[0], vectors(opened[0], ["Short"], PROMPT)[0].numpy())


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_what_bases_and_encoders_ask_of_all(method, tiny):
    """`prefixes` mean nothing to a method without an encoder, `chat` nothing to one without an LLM."""
    plain = build(method, tiny)
    torch.manual_seed(0)
    first = vectors(build(method, tiny), TEXTS)
    torch.manual_seed(0)
    second = vectors(build(method, tiny, add_bos=None, chat=None, prefixes=None), TEXTS)
    assert torch.equal(first, second)
    assert getattr(plain, "chat", None) is None and plain.prefixes is None


def test_bidirectional_equals_the_llm2vec_package(demo_models):
    """Vectors of the llm2vec package itself on the demo's base; see the file for how they were made."""
    golden = json.loads(GOLDEN.read_text())
    module = build("bidirectional", {"llm": demo_models["SmolLM2-135M-Instruct"]}, max_seq_length=128)
    assert np.abs(vectors(module, golden["texts"]).numpy() - np.array(golden["vectors"])).max() < 1e-4


def test_real_base_knows_what_it_was_taught(demo_models, tmp_path):
    """The GGUF reader gives back the language model: with all its layers it knows a capital."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from causal2vec.config import load_config
    from causal2vec.models.prepare import prepare_model

    source = json.loads((demo_models["SmolLM2-135M-Instruct"] / "source.json").read_text())
    assert (source["layers_kept"], source["layers_available"]) == (8, 30)
    demo = load_config(ROOT / "config" / "demo.yaml").models["SmolLM2-135M-Instruct"]
    prepare_model("whole", demo.model_copy(update={"keep_layers": None}), tmp_path / "whole")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "whole")
    llm = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    with torch.no_grad():
        logits = llm(**tokenizer("The capital of France is", return_tensors="pt")).logits
    assert tokenizer.decode(logits[0, -1].argmax()) == " Paris"


def test_method_of_the_recipe_works_from_outside_this_project(tiny, tmp_path, monkeypatch):
    """A stranger's file on the path: built, saved with its code, opened again."""
    recipe = (ROOT / "CONTRIBUTING.md").read_text()
    code = re.search(r"```python\n(from causal2vec.embedder.*?)```", recipe, re.DOTALL)[1]
    (tmp_path / "my_methods.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    module = build_embedder("my_methods.MeanCausal", tiny, {"max_seq_length": 64}).eval()
    folder = save(module, tmp_path / "model", "mean_causal")
    opened = load_model(str(folder), "cpu", "float32", trusted=True).encode(TEXTS, prompt=PROMPT, batch_size=4)
    assert np.allclose(vectors(module, TEXTS, PROMPT).numpy(), opened, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_runs_on_every_kind_of_mteb_task(method, tiny):
    """mteb's own mock tasks, in memory."""
    import mteb
    from sentence_transformers import SentenceTransformer

    from causal2vec.config.prompts import Prompts
    from causal2vec.evaluation.encoder import PromptedEncoder, model_meta

    model = SentenceTransformer(modules=[build(method, tiny)], device="cpu")
    prompts = Prompts(types={"Retrieval": "find", "STS": "compare"})
    encoder = PromptedEncoder(model, model_meta(f"test/{method}", "0" * 40, None, None), prompts, 8)
    mteb.mock_run(encoder)


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("causal2vec", {"place": "nowhere"}, "must be one of before_bos, after_bos, after_instruction"),
        ("causal2vec", {"pooling": "max"}, "must be one of concat, contextual, eos, mean"),
        ("causal2vec", {"add_bos": False}, "has no BOS"),
        ("echo", {"template": "poem"}, "must be fine_tuned or rewrite"),
        ("last_token", {"pooling": "mean"}, "has no setting 'pooling'"),
    ],
)
def test_settings_that_do_not_fit_are_named(method, settings, words, tiny):
    path, defaults = METHODS[method]
    with pytest.raises(UserError, match=words):
        build_embedder(path, tiny, {**defaults, **settings})


def test_instruction_longer_than_the_limit_is_refused(tiny):
    module = build("last_token", tiny, max_seq_length=10)
    with pytest.raises(ValueError, match="leave none for the text"):
        module.preprocess(["text"], "a very long instruction " * 10)


def test_parts_that_do_not_fit_are_named(tiny, tmp_path):
    with pytest.raises(UserError, match="cannot be built on llm="):
        build_embedder(METHODS["last_token"][0], {"llm": tmp_path}, {})
