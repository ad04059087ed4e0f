"""The control: Causal2Vec's small encoder alone, without any LLM. What it scores, the LLM need not explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from causal2vec.embedder import Embedder, mean_pool


class EncoderOnly(Embedder):
    """A BERT-style encoder with mean pooling.

    Args:
        max_seq_length: The most tokens the encoder sees, its special tokens included.
        sees_instruction: Whether the instruction is put before the text; the same default as Causal2Vec's encoder.
        prefixes: What the encoder was trained to find before a query and before a document; the same as there.
    """

    parts: ClassVar[tuple[str, ...]] = ("encoder",)
    config_keys: list[str] = ["max_seq_length", "sees_instruction", "prefixes"]
    encoder: Any

    def __init__(
        self,
        loaded: dict[str, tuple[Any, Any]],
        max_seq_length: int = 512,
        sees_instruction: bool = False,
        prefixes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(loaded, max_seq_length)
        self.prefixes = list(prefixes) if prefixes else None
        self.sees_instruction = sees_instruction

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> dict[str, Tensor]:
        """Texts to ``input_ids`` and ``attention_mask``, each ``(batch, length)``."""
        ids, mask = self.encoder_inputs(inputs, prompt, self.sees_instruction)
        return {"input_ids": ids, "attention_mask": mask}

    def forward(self, features: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        """Add ``sentence_embedding`` ``(batch, width)``, in float32."""
        mask = features["attention_mask"]
        states = self.encoder_states(features["input_ids"], mask)
        features["sentence_embedding"] = mean_pool(states, mask)
        return features

    def get_embedding_dimension(self) -> int:
        """The encoder's width."""
        return int(self.encoder.config.hidden_size)
