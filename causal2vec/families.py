"""Whether an LLM can be a base at all: asked of the model itself, on a few tokens, before anything is computed.

An attention mask that is not what a method thinks it is gives plausible vectors and wrong scores; this has happened
to the rivals' own code (llm2vec issues 74 and 79). So no list of names: a change of the last token shows who sees it.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from causal2vec.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from causal2vec.embedder import Embedder

LENGTH, PADDING = 6, 2
ADVICE = "name a decoder-only transformer, such as one of the Llama, Mistral, Qwen or Gemma families"


def check_backbone(module: Embedder) -> None:
    """Check the LLM of a method, where it has one, for the attention that the method has set.

    Raises:
        UserError: See `check_llm`.
    """
    if "llm" in module.parts:
        check_llm(module.llm)


def check_llm(llm: Any) -> None:
    """Check that an LLM takes the suite's input, sees no padding, and attends as its ``config.is_causal`` says.

    Two forward passes, of ``(4, 6)`` and ``(2, 4)`` tokens.

    Args:
        llm: A transformers model without a head, as ``AutoModel`` opens it. Flash attention is what is checked only
            when the model is on a GPU already.

    Raises:
        UserError: It is no decoder, cannot be fed vectors and positions, cannot be made bidirectional (or is, where
            it should be causal), or a text's states depend on padding; the model's class and the reason are named.
    """
    import torch

    name, training = type(llm).__name__, llm.training
    if getattr(llm.config, "is_encoder_decoder", False):
        raise UserError(f"{name} cannot be a base: it is an encoder and a decoder; {ADVICE}")
    accepted = inspect.signature(llm.forward).parameters
    for needed, use in (("inputs_embeds", "the Contextual token is a vector"), ("position_ids", "texts are padded")):
        if needed not in accepted:
            raise UserError(f"{name} cannot be a base: its forward() takes no {needed}, and {use}; {ADVICE}")
    llm.eval()
    backend = llm.config._attn_implementation
    try:
        if llm.device.type == "cpu" and "flash" in (backend or ""):
            llm.config._attn_implementation = "eager"  # flash attention has no code for a CPU
        with torch.no_grad():
            padded, alone = _states(llm)
    except Exception as error:  # whatever a foreign architecture raises
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(f"{name} cannot be a base: it fails on padded vectors ({reason}); {ADVICE}") from error
    finally:
        llm.config._attn_implementation = backend
        llm.train(training)
    _check_attention(name, padded, alone, causal=bool(getattr(llm.config, "is_causal", True)))
    # Half precision rounds the two differently; states that see padding differ by about their own size.
    exact = llm.get_input_embeddings().weight.dtype == torch.float32
    _check_padding(name, padded[2:, PADDING:], alone, limit=1e-3 if exact else 0.1)


def _states(llm: Any) -> tuple[Tensor, Tensor]:
    """States of a text and its twin, which ends otherwise: whole and padded ``(4, 6, width)``, alone ``(2, 4, width)``.

    Rows 2 and 3 of the first are the two rows of the second behind padding.
    """
    import torch

    embedding = llm.get_input_embeddings()
    device, size = embedding.weight.device, int(embedding.weight.shape[0])
    text = torch.arange(3, 3 + LENGTH) * 7 % size
    twin = torch.cat([text[:-1], (text[-1:] + 1) % size])
    ids = torch.stack([text, twin, text, twin]).to(device)
    mask = torch.ones_like(ids)
    mask[2:, :PADDING] = 0
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    padded = llm(inputs_embeds=embedding(ids), attention_mask=mask, position_ids=positions, use_cache=False)
    alone = llm(inputs_embeds=embedding(ids[2:, PADDING:]), use_cache=False)
    return padded.last_hidden_state.float(), alone.last_hidden_state.float()


def _check_attention(name: str, padded: Tensor, alone: Tensor, *, causal: bool) -> None:
    for first, other, kind in (
        (padded[0], padded[1], "a padded batch"),
        (padded[2, PADDING:], padded[3, PADDING:], "a padded text"),
        (alone[0], alone[1], "a batch without padding"),
    ):
        gaps = (first - other).abs().amax(dim=-1)[:-1] / first.abs().max().clamp(min=1e-12)
        if causal and gaps.max() > 1e-6:
            raise UserError(
                f"{name} cannot be a causal base: in {kind} a change of the last token reaches earlier ones; look for "
                "a switch such as use_bidirectional_attention in its config.json"
            )
        if not causal and gaps.min() <= 1e-6:
            raise UserError(
                f"{name} cannot be made bidirectional: in {kind} a change of the last token does not reach every "
                "earlier one; run the bidirectional method and its pre-training on another base (methods.*.bases)"
            )


def _check_padding(name: str, padded: Tensor, alone: Tensor, *, limit: float) -> None:
    gap = float((padded - alone).abs().mean() / alone.abs().mean().clamp(min=1e-12))
    if not gap <= limit:  # a NaN must not pass
        raise UserError(
            f"{name} cannot be a base: padding changes a text's states by {gap:.0%} of their size; {ADVICE}"
        )
