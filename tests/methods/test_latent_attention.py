"""Latent attention: a dictionary of trainable latents between the LLM's states and their mean."""

from __future__ import annotations

import json
import math

import pytest
import torch
from conftest import TEXTS, build
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from test_training import BUDGET, RATES, make, pairs, run_of

from causal2vec.efficiency.counting import count, own_products
from causal2vec.efficiency.law import Lengths, append_cost, cost, law_of, shape_of
from causal2vec.embedder import Role
from causal2vec.errors import UserError
from causal2vec.models.folder import load_model
from causal2vec.training.trainer import _part

__all__ = ["pairs"]  # a fixture

PROMPT = "Instruct: find\nQuery: "
SMALL = {"latents": 5, "heads": 4, "width": 24}


def made(tiny, seed=0, **settings):
    torch.manual_seed(seed)
    return build("latent_attention", tiny, **{**SMALL, **settings})


@torch.no_grad()
def test_layer_is_the_formula_token_by_token_and_head_by_head(tiny):
    layer = made(tiny).latent_layer
    for weight in layer.parameters():  # norms as well
        weight.add_(0.1 * torch.randn_like(weight))
    states = torch.randn(7, 32)
    latents = layer.norm_latents(layer.latents)
    for state, found in zip(states, layer(states), strict=True):
        query, heads = layer.query(layer.norm_states(state)), []
        for at in range(0, 24, 6):
            keys, values = (part(latents)[:, at : at + 6] for part in (layer.key, layer.value))
            heads.append(torch.softmax(keys @ query[at : at + 6] / math.sqrt(6), dim=0) @ values)
        middle = state + layer.output(torch.cat(heads))
        normed = layer.norm_mlp(middle)
        expected = middle + layer.mlp[2](torch.nn.functional.gelu(layer.mlp[0](normed)))
        assert torch.allclose(found, expected, atol=1e-5)


@torch.no_grad()
def test_vector_is_the_mean_over_the_text_alone(tiny):
    """Instruction, BOS and padding do not count; each token goes through the layer alone."""
    module = made(tiny)
    features = module.preprocess(TEXTS, PROMPT)
    states, roles = module.states(features), features["roles"]
    found = module.pool(states, roles)
    alone = [module.latent_layer(row[role == Role.TEXT]).mean(dim=0) for row, role in zip(states, roles, strict=True)]
    assert torch.allclose(found, torch.stack(alone), atol=1e-5)
    changed = states.clone()
    changed[roles != Role.TEXT] = float("nan")
    assert torch.equal(module.pool(changed, roles), found)
    assert torch.allclose(module(features)["sentence_embedding"], found, atol=1e-5)


@torch.no_grad()
def test_vectors_hang_on_the_latents(tiny):
    module, plain = made(tiny), build("bidirectional", tiny)
    first, other = (m(m.preprocess(TEXTS))["sentence_embedding"] for m in (module, plain))
    assert (first - other).abs().max() > 1e-2, "the layer does something"
    module.latent_layer.latents.copy_(torch.randn(5, 32))
    assert (module(module.preprocess(TEXTS))["sentence_embedding"] - first).abs().max() > 1e-3
    module.latent_layer.output.weight.zero_()
    module.latent_layer.mlp[2].weight.zero_()
    module.latent_layer.mlp[2].bias.zero_()
    assert torch.allclose(module(module.preprocess(TEXTS))["sentence_embedding"], other, atol=1e-5), "residuals"


def test_first_values_follow_from_the_seed(tiny):
    one, same, another = (made(tiny, seed)._own_weights() for seed in (0, 0, 1))
    assert all(name.startswith("latent_layer.") for name in one)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["latent_layer.latents"], another["latent_layer.latents"])


def test_published_sizes_are_the_defaults(tiny):
    layer = build("latent_attention", tiny, latents=512).latent_layer
    assert layer.latents.shape == (512, 32) and layer.heads == 8 and layer.query.out_features == 32


def test_products_by_hand(tiny):
    each = 2 * 32 * 24 + 2 * 32 * 128  # query and output, the MLP
    assert own_products(made(tiny)) == (0, each + 2 * 5 * 24, 2 * 5 * 32 * 24)


@pytest.mark.parametrize("many", [1, 6])
def test_cost_of_the_latents_keys_and_values_is_shared_by_a_batch(many, tiny):
    """So many latents that they are most of the work: in closed form, predicted and counted."""
    model = SentenceTransformer(modules=[made(tiny, latents=512)], device="cpu").eval()
    text = " ".join(TEXTS)[:200]
    words = len(model[0].tokenizer(text, add_special_tokens=False)["input_ids"])
    counted = count(model, [text] * many, "", None)
    found = cost(law_of(model[0]), shape_of(model[0]), Lengths(words), texts=many, per_batch=counted.batch_size)
    assert counted.batch_size == many
    assert found.flops == pytest.approx(counted.predicted_flops, rel=0.01)
    assert found.flops == pytest.approx(counted.counted_flops, rel=0.01)
    layer = own_products(model[0])
    assert 2 * layer.batch / many > 0.05 * found.flops, "without it the test would fail"
    anew = append_cost(law_of(model[0]), shape_of(model[0]), Lengths(words), 10).flops
    bare = append_cost(law_of(model[0]), shape_of(model[0])._replace(own_token=0.0), Lengths(words), 10).flops
    assert anew - bare == pytest.approx(2 * layer.token * (words + 10))


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"heads": 5}, "does not divide width, 24"), ({"latents": 0}, "must be at least 1"), ({"heads": 0}, "at least 1")],
)
def test_settings_that_do_not_fit_are_named(settings, words, tiny):
    with pytest.raises(UserError, match=words):
        made(tiny, **settings)


def test_latents_learn_by_the_rate_of_the_projection(tiny, pairs, tmp_path):
    def trained(name: str, projection: float):
        rates = RATES.model_copy(update={"projection": projection})
        folder = make(run, tiny, pairs, tmp_path / name, BUDGET.model_copy(update={"learning_rates": rates}))
        return load_file(folder / "own.safetensors"), json.loads((folder / "training.json").read_text())

    run = run_of("latent_attention")
    (moved, record), (still, _) = trained("moved", 5e-3), trained("still", 1e-12)
    first = load_file(
        make(run.model_copy(update={"trained": False}), tiny, pairs, tmp_path / "first") / "own.safetensors"
    )
    assert len(record["loss"]) == BUDGET.steps
    assert first.keys() == moved.keys()
    for name, weight in first.items():
        assert (moved[name] - weight).abs().max() > 1e-3, name
        assert (still[name] - weight).abs().max() < 1e-6, name


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("0.llm.base_model.model.layers.0.mlp.lora_A.weight", "lora"),
        ("0.encoder.layer.0.weight", "encoder"),
        ("0.projection.0.weight", "projection"),
        ("0.latent_layer.latents", "projection"),
    ],
)
def test_a_training_that_diverges_names_the_rate_of_every_weight(name, key):
    assert _part(name) == key


def test_learns_in_float32_beside_a_frozen_llm_in_bfloat16(tiny, pairs, tmp_path):
    budget = BUDGET.model_copy(update={"steps": 30, "save_steps": 100, "learning_rates": RATES})
    folder = make(run_of("latent_attention"), tiny, pairs, tmp_path, budget, dtype="bfloat16")
    losses = [entry["loss"] for entry in json.loads((folder / "training.json").read_text())["loss"]]
    assert sum(losses[-5:]) < sum(losses[:5])
    assert {weight.dtype for weight in load_file(folder / "own.safetensors").values()} == {torch.float32}
    opened = load_model(str(folder), "cpu", "bfloat16")
    exact = load_model(str(folder), "cpu", "float32").encode(TEXTS, prompt=PROMPT, normalize_embeddings=True)
    rounded = opened.encode(TEXTS, prompt=PROMPT, normalize_embeddings=True)
    assert ((exact * rounded).sum(axis=1) > 0.99).all()
