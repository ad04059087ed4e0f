"""Generated tokens (GIRCSE, Tsai et al., arXiv 2509.24291): behind the text the LLM writes soft tokens of its own.

A soft token is the mean of all token vectors, each weighted by the probability that the LLM gives that token next. K of
them are appended one after another, and the vector is the mean of their last states. In training the mean of the first
k is a vector as well, for every k: all learn by the same loss, and a step whose loss is above that of the step before
costs a penalty (iterative contrastive refinement).

Confirmed, in the authors' code: all of this; K of 5 in their training script; softmax at temperature 1; the LLM's own
head; the loss, which is the mean over k plus 1 times the mean of ReLU(log L(k+1) - log L(k)); that states in front of
the soft tokens do not count; no EOS. Third-hand, from the model card: more tokens than were trained with make the
vectors better. Assumed: as many in evaluation as in training; a BOS where the tokenizer puts one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import linear, pad
from transformers import DynamicCache

from causal2vec.embedder import DecoderEmbedder, Piece, Role
from causal2vec.speed.last_layer import only_for
from causal2vec.speed.packing import PACKED, Layout, on_host, packs, run_packed, send

HEAD = "lm_head.weight"
"""transformers' name of what makes logits of states."""


class GeneratedTokens(DecoderEmbedder):
    """Causal LLM that appends soft tokens; the vector is the mean of their states.

    Args:
        tokens: How many, K. 0: the state of the last token that is read, as `baselines/last_token.py`.
        penalty: Weight of the penalty in training.
        append_eos: Whether EOS stands between the text and the soft tokens.
    """

    closing_role: ClassVar[Role] = Role.TEXT
    config_keys: list[str] = [*DecoderEmbedder.config_keys, "tokens", "penalty", "append_eos"]
    head: Tensor | None

    def __init__(
        self,
        loaded: dict[str, tuple[Any, Any]],
        max_seq_length: int = 512,
        add_bos: bool | None = None,
        chat: Sequence[str] | None = None,
        tokens: int = 5,
        penalty: float = 1.0,
        append_eos: bool = False,
    ) -> None:
        super().__init__(loaded, max_seq_length, add_bos, chat)
        if tokens < 0 or penalty < 0:
            raise ValueError(f"tokens is {tokens} and penalty {penalty}, but neither may be less than 0")
        self.tokens, self.penalty, self.append_eos = tokens, penalty, append_eos
        config, table = self.llm.config, self.llm.get_input_embeddings().weight
        for scale in ("logit_scale", "logits_scaling", "lm_head_multiplier"):
            if tokens and getattr(config, scale, None) is not None:
                raise ValueError(f"this LLM multiplies its logits ({scale}), which soft tokens do not; take another")
        apart = bool(tokens) and not config.tie_word_embeddings
        self.register_buffer("head", torch.zeros_like(table, requires_grad=False) if apart else None)

    def initialise(self) -> None:
        """Fetch the head, which transformers leaves behind in the LLM's folder, where it is not the embedding."""
        if self.head is not None:
            self.head.copy_(head_of(Path(self.llm.name_or_path)))

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """``[BOS]instruction text[EOS][S]...[S]``, with S, the soft tokens; EOS if told to."""
        # The id is a stand-in: states() puts the soft token's vector there.
        soft = [Piece(token=self.eos[0].token, role=Role.PLACEHOLDER)] * self.tokens
        end = self.eos if self.append_eos else []
        return [*self.bos, Piece(prompt), Piece(text, role=Role.TEXT, cut=True), *end, *soft]

    def states(self, features: dict[str, Tensor], kept: Tensor | None = None) -> Tensor:
        """See `DecoderEmbedder.states`; those of the soft tokens stand where their stand-ins do."""
        if not self.tokens:
            return super().states(features, kept)
        mask = on_host(features["attention_mask"])
        behind, columns = mask.flip(1).argmax(dim=1, keepdim=True), torch.arange(mask.shape[1], device=mask.device)
        if not behind.any():
            return self._write(features, kept)
        # In training, columns of texts that are embedded together are padded behind as well: to the end with them.
        here, back = (columns - behind) % len(columns), (columns + behind) % len(columns)
        moved = {name: x.gather(1, here.to(x.device)) if x.ndim > 1 else x for name, x in features.items()}
        states = self._write(moved, None if kept is None else kept.gather(1, here.to(kept.device)))
        return states.gather(1, back.to(states.device).unsqueeze(-1).expand_as(states))

    def _write(self, features: dict[str, Tensor], kept: Tensor | None) -> Tensor:
        """The states of texts that all end in the last column."""
        read = features["attention_mask"].shape[1] - self.tokens
        text = {name: send(on_host(x)[:, :read], x.device) if x.ndim > 1 else x for name, x in features.items()}
        if self.training and any(getattr(part, "gradient_checkpointing", False) for part in self.llm.modules()):
            return self._states_anew(text)
        states, past, seen = self._begin(text, None if kept is None else kept[:, :read])
        found, length = [states], text["attention_mask"].sum(dim=1, keepdim=True)
        for step in range(self.tokens):
            seen = pad(seen, (0, 1), value=1)
            token = self.soft_token(found[-1][:, -1:])
            made = self.llm(
                inputs_embeds=token, attention_mask=seen, position_ids=length + step, past_key_values=past,
                use_cache=True,
            )  # fmt: skip
            found.append(made.last_hidden_state)
        return torch.cat(found, dim=1)

    def _begin(self, text: dict[str, Tensor], kept: Tensor | None) -> tuple[Tensor, Any, Tensor]:
        """States of what is read, all layers' keys and values, and in which of their columns there is a token."""
        mask, vectors = text["attention_mask"], self.embed(text)
        shared = self.shared_tokens(text)
        padded = not bool(on_host(mask).all())
        fits = packs(self.llm, shared + mask.shape[1] + self.tokens)
        if (padded or shared) and fits and self.llm.config._attn_implementation == PACKED:
            before = (self._prefix(text, vectors, shared) if shared else None) or {}
            layout = Layout(mask, causal=True, prefix=before or None, skip=shared if before else 0, record=True)
            with only_for(self.llm, None if kept is None else layout.pack(kept)):
                states = run_packed(self.llm, layout, inputs_embeds=layout.pack(vectors))
            if states is not None:
                past = DynamicCache()
                for number, (layer, own) in enumerate(layout.recorded.items()):
                    pair = [layout.unpack(x.transpose(1, 2)).transpose(1, 2) for x in own]
                    if before:  # it stands in front of the padding: a token's place is told by its position alone
                        starts = (x.expand(len(mask), -1, -1, -1) for x in before[layer])
                        pair = [torch.cat(both, dim=2) for both in zip(starts, pair, strict=True)]
                    past.update(pair[0], pair[1], number)
                seen = layout.unpack(mask.new_ones(1, states.shape[1]))
                return layout.unpack(states), past, pad(seen, (shared if before else 0, 0), value=1)
            self.llm.config._attn_implementation = "sdpa"  # this LLM cannot be packed
        with only_for(self.llm, kept):
            made = self._whole(vectors, mask, keep=True)
        return made.last_hidden_state, made.past_key_values, mask

    def _states_anew(self, text: dict[str, Tensor]) -> Tensor:
        """The same without keys and values, which gradient checkpointing does not keep: all is read K + 1 times."""
        vectors, mask = self.embed(text), text["attention_mask"]
        for _ in range(self.tokens):
            token = self.soft_token(self._whole(vectors, mask).last_hidden_state[:, -1:])
            vectors, mask = torch.cat([vectors, token.to(vectors)], dim=1), pad(mask, (0, 1), value=1)
        return self._whole(vectors, mask).last_hidden_state

    def _whole(self, vectors: Tensor, mask: Tensor, *, keep: bool = False) -> Any:
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        return self.llm(inputs_embeds=vectors, attention_mask=mask, position_ids=positions, use_cache=keep)

    def soft_token(self, states: Tensor) -> Tensor:
        """The mean token vector after states ``(..., width)``, weighted by the next token's probability."""
        embedding = self.llm.get_input_embeddings()
        table = embedding.weight
        logits = linear(states.to(table.dtype), table if self.head is None else self.head).float()
        if cap := getattr(self.llm.config, "final_logit_softcapping", None):
            logits = cap * torch.tanh(logits / cap)
        mean = logits.softmax(dim=-1).to(table.dtype) @ table
        return mean * getattr(embedding, "embed_scale", 1.0)  # Gemma's token vectors are longer than its table's

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """Mean over the soft tokens, ``(batch, width)``; in training over the first k for every k, side by side."""
        soft = states[_last(roles, self.steps)].unflatten(0, (len(states), self.steps)).float()
        if not self.training:
            return soft.mean(dim=1)
        counts = torch.arange(1, self.steps + 1, device=soft.device).unsqueeze(1)
        return (soft.cumsum(dim=1) / counts).flatten(1)

    def kept(self, roles: Tensor) -> Tensor:
        """The soft tokens and the last token before them, which the first is made of, ``(batch, length)``."""
        return _last(roles, self.tokens + 1)

    @property
    def steps(self) -> int:
        """Vectors of a text in training."""
        return max(1, self.tokens)

    def combine(self, losses: Tensor) -> Tensor:
        """The loss of all steps, of that of each, ``(steps,)``."""
        rises = (losses + 1e-8).log().diff().relu()
        return losses.mean() + self.penalty * rises.sum() / max(1, len(rises))

    def own_products(self) -> tuple[float, float, float]:
        """Multiplications per text, of states by the head and of probabilities by the embedding."""
        return 2.0 * self.tokens * self.llm.get_input_embeddings().weight.numel(), 0.0, 0.0


def _last(roles: Tensor, count: int) -> Tensor:
    """Each text's last tokens, ``(batch, length)``."""
    real = roles != Role.NONE
    return real & (real.flip(1).cumsum(dim=1).flip(1) <= count)


def head_of(folder: Path) -> Tensor:
    """The head of a language model in a folder.

    Raises:
        ValueError: It has none, or one with a bias.
    """
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            if HEAD in file.keys() and "lm_head.bias" not in file.keys():  # noqa: SIM118
                return file.get_tensor(HEAD)
    raise ValueError(
        f"{folder} holds no {HEAD} (without a bias), which predicts the soft tokens; take a base with one, or one that "
        "predicts by its embedding (tie_word_embeddings)"
    )
