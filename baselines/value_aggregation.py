"""Value aggregation (Zhang et al., arXiv 2602.01572): what attention passes on says more of a text than hidden states.

VA is the mean of attention's value vectors over tokens and layers. AlignedWVA weights the values by the attention that
the last token pays them and sends them through the output projection, which aligns them with the LLM's own space: that
is what attention adds to the last token's state, averaged over layers. Nothing is trained.

Confirmed (abstract): both, several layers and tokens, and that AlignedWVA wants a suitable prompt. Third-hand, from
others' code: the mean over the upper half of the layers (a reimplementation), and PromptEOL's template (a later work,
DySem, which adds up the last token's attention outputs over all layers). Assumed: the text's tokens alone; VA's input,
that of `mean_causal`; values as they are, one for every head of the keys; every layer weighs the same, without a norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from causal2vec.embedder import DecoderEmbedder, Piece, Role, check_layers, mean_pool

PROJECTIONS = {False: "self_attn.v_proj", True: "self_attn.o_proj"}
"""transformers' names of what gives the values, and what the weighted values come out of."""


class ValueAggregation(DecoderEmbedder):
    """Causal LLM; the mean of values over layers and the text, or weighted as the last token of a template sees them.

    Args:
        weighted: AlignedWVA instead of VA. An instruction is then ignored, as `prompt_eol` does.
        first, last: The layers that are read, counted from 1; None: the upper half, to the last.
    """

    config_keys: list[str] = [*DecoderEmbedder.config_keys, "weighted", "first", "last"]

    def __init__(
        self,
        loaded: dict[str, tuple[Any, Any]],
        max_seq_length: int = 512,
        add_bos: bool | None = None,
        chat: Sequence[str] | None = None,
        weighted: bool = False,
        first: int | None = None,
        last: int | None = None,
    ) -> None:
        super().__init__(loaded, max_seq_length, add_bos, chat)
        if chat and weighted:
            raise ValueError("nothing may stand behind the template, where the word would follow; remove chat: true")
        number = int(self.llm.config.num_hidden_layers)
        self.weighted, self.first, self.last = weighted, first, last
        self.sees_instruction = not weighted
        begin, end = number // 2 + 1 if first is None else first, number if last is None else last
        check_layers(self.llm, number)
        if not 1 <= begin <= end <= number:
            raise ValueError(f"first is {begin} and last is {end}; name layers from 1 to {number}, first to last")
        if len(self._projections()) != number:
            raise ValueError(
                f"{type(self.llm).__name__} does not have {PROJECTIONS[weighted]} in each of its {number} layers; "
                "run this method on another base"
            )
        self._read = slice(begin - 1, end)

    def _projections(self) -> list[Any]:
        """Of all layers, however adapters wrap them."""
        return [part for name, part in self.llm.named_modules() if name.endswith(PROJECTIONS[self.weighted])]

    @property
    def exit_layer(self) -> int | None:
        """The last layer that is read."""
        return self.last

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """``[BOS]instruction text``; weighted ``[BOS]This sentence : "text" means in one word:"``."""
        own = Piece(text, role=Role.TEXT, cut=True)
        if not self.weighted:
            return [*self.bos, Piece(prompt), own]
        return [*self.bos, Piece('This sentence : "'), own, Piece('" means in one word:'), Piece('"', role=Role.EOS)]

    def states(self, features: dict[str, Tensor], kept: Tensor | None = None) -> Tensor:
        """What is read of every token, in the mean over layers, ``(batch, length, dim)``.

        It takes the hidden states' place where they leave the LLM, so that it is unpacked as they are. Only hooks that
        last for the batch know of it; they are called for a beginning that is read once as well, and start anew.
        """
        total: list[Tensor] = []

        def add(_: Any, given: Any, made: Tensor) -> None:
            total[:] = [made.float() + sum(total)]

        def hand_on(_: Any, given: Any, made: Any) -> None:
            made.last_hidden_state = total.pop() / len(read)

        read = self._projections()[self._read]
        hooks = [*(part.register_forward_hook(add) for part in read), self.llm.register_forward_hook(hand_on)]
        try:
            return super().states(features, kept)
        finally:
            for hook in hooks:
                hook.remove()

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """Mean over the text's tokens, or the last token's alone, ``(batch, dim)``."""
        return mean_pool(states, self.kept(roles))

    def kept(self, roles: Tensor) -> Tensor:
        """The text's tokens, or the template's end, ``(batch, length)``."""
        return roles == (Role.EOS if self.weighted else Role.TEXT)

    def get_embedding_dimension(self) -> int:
        """Width of all heads' values, or the LLM's."""
        return int(self._projections()[0].out_features)
