"""Tokens and FLOPs of an encoding: predicted from what a model reads, and counted while it computes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

from causal2vec.efficiency.architecture import forward_flops
from causal2vec.efficiency.machine import architecture
from causal2vec.encoding import encode
from causal2vec.speed.last_layer import left_out, weights_left_out


class Counts(NamedTuple):
    """Means per text. Tokens are without padding, but for ``computed_tokens``, which is what the LLM was given."""

    llm_tokens: float
    """Read by the LLM."""
    encoder_tokens: float
    prompt_tokens: float
    """Of what stands before the text."""
    predicted_tokens: float
    """Computed by the LLM: read, but for a beginning that is read once for all texts."""
    computed_tokens: float
    """The same, counted."""
    predicted_flops: float
    counted_flops: float
    batch_size: float
    """Texts per batch."""
    parameters: int


class _Batches:
    """What goes into a model and into its LLM, batch by batch."""

    def __init__(self, model: Any) -> None:
        self.module = model[0]
        self.read: list[tuple[int, int]] = []
        """Per text: tokens that the first part reads, and how many of them were read once for all."""
        self.encoder: list[int] = []
        self.prefixes: list[int] = []
        """Tokens of each beginning that was read once."""
        self.left_out = 0
        """Tokens that the last layer was not computed for (`causal2vec.speed.last_layer`)."""
        self.kept = 0
        """Tokens whose states are looked at."""
        self.batches = 0
        self.given = 0
        """Tokens that the LLM was given."""

    def enter(self, _: Any, inputs: tuple[dict[str, Any], ...]) -> None:
        """Look at a batch."""
        features = inputs[0]
        skipped = self.module.shared_tokens(features) if hasattr(self.module, "shared_tokens") else 0
        lengths = features["attention_mask"].sum(dim=1).tolist()
        self.read += [(length, skipped) for length in lengths]
        kept = tokens_kept(self.module, features)
        self.left_out += tokens_left_out(self.module, features, sum(lengths) - skipped * len(lengths))
        self.kept += sum(lengths) if kept is None else kept
        if "pre_mask" in features:
            self.encoder += features["pre_mask"].sum(dim=1).tolist()
        if skipped and skipped not in self.prefixes:  # of one prompt, so that a length names a beginning
            self.prefixes.append(skipped)
        self.batches += 1

    def enter_llm(self, _: Any, inputs: Any, named: dict[str, Any]) -> None:
        """Look at what the LLM is to compute."""
        rows, width = named["inputs_embeds"].shape[:2]
        self.given += rows * width


def count(model: Any, texts: list[str], prompt: str, batch_tokens: int | None) -> Counts:
    """Encode texts once and count; the model's settings decide on cutting and on reuse.

    Predicted FLOPs are `forward_flops` of each part with the texts' own lengths, less what the last layer leaves out,
    and what a method adds, see `own_products`. Counted FLOPs are torch's: matrix products and attention,
    of the shapes that were computed.
    """
    batches = _Batches(model)
    with _watched(model, batches), _flop_counter() as counter:
        encode(model, texts, prompt=prompt or None, batch_tokens=batch_tokens)
    module, amount = model[0], len(texts)
    decodes = "llm" in module.parts
    read, skipped = (sum(column) for column in zip(*batches.read, strict=True))
    with as_read(module):
        predicted = _predict(module, batches)
    return Counts(
        llm_tokens=read / amount if decodes else 0.0,
        encoder_tokens=(sum(batches.encoder) if decodes else read) / amount,
        prompt_tokens=prompt_tokens(model, prompt),
        predicted_tokens=(read - skipped + sum(batches.prefixes)) / amount if decodes else 0.0,
        computed_tokens=batches.given / amount,
        predicted_flops=predicted / amount,
        counted_flops=counter.get_total_flops() / amount,
        batch_size=amount / batches.batches,
        parameters=sum(p.numel() for p in model.parameters()),
    )


def prompt_tokens(model: Any, prompt: str) -> int:
    """Tokens of a prompt for the part that reads it; 0 where none does."""
    if not prompt or not getattr(model[0], "sees_instruction", True):
        return 0
    return len(model[0].tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])


def reads_once(model: Any, text: str, prompt: str) -> bool:
    """Whether some beginning could be read once for all texts: attention is causal and something stands in front."""
    module = model[0]
    if not hasattr(module, "reuses_prefix") or not getattr(module.llm.config, "is_causal", True):
        return False
    features = module.preprocess([text], prompt=prompt)
    return "head" in features and int(features["head"][0]) > 0


def as_read(module: Any) -> AbstractContextManager[None]:
    """Within it a method's LLM has only those layers that the method reads."""
    cut: AbstractContextManager[None] = module.cut() if hasattr(module, "cut") else nullcontext()
    return cut


def _predict(module: Any, batches: _Batches) -> float:
    first = architecture(getattr(module, module.parts[0]))
    flops = sum(forward_flops(first, length - skipped, length) for length, skipped in batches.read)
    flops += sum(forward_flops(first, length, length) for length in batches.prefixes)
    if batches.left_out:
        flops -= 2 * batches.left_out * weights_left_out(module.llm)
    if batches.encoder:
        encoder = architecture(module.encoder)
        flops += sum(forward_flops(encoder, length, length) for length in batches.encoder)
    own = own_products(module)
    return flops + 2 * (len(batches.read) * own.text + batches.kept * own.token + batches.batches * own.batch)


def tokens_kept(module: Any, features: dict[str, Any]) -> int | None:
    """Tokens of a batch whose states are looked at; None: all."""
    kept = module.kept(features["roles"]) if hasattr(module, "kept") else None
    return None if kept is None else int((kept * features["attention_mask"]).sum())


def tokens_left_out(module: Any, features: dict[str, Any], tokens: int) -> int:
    """Of so many tokens of a batch that are computed, those whose last layer is not (`causal2vec.speed.last_layer`)."""
    kept = tokens_kept(module, features)
    return 0 if kept is None else left_out(kept, tokens)


class Own(NamedTuple):
    """Multiplications of what no part holds, such as Causal2Vec's projection."""

    text: float = 0.0
    token: float = 0.0
    """Per token whose state is looked at."""
    batch: float = 0.0


def own_products(module: Any) -> Own:
    """What a method adds to its parts: as it says itself (``own_products``), else its linear layers, once per text."""
    from torch import nn

    if hasattr(module, "own_products"):
        return Own(*module.own_products())
    linear = sum(
        layer.weight.numel()
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and name.split(".")[0] not in module.parts
    )
    return Own(linear)


@contextmanager
def _watched(model: Any, batches: _Batches) -> Iterator[None]:
    hooks = [model[0].register_forward_pre_hook(batches.enter)]
    if "llm" in model[0].parts:
        hooks.append(model[0].llm.register_forward_pre_hook(batches.enter_llm, with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _flop_counter() -> Any:
    """torch's counter, which does not know the attention and the linear layers that torch has for CPUs, nor on a GPU
    several heads of the query that share one of the keys."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    aten = torch.ops.aten
    whole = (
        aten._scaled_dot_product_flash_attention_for_cpu, aten._scaled_dot_product_flash_attention,
        aten._scaled_dot_product_efficient_attention, aten._scaled_dot_product_cudnn_attention,
    )  # fmt: skip
    known: dict[Any, Any] = dict.fromkeys(whole, _attention_flops)
    known[aten._flash_attention_forward] = _row_flops
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        known[torch.ops.mkldnn._linear_pointwise] = _linear_flops
    return FlopCounterMode(display=False, custom_mapping=known)


def _linear_flops(states: Any, *args: Any, out_shape: Any, **options: Any) -> int:
    """Two for every weight and token; what is done to the product within it does not count."""
    return 2 * math.prod(states) * int(out_shape[-1])


def _attention_flops(query: Any, key: Any, value: Any, *args: Any, **options: Any) -> int:
    """Queries by keys, and weights by values; as everywhere here, a causal mask does not halve it."""
    rows, heads, length, width = query
    return 2 * rows * heads * length * key[2] * (width + value[3])


def _row_flops(query: Any, key: Any, value: Any, queries: Any, keys: Any, *args: Any, **options: Any) -> int:
    """The same of texts that follow one another in a row, given where they begin (`causal2vec.speed.gpu_attention`)."""
    if queries is None:
        rows, length, heads, width = query.shape
        return 2 * rows * heads * length * key.shape[1] * (width + value.shape[-1])
    pairs = int((queries.diff().long() * keys.diff().long()).sum())
    return 2 * query.shape[1] * pairs * (query.shape[2] + value.shape[2])


_row_flops._get_raw = True  # type: ignore[attr-defined] # it looks into the tensors, not only at their shapes
