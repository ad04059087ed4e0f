"""What is left out of the last layer is what no vector depends on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from conftest import METHODS, TEXTS, build
from torch import nn

from causal2vec import embedder
from causal2vec.speed.last_layer import left_out, only_for, tokenwise, weights_left_out

PROMPT = "Instruct: find the text that says the same as this one does, in other words\nQuery: "

DECODERS = [method for method in METHODS if method != "encoder_only"]


def fed(module, texts, prompt=None) -> list[int]:
    """Tokens that each layer's MLP is fed."""
    seen = []
    hooks = [
        layer.mlp.gate_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:-1].numel()))
        for layer in module.llm.layers
    ]
    with torch.no_grad():
        module(module.preprocess(texts, prompt))
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("prompt", [None, PROMPT])
@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1], [TEXTS[0]] * 2])
@pytest.mark.parametrize("method", DECODERS)
def test_vectors_are_those_of_the_whole_layer(tiny, method, texts, prompt, monkeypatch):
    module = build(method, tiny)
    features = module.preprocess(texts, prompt)
    with torch.no_grad():
        found = module(dict(features))["sentence_embedding"]
        whole = module.pool(module.states(features), features["roles"]).float()
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "kept"),
    [
        ("last_token", 1),
        ("in_context", 1),
        ("causal2vec", 2),
        ("token_prepending", 1),
        ("value_aggregation_weighted", 1),
    ],
)
def test_the_last_mlp_is_fed_only_what_is_kept(tiny, method, kept):
    module = build(method, tiny)
    tokens = int(module.preprocess(TEXTS)["attention_mask"].sum())
    assert fed(module, TEXTS) == [tokens, kept * len(TEXTS)]
    assert fed(module.train(), TEXTS) == [tokens, tokens]
    features = module.eval().preprocess(TEXTS)
    module(features)["sentence_embedding"].sum().backward()  # with gradients, too, all is computed


def test_a_pooling_over_all_tokens_leaves_nothing_out(tiny):
    module = build("causal2vec", tiny, pooling="mean")
    tokens = int(module.preprocess(TEXTS)["attention_mask"].sum())
    assert fed(module, TEXTS) == [tokens, tokens]


def test_parts_are_as_before_afterwards(tiny):
    module = build("last_token", tiny)
    parts = tokenwise(module.llm)
    own = parts[0].forward = lambda states: torch.zeros(*states.shape[:-1], 32)  # another's, such as layers.py's
    with pytest.raises(RuntimeError, match="on purpose"), torch.no_grad(), only_for(module.llm, torch.eye(4)[0]):
        assert parts[0].forward is not own and "forward" in vars(parts[2])
        raise RuntimeError("on purpose")
    assert parts[0].forward is own and "forward" not in vars(parts[2])


def test_an_llm_of_other_parts_computes_everything():
    layer = nn.ModuleDict({"attn": nn.Linear(2, 2), "mlp": nn.Linear(2, 2)})
    model = SimpleNamespace(layers=nn.ModuleList([layer]), training=False)
    assert tokenwise(model) == [] and weights_left_out(model) == 0
    with torch.no_grad(), only_for(model, torch.eye(4)[0]):
        assert "forward" not in vars(layer["mlp"])
    assert tokenwise(SimpleNamespace()) == []


def test_experts_that_say_more_than_states_compute_everything():
    class Experts(nn.Module):
        def forward(self, states):
            return states + 1, "which experts"

    attention = nn.ModuleDict({"q_proj": nn.Linear(2, 2), "o_proj": nn.Linear(2, 2)})
    layer = nn.ModuleDict({"self_attn": attention, "mlp": Experts()})
    model = SimpleNamespace(layers=nn.ModuleList([layer]), training=False)
    states = torch.randn(1, 4, 2)
    with torch.no_grad(), only_for(model, torch.eye(4)[0]):
        found, more = layer["mlp"](states)
        assert attention["q_proj"](states)[0, 1:].eq(0).all()
    assert torch.equal(found, states + 1) and more == "which experts"


@pytest.mark.parametrize(("kept", "tokens", "expected"), [(1, 4, 3), (3, 4, 1), (4, 4, 0), (31, 40, 0), (0, 4, 4)])
def test_left_out(kept, tokens, expected):
    assert left_out(kept, tokens) == expected


def test_every_method_says_where_it_looks(tiny):
    """A state that is void must not reach a vector: what is not kept is made nonsense."""
    for method in DECODERS:
        module = build(method, tiny)
        assert isinstance(module, embedder.DecoderEmbedder)
        features = module.preprocess(TEXTS, PROMPT)
        kept = module.kept(features["roles"])
        states = torch.randn(*kept.shape, 32)
        void = states.masked_fill(~kept.unsqueeze(-1), 1e9)
        assert torch.equal(module.pool(states, features["roles"]), module.pool(void, features["roles"]))
