"""In-context examples (bge-en-icl, Li et al., arXiv 2409.15700): first show the LLM queries with their answers.

The examples stand before the instruction of every query of a task, as in a few-shot prompt; the vector is the state at
EOS, where an answer would begin. The price is a prompt many times as long as the text. As it is the same for all
queries of a task and attention is causal, its keys and values can be computed once (`causal2vec.speed.packing`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from causal2vec.embedder import DecoderEmbedder, Piece, Role, mean_pool

INSTRUCT, RESPONSE = "<instruct>", "\n<response>"
"""The template's words for where a task begins and where its answer would; ``\\n<query>`` is part of the prompt."""


class InContext(DecoderEmbedder):
    """Causal LLM; examples, instruction and text, then the state at EOS. A text without a prompt stands bare.

    The prompt of a query is all that stands before it, for example
    ``<instruct>Find it\\n<query>a\\n<response>b\\n\\n<instruct>Find it\\n<query>``. What stands before its last
    ``<instruct>`` are the examples.

    Args:
        examples_max_length: The most tokens that the examples may take, beside the ``max_seq_length`` of
            instruction and text. The paper allows 2,048 with examples and 512 without; that the rest of 1,536 is
            theirs is assumed.
        shows_examples: Whether the examples of a prompt are read; without them it is the same template, zero-shot.
        most_examples: How many of them at most, from the first on; None: all that the prompt has.
    """

    config_keys: list[str] = [*DecoderEmbedder.config_keys, "examples_max_length", "shows_examples", "most_examples"]

    def __init__(
        self,
        loaded: dict[str, tuple[Any, Any]],
        max_seq_length: int = 512,
        add_bos: bool | None = None,
        chat: Sequence[str] | None = None,
        examples_max_length: int = 1536,
        shows_examples: bool = True,
        most_examples: int | None = None,
    ) -> None:
        super().__init__(loaded, max_seq_length, add_bos, chat)
        self.examples_max_length, self.shows_examples = examples_max_length, shows_examples
        self.most_examples = most_examples

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """``[BOS]examples instruction text\\n<response>[EOS]``; a document is ``[BOS]text[EOS]``."""
        examples, instruction = self._split(prompt)
        return [
            *self.bos,
            Piece(examples, extra=True),
            Piece(instruction),
            Piece(text, role=Role.TEXT, cut=True),
            Piece(RESPONSE if prompt else ""),
            *self.eos,
        ]

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """The state at EOS, ``(batch, width)``."""
        return mean_pool(states, self.kept(roles))

    def kept(self, roles: Tensor) -> Tensor:
        """EOS, ``(batch, length)``."""
        return roles == Role.EOS

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> dict[str, Tensor]:
        """See `DecoderEmbedder.preprocess`.

        Raises:
            ValueError: The examples are too long, or the instruction leaves no room for the text.
        """
        examples, _ = self._split(prompt or "")
        taken = len(self.tokenizers["llm"](examples, add_special_tokens=False)["input_ids"]) if examples else 0
        if taken > self.examples_max_length:
            raise ValueError(
                f"the in-context examples take {taken} tokens, more than examples_max_length="
                f"{self.examples_max_length}; shorten them or show fewer, or raise examples_max_length"
            )
        return super().preprocess(inputs, prompt, **kwargs)

    def _split(self, prompt: str) -> tuple[str, str]:
        """Examples and instruction of a prompt."""
        starts = [found.start() for found in re.finditer(re.escape(INSTRUCT), prompt)] or [0]
        shown = len(starts) - 1 if self.most_examples is None else min(self.most_examples, len(starts) - 1)
        none = not self.shows_examples or self.most_examples == 0
        return "" if none else prompt[: starts[shown]], prompt[starts[-1] :]
