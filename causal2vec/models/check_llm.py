"""Whether an LLM or encoder can be a base at all: asked of the model itself, on a few tokens, before anything else.

An attention mask that is not what a method thinks it is gives plausible vectors and wrong scores; this has happened
to the rivals' own code (llm2vec issues 74 and 79). So no list of names: a change of the last token shows who sees it,
and what the suite makes of a few texts must be what the model itself makes of their ids.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from causal2vec.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from causal2vec.embedder import Embedder

logger = logging.getLogger(__name__)

LENGTH, PADDING = 6, 2
SHARED, TEXTS = 16, (7, 4, 2, 6)
"""Tokens of a beginning that texts share, long enough to be read once, and of the rest of each text."""

WAYS = {
    "last_layer": "the last layer for a few tokens only",
    "packing": "texts without padding between them",
    "prefix": "a shared beginning once",
}
"""The ways of reading faster that an LLM may not bear, by their names in `causal2vec.speed.packing.AVOIDS`."""

ADVICE = "name a decoder-only transformer, such as one of the Llama, Mistral, Qwen or Gemma families"


def check_backbone(module: Embedder) -> None:
    """Check the parts of a method: the LLM for the attention that the method has set, and the encoder.

    Raises:
        UserError: See `check_llm` and `check_encoder`.
    """
    if "llm" in module.parts:
        check_llm(module.llm)
    if "encoder" in module.parts:
        check_encoder(module.encoder)


def check_llm(llm: Any) -> None:
    """Check that an LLM takes the suite's input, sees no padding, and attends as its ``config.is_causal`` says.

    Two forward passes, of ``(4, 6)`` and ``(2, 4)`` tokens; three more, of a hundred tokens, see to it that it is read
    without those `WAYS` that give other states than its own (`causal2vec.speed.packing.AVOIDS` in its configuration).

    Args:
        llm: A transformers model without a head, as ``AutoModel`` opens it. Flash attention is what is checked only
            when the model is on a GPU already.

    Raises:
        UserError: It is no decoder, cannot be fed vectors and positions, cannot be made bidirectional (or is, where
            it should be causal), makes something else of vectors than of their ids, or a text's states depend on
            padding; the model's class and the reason are named.
    """
    name = type(llm).__name__
    if getattr(llm.config, "is_encoder_decoder", False):
        raise UserError(f"{name} cannot be a base: it is an encoder and a decoder; {ADVICE}")
    accepted = inspect.signature(llm.forward).parameters
    for needed, use in (("inputs_embeds", "the Contextual token is a vector"), ("position_ids", "texts are padded")):
        if needed not in accepted:
            raise UserError(f"{name} cannot be a base: its forward() takes no {needed}, and {use}; {ADVICE}")
    limit = _limit(llm)
    with _as_it_is(llm):
        try:
            padded, alone = _states(llm)
            ids, mask, kept = _texts(llm)
            own = _own(llm, mask, input_ids=ids)
            vectors = _own(llm, mask, inputs_embeds=llm.get_input_embeddings()(ids))
        except Exception as error:  # whatever a foreign architecture raises
            raise UserError(
                f"{name} cannot be a base: it fails on padded vectors ({_reason(error)}); {ADVICE}"
            ) from error
    _check_attention(name, padded, alone, causal=bool(getattr(llm.config, "is_causal", True)))
    if not (gap := _gap(padded[2:, PADDING:], alone)) <= limit:  # a NaN must not pass
        raise UserError(
            f"{name} cannot be a base: padding changes a text's states by {gap:.0%} of their size; {ADVICE}"
        )
    if not (gap := _gap(vectors[kept], own[kept])) <= limit:
        raise UserError(
            f"{name} cannot be a base: its states of vectors are {gap:.0%} off those of the ids that the vectors are "
            f"of, as it does more to ids than to look up their embedding; {ADVICE}"
        )
    _avoid_what_differs(llm, own[kept], limit)


def check_encoder(encoder: Any) -> None:
    """Check that a text's states do not depend on the padding behind it.

    Raises:
        UserError: They do, or it cannot read ids at all; the model's class is named.
    """
    import torch

    name, advice = type(encoder).__name__, "name an encoder such as those of the BERT, RoBERTa or ModernBERT families"
    ids, mask, _ = _texts(encoder)
    ids, mask = ids.flip(1), mask.flip(1)  # padding stands behind an encoder's text
    with _as_it_is(encoder):
        try:
            own = [
                encoder(input_ids=row[seen][None]).last_hidden_state[0]
                for row, seen in zip(ids, mask.bool(), strict=True)
            ]
            made = _reader(encoder, "encoder").encoder_states(ids, mask)
        except Exception as error:  # whatever a foreign architecture raises
            raise UserError(
                f"{name} cannot be an encoder: it fails on padded ids ({_reason(error)}); {advice}"
            ) from error
    if not (gap := _gap(made[mask.bool()], torch.cat(own))) <= _limit(encoder):
        raise UserError(
            f"{name} cannot be an encoder: padding changes a text's states by {gap:.0%} of their size; {advice}"
        )


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _limit(model: Any) -> float:
    """Half precision rounds the two differently; states that see padding differ by about their own size."""
    import torch

    return 1e-3 if model.get_input_embeddings().weight.dtype == torch.float32 else 0.1


@contextmanager
def _as_it_is(model: Any) -> Iterator[None]:
    """Within it a model computes as its authors have it, on the spot."""
    import torch

    from causal2vec.speed.packing import PACKED

    training, backend = model.training, model.config._attn_implementation
    model.eval()
    if backend == PACKED:
        model.config._attn_implementation = "sdpa"
    elif model.device.type == "cpu" and "flash" in (backend or ""):
        model.config._attn_implementation = "eager"  # flash attention has no code for a CPU
    try:
        with torch.no_grad():
            yield
    finally:
        model.config._attn_implementation = backend
        model.train(training)


def _texts(model: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Ids and mask of texts that begin alike, left-padded, ``(4, 23)``, and which states are looked at."""
    import torch

    embedding = model.get_input_embeddings()
    device, size = embedding.weight.device, int(embedding.weight.shape[0])
    width = SHARED + max(TEXTS)
    pad = getattr(model.config, "pad_token_id", None) or 0
    ids = torch.full((len(TEXTS), width), pad if 0 <= pad < size else 0)
    mask = torch.zeros_like(ids)
    kept = torch.zeros_like(mask, dtype=torch.bool)
    for row, length in enumerate(TEXTS):
        begin = width - SHARED - length
        ids[row, begin : begin + SHARED] = torch.arange(5, 5 + SHARED) * 11 % size
        ids[row, begin + SHARED :] = torch.arange(3 + row, 3 + row + length) * 7 % size
        mask[row, begin:] = 1
        kept[row, [width - length, width - 1]] = True
    return ids.to(device), mask.to(device), kept.to(device)


def _own(llm: Any, mask: Tensor, **tokens: Tensor) -> Tensor:
    """What an LLM itself makes of padded texts."""
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    return llm(attention_mask=mask, position_ids=positions, use_cache=False, **tokens).last_hidden_state


def _avoid_what_differs(llm: Any, own: Tensor, limit: float) -> None:
    """Note in an LLM's configuration which ways give other states than its own; each is tried if not all are right."""
    from causal2vec.speed.packing import AVOIDS, PACKED

    name = type(llm).__name__

    def right(*avoided: str) -> bool:
        setattr(llm.config, AVOIDS, list(avoided))
        return _gap(_read(llm), own) <= limit

    if right():
        delattr(llm.config, AVOIDS)
        return
    others = {"last_layer": ["packing"], "packing": ["prefix", "last_layer"], "prefix": ["last_layer"]}
    wrong = [way for way in WAYS if not right(*others[way])]
    if not right(*wrong):
        raise UserError(f"{name} cannot be a base: its states in a method differ from those of its own; {ADVICE}")
    if "packing" in wrong and llm.config._attn_implementation == PACKED:
        llm.config._attn_implementation = "sdpa"
    words = ", ".join(WAYS[way] for way in wrong)
    logger.warning("%s is not read in ways that would change its states: %s", name, words)


def _read(llm: Any) -> Tensor:
    """The states that are looked at as every method reads them, NaN where that fails."""
    import torch

    from causal2vec.speed.packing import let_pack

    ids, mask, kept = _texts(llm)
    with _as_it_is(llm):
        before = llm.config._attn_implementation
        let_pack(llm)
        try:
            features = {"input_ids": ids, "attention_mask": mask, "head": torch.full((len(ids),), SHARED)}
            return _reader(llm, "llm").states(features, kept)[kept]
        except Exception:  # whatever a foreign architecture raises
            return torch.full((1,), float("nan"))
        finally:
            llm.config._attn_implementation = before


def _reader(model: Any, part: str) -> Any:
    """What reads a part of any method, without tokenizers."""
    import torch

    from causal2vec.embedder import DecoderEmbedder

    reader: Any = DecoderEmbedder.__new__(DecoderEmbedder)
    torch.nn.Module.__init__(reader)
    reader.add_module(part, model)
    reader.training, reader.prefixes_read = False, {}
    return reader


def _gap(found: Tensor, own: Tensor) -> float:
    """Mean difference, as a share of the mean size."""
    return float((found.float() - own.float()).abs().mean() / own.float().abs().mean().clamp(min=1e-12))


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
    padded = _own(llm, mask, inputs_embeds=embedding(ids))
    alone = llm(inputs_embeds=embedding(ids[2:, PADDING:]), use_cache=False).last_hidden_state
    return padded.float(), alone.float()


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
