"""Soft tokens behind a text, and the loss over the vectors after each of them."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from conftest import TEXTS, build
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from test_families import FAMILIES, NO_SDPA, families, llm_config, save_llm
from test_training import BUDGET, make, pairs, run_of, weights
from transformers import AutoModelForCausalLM

from baselines.generated_tokens import GeneratedTokens
from causal2vec.config.settings import Lora
from causal2vec.embedder import Role
from causal2vec.errors import UserError
from causal2vec.models.build import build_embedder
from causal2vec.models.folder import load_model, save_model
from causal2vec.speed.packing import PACKED
from causal2vec.training.lora import attach_lora
from causal2vec.training.trainer import make_loss

__all__ = ["families", "pairs"]  # fixtures

PROMPT = "Instruct: find\nQuery: "
LONG = "Instruct: find the text that says the same as this one does, in other words\nQuery: "


def vectors(module, texts=TEXTS, prompt=PROMPT) -> torch.Tensor:
    with torch.no_grad():
        return module(module.preprocess(texts, prompt))["sentence_embedding"]


@torch.no_grad()
def by_hand(module, folder, texts=TEXTS, prompt=PROMPT) -> torch.Tensor:
    """Each text alone through the whole language model, read again for every token: states ``(texts, K, width)``."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    features, found = module.preprocess(texts, prompt), []
    table = model.get_input_embeddings()(torch.arange(600))
    for ids, roles in zip(features["input_ids"], features["roles"], strict=True):
        real = (features["attention_mask"][len(found)] == 1) & (roles != Role.PLACEHOLDER)
        given = model.get_input_embeddings()(ids[real])[None]
        states = []
        for _ in range(module.tokens + 1):
            made = model(inputs_embeds=given, output_hidden_states=True, use_cache=False)
            states.append(made.hidden_states[-1][0, -1])
            given = torch.cat([given, (made.logits[0, -1].softmax(0) @ table)[None, None]], dim=1)
        found.append(torch.stack(states[1:]))
    return torch.stack(found)


@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("append_eos", [False, True])
def test_vector_is_the_mean_of_the_soft_tokens_states(tokens, append_eos, tiny):
    """By the whole language model with its own head; the states in front do not count."""
    module = build("generated_tokens", tiny, tokens=tokens, append_eos=append_eos)
    expected = by_hand(module, tiny["llm"])
    torch.testing.assert_close(vectors(module), expected.mean(dim=1), rtol=1e-4, atol=1e-5)
    assert tokens == 1 or (expected[:, 0] - expected[:, -1]).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_predicts_as_its_language_model_does(family, families):
    """Tied heads, Gemma's longer token vectors, its capped logits; packed and padded."""
    module = build("generated_tokens", families[family], tokens=3)
    assert (module.head is None) == module.llm.config.tie_word_embeddings
    expected = by_hand(module, families[family]["llm"], prompt=LONG).mean(dim=1)
    for backend in ["eager"] if family in NO_SDPA else [PACKED, "sdpa"]:
        module.llm.set_attn_implementation(backend)
        torch.testing.assert_close(vectors(module, prompt=LONG), expected, rtol=1e-3, atol=1e-4)


def test_a_window_slides_over_soft_tokens_as_well(tiny, tmp_path):
    folder = save_llm(llm_config("Mistral", sliding_window=6), tmp_path)
    module = build("generated_tokens", {"llm": folder}, tokens=3)
    expected = by_hand(module, folder).mean(dim=1)
    torch.testing.assert_close(vectors(module), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prompt", ["", PROMPT, LONG])
def test_none_is_the_last_tokens_state(prompt, tiny):
    """To the bit the vectors of last_token, also in training."""
    module, other = build("generated_tokens", tiny, tokens=0, append_eos=True), build("last_token", tiny)
    assert torch.equal(vectors(module, prompt=prompt), vectors(other, prompt=prompt))
    assert torch.equal(vectors(module.train(), prompt=prompt), vectors(other.train(), prompt=prompt))
    assert module.head is None and module.own_products() == (0, 0, 0)
    assert (vectors(build("generated_tokens", tiny, tokens=0)) - vectors(other)).abs().max() > 1e-3


def test_a_soft_token_sees_what_stands_before_it_and_nothing_sees_it(tiny):
    module = build("generated_tokens", tiny, tokens=3)
    features = module.preprocess(TEXTS, PROMPT)
    changed = {name: value.clone() for name, value in features.items()}
    changed["input_ids"][:, -4] = (features["input_ids"][:, -4] + 7) % 600
    with torch.no_grad():
        moved = (module.states(features) - module.states(changed)).abs().amax(dim=-1)
    assert moved[:, -4:].min() > 1e-4, "the text's last token reaches all soft tokens"
    assert moved[:, :-4].max() < 1e-6
    stand_ins = {**features, "input_ids": features["input_ids"].clone()}
    stand_ins["input_ids"][:, -3:] = 9
    with torch.no_grad():
        assert torch.equal(module.states(features), module.states(stand_ins))


def test_a_long_instruction_is_read_once_and_kept(tiny):
    module = build("generated_tokens", tiny)
    seen = []
    module.llm.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["inputs_embeds"].shape[:2].numel()), with_kwargs=True
    )
    expected = by_hand(module, tiny["llm"], TEXTS * 2, LONG).mean(dim=1)
    module.prefixes_read = {}
    features = module.preprocess(TEXTS * 2, LONG)
    head, tokens = int(features["head"][0]), int(features["attention_mask"].sum())
    for once in ([head], []):
        seen.clear()
        torch.testing.assert_close(vectors(module, TEXTS * 2, LONG), expected, rtol=1e-4, atol=1e-5)
        assert seen == [*once, tokens - 8 * (head + 2), 8, 8]


@pytest.mark.parametrize("tokens", [0, 3])
def test_padding_may_stand_on_both_sides(tokens, tiny):
    """So sentence-transformers embeds a batch's positives and hard negatives together."""
    module = build("generated_tokens", tiny, tokens=tokens)
    features = module.preprocess(TEXTS, LONG)
    behind = {name: torch.nn.functional.pad(x, (0, 5)) if x.ndim > 1 else x for name, x in features.items()}
    behind = {name: torch.stack([x[0].roll(5, 0), *x[1:]]) if x.ndim > 1 else x for name, x in behind.items()}
    with torch.no_grad():
        found, states = module(dict(behind))["sentence_embedding"], module.states(behind)
    torch.testing.assert_close(found, vectors(module, prompt=LONG), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(module.pool(states, behind["roles"]), found, rtol=1e-4, atol=1e-5)


def trained(module, *, checkpointing=False) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Vectors in training, and the gradients of their squares."""
    torch.manual_seed(0)
    attach_lora(module, Lora(rank=4, alpha=8), gradient_checkpointing=checkpointing)
    found = module(module.preprocess(TEXTS, LONG))["sentence_embedding"]
    found.square().sum().backward()
    return found.detach(), {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def test_in_training_the_first_of_them_have_vectors_too(tiny):
    module = build("generated_tokens", tiny, tokens=3)
    states, expected = by_hand(module, tiny["llm"], prompt=LONG), vectors(module, prompt=LONG)
    found, _ = trained(module)
    one, two, three = found.chunk(3, dim=1)
    assert torch.allclose(one, states[:, 0], atol=1e-5) and torch.allclose(two, states[:, :2].mean(dim=1), atol=1e-5)
    assert torch.allclose(three, expected, atol=1e-5)


def test_gradient_checkpointing_keeps_no_keys_and_changes_nothing(tiny):
    """Every layer would read a single token as a text of its own otherwise."""
    found, gradients = trained(build("generated_tokens", tiny, tokens=3))
    anew, expected = trained(build("generated_tokens", tiny, tokens=3), checkpointing=True)
    assert torch.allclose(found, anew, atol=1e-5) and gradients.keys() == expected.keys()
    for name, own in gradients.items():
        assert (own - expected[name]).norm() <= 1e-4 * own.norm(), name


# -- the loss ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "penalty", "expected"),
    [
        ([1.0, 2.0, 1.5], 0.0, 1.5),
        ([1.0, 2.0, 1.5], 1.0, 1.5 + math.log(2) / 2),
        ([1.0, 2.0, 1.5], 4.0, 1.5 + 4 * math.log(2) / 2),
        ([1.0, 2.0, 8.0], 1.0, 11 / 3 + (math.log(2) + math.log(4)) / 2),
        ([3.0, 2.0, 1.0], 1.0, 2.0),  # as it should be: nothing to pay
        ([0.7], 1.0, 0.7),
    ],
)
def test_losses_of_all_steps_are_one_by_hand(losses, penalty, expected, tiny):
    module = build("generated_tokens", tiny, tokens=len(losses), penalty=penalty)
    assert float(module.combine(torch.tensor(losses))) == pytest.approx(expected, abs=1e-5)


def loss_of(module, **changes):
    budget = BUDGET.model_copy(update={"temperature": 0.5, **changes})
    return make_loss(SentenceTransformer(modules=[module], device="cpu"), budget)


def test_loss_is_that_by_hand(tiny):
    """Two pairs, two steps of vectors in the plane: cosines over the temperature, step by step."""
    module = build("generated_tokens", tiny, tokens=2)
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    queries = torch.cat([first, first], dim=1)
    documents = torch.cat([torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 1.0], [1.0, 1.0]])], dim=1)
    sure, even = math.log(1 + math.exp(-2)), math.log(2)  # its own at cosine 1, the other's at 0; both alike
    expected = (sure + even) / 2 + math.log(even / sure)
    assert float(loss_of(module).compute_loss_from_embeddings([queries, documents], None)) == pytest.approx(expected)
    cached = loss_of(module, mini_batch_size=1)
    pieces = [[row.requires_grad_() for row in side.split(1)] for side in (queries, documents)]
    assert float(cached.calculate_loss(pieces, with_backward=True)) == pytest.approx(expected)
    assert all(row.grad is not None for side in pieces for row in side)


def gradient(tiny, pick=None, **settings) -> torch.Tensor:
    """Of the loss of a few pairs; ``pick``: only of the vector after the last step."""
    torch.manual_seed(0)
    module = build("generated_tokens", tiny, **{"tokens": 3, **settings})
    attach_lora(module, Lora(rank=4, alpha=8))
    if pick:
        pool = module.pool
        module.pool = lambda states, roles: pool(states, roles).chunk(module.steps, dim=1)[-1].repeat(1, module.steps)
    loss = loss_of(module)([module.preprocess(TEXTS, PROMPT), module.preprocess(TEXTS[1:] + TEXTS[:1])], None)
    loss.backward()
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def test_every_step_and_the_penalty_teach_something(tiny):
    whole, without, last = gradient(tiny), gradient(tiny, penalty=0.0), gradient(tiny, pick=True, penalty=0.0)
    assert (whole - without).norm() > 1e-2 * whole.norm()
    assert (without - last).norm() > 1e-2 * without.norm()
    assert torch.equal(whole, gradient(tiny))


def test_hard_negatives_of_other_lengths_are_read_as_alone(tiny):
    """The plain loss embeds them with the positives, the cached one does not."""
    texts = [TEXTS, TEXTS[1:] + TEXTS[:1], [text[:9] for text in TEXTS]]
    columns = [build("generated_tokens", tiny).preprocess(column) for column in texts]
    plain, cached = (loss_of(build("generated_tokens", tiny).train(), **m) for m in ({}, {"mini_batch_size": 1}))
    with torch.no_grad():
        assert float(plain(columns, None)) == pytest.approx(float(cached(columns, None)), rel=1e-5)


@pytest.mark.parametrize(
    ("update", "dtype"),
    [
        ({}, "float32"),
        ({"mini_batch_size": 2}, "float32"),
        ({"gradient_checkpointing": True}, "float32"),
        ({}, "bfloat16"),
    ],
    ids=["plain", "cached", "checkpointing", "bfloat16"],
)
def test_however_it_is_trained_the_losses_are_the_same(update, dtype, tiny, pairs, tmp_path):
    def losses(name: str, **options) -> list[float]:
        folder = make(run_of("generated_tokens"), tiny, pairs, tmp_path / name, **options)
        return [entry["loss"] for entry in json.loads((folder / "training.json").read_text())["loss"]]

    budget = BUDGET.model_copy(update=update)
    found, expected = losses("a", budget=budget, dtype=dtype), losses("b")
    allowed, steps = (1e-3, len(expected)) if dtype == "float32" else (0.1, 1)  # later steps part by rounding
    assert found[:steps] == pytest.approx(expected[:steps], rel=allowed) and all(map(math.isfinite, found))


# -- the head ----------------------------------------------------------------------------------------------


def test_a_head_of_its_own_goes_with_the_model(tiny, tmp_path):
    module = build("generated_tokens", tiny)
    assert not torch.equal(module.head, module.llm.get_input_embeddings().weight)
    save_model(
        module, tmp_path / "m", manifest={"method": "g", "base": "tiny", "seed": 0, "trained": False}, records={}
    )
    assert torch.equal(load_file(tmp_path / "m" / "own.safetensors")["head"], module.head)
    opened = load_model(str(tmp_path / "m"), "cpu", "float32")
    assert torch.allclose(torch.from_numpy(opened.encode(TEXTS, prompt=PROMPT)), vectors(module), atol=1e-5)
    with torch.no_grad():
        module.head.copy_(module.llm.get_input_embeddings().weight)
    assert (torch.from_numpy(opened.encode(TEXTS, prompt=PROMPT)) - vectors(module)).abs().max() > 1e-3


def test_a_head_does_not_learn(tiny, pairs, tmp_path):
    after = weights(make(run_of("generated_tokens"), tiny, pairs, tmp_path))
    head = next(value for name, value in after.items() if name.endswith(":head"))
    assert torch.equal(head, load_file(tiny["llm"] / "model.safetensors")["lm_head.weight"])


def test_a_tied_head_is_not_stored_again(families, tmp_path):
    module = build("generated_tokens", families["Gemma"])
    assert module.head is None and not module._own_weights()


def test_a_base_without_its_head_is_refused(tiny, tmp_path):
    folder = shutil.copytree(tiny["llm"], tmp_path / "headless")
    stored = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in stored.items() if k != "lm_head.weight"}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(UserError, match=r"headless holds no lm_head\.weight.*take a base with one"):
        build("generated_tokens", {"llm": folder})
    build("generated_tokens", {"llm": folder}, tokens=0)


def test_logits_that_are_scaled_are_refused(tiny, tmp_path):
    folder = shutil.copytree(tiny["llm"], tmp_path / "scaled")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "logits_scaling": 8.0}))
    with pytest.raises(UserError, match=r"multiplies its logits \(logits_scaling\).*take another"):
        build("generated_tokens", {"llm": folder})


@pytest.mark.parametrize("settings", [{"tokens": -1}, {"penalty": -0.5}])
def test_settings_that_do_not_fit_are_named(settings, tiny):
    with pytest.raises(UserError, match="neither may be less than 0"):
        build_embedder("baselines.generated_tokens.GeneratedTokens", tiny, settings)


def test_text_is_shortened_to_leave_room_for_them(tiny):
    module = build("generated_tokens", tiny, tokens=4, max_seq_length=20)
    features = module.preprocess(["word " * 50], PROMPT)
    assert features["input_ids"].shape == (1, 20)
    assert features["roles"][0, -4:].eq(Role.PLACEHOLDER).all() and features["roles"][0, -5] == Role.TEXT
    assert isinstance(module, GeneratedTokens) and module.kept(features["roles"]).sum() == 5
