"""Every decoder family passes the whole method suite, and what cannot be a base is refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from conftest import TEXTS, build, make_tokenizer
from safetensors.torch import load_file

from causal2vec.config import Lora, Mntp
from causal2vec.embedder import Role
from causal2vec.errors import UserError
from causal2vec.models.check_llm import check_backbone, check_llm
from causal2vec.models.folder import save_model
from causal2vec.training.lora import attach_lora, merge_lora

PROMPT = "Instruct: find\nQuery: "
COMMON = {
    "vocab_size": 600, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    "initializer_range": 0.2,
}  # fmt: skip
FAMILIES = {
    "Llama": {},
    "Mistral": {"sliding_window": None},
    "Qwen2": {},
    "Qwen3": {"head_dim": 8},
    "Gemma": {"head_dim": 8},
    "Gemma2": {"head_dim": 8},
    "Gemma3Text": {"head_dim": 8},
}
WINDOWED = {
    "Mistral": {"sliding_window": 3},
    "Qwen2": {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 0},
    "Gemma2": {"head_dim": 8, "sliding_window": 3, "layer_types": ["sliding_attention"] * 2},
    "Gemma3Text": {"head_dim": 8, "sliding_window": 3, "layer_types": ["sliding_attention"] * 2},
}
SUITE = ["causal2vec", "last_token", "echo", "bidirectional"]
NO_SDPA = {"Gemma2"}  # transformers itself refuses: its soft-capped scores need eager attention


def llm_config(family: str, **settings) -> transformers.PreTrainedConfig:
    return getattr(transformers, f"{family}Config")(**{**COMMON, **settings})


def save_llm(config: transformers.PreTrainedConfig, folder: Path) -> Path:
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    make_tokenizer(folder, bos=True)
    return folder


@pytest.fixture(scope="module")
def families(tiny, tmp_path_factory) -> dict[str, dict[str, Path]]:
    root = tmp_path_factory.mktemp("families")
    return {
        name: {"llm": save_llm(llm_config(name, **settings), root / name), "encoder": tiny["encoder"]}
        for name, settings in FAMILIES.items()
    }


def vectors(module, texts, prompt=None) -> torch.Tensor:
    with torch.no_grad():
        return module(module.preprocess(texts, prompt))["sentence_embedding"]


def reach_of_last_token(module, texts) -> torch.Tensor:
    """How far every state, column by column, moves when the last token changes; NaN for padding and the last."""
    features = module.preprocess(texts)
    changed = {key: value.clone() for key, value in features.items()}
    changed["input_ids"][:, -1] = (features["input_ids"][:, -1] + 7) % 600
    with torch.no_grad():
        moved = (module.states(features) - module.states(changed)).abs().amax(dim=-1)
    real = features["attention_mask"].bool()
    real[:, -1] = False
    return moved.masked_fill(~real, float("nan"))


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("method", SUITE)
@pytest.mark.parametrize("family", FAMILIES)
def test_later_tokens_are_seen_only_where_they_should_be(family, method, backend, families):
    if backend == "sdpa" and family in NO_SDPA:
        pytest.skip("transformers has no sdpa for this architecture")
    module = build(method, families[family])
    module.llm.set_attn_implementation(backend)
    for texts in (TEXTS, TEXTS[:1]):  # with padding and without
        moved = reach_of_last_token(module, texts)
        moved = moved[~moved.isnan()]
        if method == "bidirectional":
            assert moved.min() > 1e-6
        else:
            assert moved.max() < 1e-6


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("family", WINDOWED)
def test_sliding_window_opens_in_both_directions(family, backend, tiny, tmp_path):
    """Layers with a window of 3 stay so when the mask goes: near tokens see the last one, far ones do not."""
    if backend == "sdpa" and family in NO_SDPA:
        pytest.skip("transformers has no sdpa for this architecture")
    folders = {"llm": save_llm(llm_config(family, **WINDOWED[family]), tmp_path), "encoder": tiny["encoder"]}
    module = build("bidirectional", folders)
    module.llm.set_attn_implementation(backend)
    moved = reach_of_last_token(module, TEXTS)
    near = moved[:, -3:-1]
    assert near[~near.isnan()].min() > 1e-6, "two tokens before the end are within reach"
    assert moved[2, 1] == 0, "two layers of a window of 3 do not reach over a long text"
    causal = build("last_token", folders)
    causal.llm.set_attn_implementation(backend)
    assert reach_of_last_token(causal, TEXTS).nan_to_num().max() < 1e-6


@pytest.mark.parametrize("method", SUITE)
@pytest.mark.parametrize("family", FAMILIES)
def test_vector_does_not_depend_on_neighbours(family, method, families):
    module = build(method, families[family])
    together = vectors(module, TEXTS, PROMPT)
    alone = torch.cat([vectors(module, [text], PROMPT) for text in TEXTS])
    assert torch.allclose(together, alone, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_contextual_token_starts_as_long_as_the_tokens_the_llm_computes_with(family, families):
    """Gemma's embedding lengthens what it stores; the Contextual token must keep up with what comes out of it."""
    module = build("causal2vec", families[family])
    features = module.preprocess(TEXTS)
    with torch.no_grad():
        lengths = module.embed(features).norm(dim=-1)
    contextual = lengths[features["roles"] == Role.CONTEXTUAL].mean()
    text = lengths[features["roles"] == Role.TEXT].mean()
    assert 0.5 < float(contextual / text) < 2


def test_saved_models_of_all_families_open_without_this_project(families, tmp_path):
    expected = {}
    for family, parts in families.items():
        module = build("causal2vec", parts)
        manifest = {"method": "causal2vec", "base": family, "seed": 0, "trained": False}
        save_model(module, tmp_path / family, manifest=manifest, records={})
        expected[str(tmp_path / family)] = vectors(module, TEXTS, PROMPT).numpy()
    code = f"""
import sys
class Absent:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("causal2vec", "baselines"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import numpy
from sentence_transformers import SentenceTransformer
for folder in {list(expected)!r}:
    model = SentenceTransformer(folder, trust_remote_code=True, device="cpu")
    numpy.save(folder + ".npy", model.encode({TEXTS!r}, prompt={PROMPT!r}, batch_size=4))
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True)
    for folder, vector in expected.items():
        assert np.allclose(np.load(f"{folder}.npy"), vector, atol=1e-5), folder


@pytest.mark.parametrize("method", SUITE)
@pytest.mark.parametrize("family", FAMILIES)
def test_one_training_step_moves_every_adapter_and_merges_exactly(family, method, families):
    module = build(method, families[family])
    torch.manual_seed(0)
    attach_lora(module, Lora(rank=2, alpha=4))
    module.eval()  # without dropout, so that before and after can be compared
    adapters = {name: p for name, p in module.named_parameters() if "lora_B" in name}
    assert len(adapters) == 7 * COMMON["num_hidden_layers"], "seven linear layers per block"
    before = vectors(module, TEXTS, PROMPT)
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=1e-2)
    module(module.preprocess(TEXTS, PROMPT))["sentence_embedding"].pow(3).mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() and p.grad.any() for p in adapters.values())
    optimizer.step()
    trained = vectors(module, TEXTS, PROMPT)
    assert (trained - before).abs().max() > 1e-6
    merge_lora(module)
    assert torch.allclose(vectors(module, TEXTS, PROMPT), trained, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_masked_next_token_step(family, families, tmp_path):
    import pandas as pd

    from causal2vec.training.stages import pretrain_mntp

    pairs = tmp_path / "train.parquet"
    pd.DataFrame({"positive": [f"{text} {i}" for i in range(4) for text in TEXTS]}).to_parquet(pairs)
    base, mntp = families[family]["llm"], Mntp(steps=2, batch_size=4, max_length=32, learning_rate=1e-2)
    pretrain_mntp(base, pairs, mntp, Lora(rank=2), 0, tmp_path / "base", tmp_path / "state")
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (base, tmp_path / "base"))
    assert after == before, "what the stage sets while it trains is no property of its result"
    moved = {
        name
        for name, weight in load_file(tmp_path / "base" / "model.safetensors").items()
        if not torch.equal(weight, load_file(base / "model.safetensors")[name])
    }
    assert any("q_proj" in name for name in moved) and not any("embed_tokens" in name for name in moved)
    check_backbone(build("bidirectional", {"llm": tmp_path / "base"}))
    check_backbone(build("last_token", {"llm": tmp_path / "base"}))


@pytest.mark.parametrize("family", ["Qwen2", "Gemma2", "Gemma3Text"])
def test_model_cut_to_its_first_blocks_is_still_a_base(family, families, tiny, tmp_path):
    from causal2vec.models.prepare import keep_layers

    model = transformers.AutoModelForCausalLM.from_pretrained(families[family]["llm"])
    keep_layers(model, 1)
    model.save_pretrained(tmp_path)
    make_tokenizer(tmp_path, bos=True)
    for method in SUITE:
        module = build(method, {"llm": tmp_path, "encoder": tiny["encoder"]})
        check_backbone(module)
        assert len(module.llm.layers) == 1 and torch.isfinite(vectors(module, TEXTS, PROMPT)).all()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_suitable_bases_pass_the_check(family, dtype, causal, families):
    from causal2vec.models.build import build_embedder

    path = "baselines.last_token.LastToken" if causal else "baselines.bidirectional.Bidirectional"
    module = build_embedder(path, families[family], {}, dtype)
    module.train()
    check_backbone(module)
    assert module.llm.training, "the check leaves the model as it found it"


UNSUITABLE = {
    "T5Model": (
        transformers.T5Config(vocab_size=600, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4),
        "is an encoder and a decoder",
    ),
    "MambaModel": (
        transformers.MambaConfig(vocab_size=600, hidden_size=32, num_hidden_layers=2, state_size=4),
        "takes no position_ids",
    ),
    "BloomModel": (
        transformers.BloomConfig(vocab_size=600, hidden_size=32, n_layer=2, n_head=4),
        "takes no position_ids",
    ),
    "RecurrentGemmaModel": (
        transformers.RecurrentGemmaConfig(
            vocab_size=600, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
            lru_width=32,
        ),
        "padding changes a text's states",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSUITABLE)
def test_architecture_that_cannot_be_a_base_is_refused_by_name(name):
    config, reason = UNSUITABLE[name]
    torch.manual_seed(0)
    with pytest.raises(UserError, match=f"{name} cannot be a base: .*{reason}"):
        check_llm(transformers.AutoModel.from_config(config))


@pytest.mark.parametrize("bidirectional", [True, False])
def test_hybrid_is_refused_only_where_it_must_be_bidirectional(bidirectional):
    """Jamba's state-space layers read from left to right, whatever its attention does."""
    config = transformers.JambaConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, use_mamba_kernels=False, num_experts=2,
    )  # fmt: skip
    torch.manual_seed(0)
    llm = transformers.AutoModel.from_config(config)
    if not bidirectional:
        check_llm(llm)
        return
    llm.config.is_causal = False
    with pytest.raises(
        UserError, match=r"JambaModel cannot be made bidirectional: .* does not reach every earlier one"
    ):
        check_llm(llm)


def test_base_that_is_not_causal_is_refused_to_a_causal_method(tmp_path):
    folder = save_llm(llm_config("Gemma3Text", head_dim=8, use_bidirectional_attention=True), tmp_path)
    with pytest.raises(UserError, match=r"Gemma3TextModel cannot be a causal base: .*use_bidirectional_attention"):
        check_backbone(build("last_token", {"llm": folder}))


def test_silently_causal_mask_is_noticed(families, monkeypatch):
    """The fault of llm2vec's issues 74 and 79: the switch is set, and the library's mask ignores it."""
    from transformers.models.llama import modeling_llama

    mask = modeling_llama.create_causal_mask

    def ignoring(config, **inputs):
        return mask(config=llm_config("Llama", attn_implementation="sdpa"), **inputs)

    module = build("bidirectional", families["Llama"])
    check_backbone(module)
    monkeypatch.setattr(modeling_llama, "create_causal_mask", ignoring)
    with pytest.raises(UserError, match="LlamaModel cannot be made bidirectional"):
        check_backbone(module)


def test_flash_attention_on_a_cpu_does_not_stop_the_check(families):
    module = build("bidirectional", families["Llama"])
    module.llm.config._attn_implementation = "flash_attention_2"
    check_backbone(module)
    assert module.llm.config._attn_implementation == "flash_attention_2"


def test_base_left_bidirectional_is_causal_again_in_a_causal_method(families, tmp_path):
    folder = save_llm(llm_config("Llama", is_causal=False), tmp_path)
    assert json.loads((folder / "config.json").read_text())["is_causal"] is False
    expected = vectors(build("last_token", families["Llama"]), TEXTS)
    assert torch.equal(vectors(build("last_token", {"llm": folder}), TEXTS), expected)
