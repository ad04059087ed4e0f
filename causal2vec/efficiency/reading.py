"""How many tokens a method reads of a text: its own code is asked, with a stand-in for the tokenizer.

So a stranger's method is counted as it is, whether it reads a text twice, adds tokens or has a second reader.
"""

from __future__ import annotations

import inspect
from collections import Counter
from typing import Any, NamedTuple

from causal2vec.config.runs import Run
from causal2vec.efficiency.architecture import Architecture

CHARACTERS_PER_TOKEN = 4.2
"""Of English text (assumed)."""


class Tokens(NamedTuple):
    """What a batch of texts becomes: rows, and tokens per row with padding, for the LLM and for the encoder.

    Of these, ``llm_real`` and ``encoder_real`` are left where a model is packed (`causal2vec.speed.packing`); where
    it cannot be, they are the same. ``head`` tokens of the LLM's are the beginning that all rows share, which may be
    read once; 0 where that is impossible.
    """

    rows: int
    llm: float
    encoder: float
    llm_real: float = 0.0
    encoder_real: float = 0.0
    head: int = 0


class StandInTokenizer:
    """A tokenizer that knows only how long a text is."""

    bos_token_id, eos_token_id, pad_token_id, unk_token_id, mask_token_id = 1, 2, 0, 3, 4
    bos_token, eos_token, pad_token, unk_token = "<s>", "</s>", "<pad>", "<unk>"
    model_max_length = 1_000_000

    def __call__(self, text: Any = "", *args: Any, **options: Any) -> dict[str, Any]:
        """Ids of a text or of several, one per `CHARACTERS_PER_TOKEN` characters; padded tensors if asked for."""
        if isinstance(text, str):
            return {key: rows[0] for key, rows in self._rows([text], options).items()}
        rows = self._rows(list(text), options)
        if options.get("return_tensors") != "pt":
            return rows
        import torch

        width = max(map(len, rows["input_ids"]))
        return {
            "input_ids": torch.ones(len(rows["input_ids"]), width, dtype=torch.long),
            "attention_mask": torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows["input_ids"]]),
        }

    def convert_tokens_to_ids(self, token: Any) -> int:
        """Some id."""
        return 5

    def _rows(self, texts: list[str], options: dict[str, Any]) -> dict[str, Any]:
        special = 1 if options.get("add_special_tokens", True) else 0
        limit = options.get("max_length") if options.get("truncation") else None
        counts = [int(-(-len(text) // CHARACTERS_PER_TOKEN)) for text in texts]
        counts = [min(count, (limit or self.model_max_length) - special) for count in counts]
        rows = [[self.bos_token_id] * special + [5] * count for count in counts]
        ends = [[round((k + 1) * CHARACTERS_PER_TOKEN) for k in range(count)] for count in counts]
        spans = [[(0, min(end, len(t))) for end in row] for t, row in zip(texts, ends, strict=True)]
        return {
            "input_ids": rows,
            "attention_mask": [[1] * len(row) for row in rows],
            "offset_mapping": [[(0, 0)] * special + row for row in spans],
        }


class Reader:
    """A run's method, built on shapes without weights.

    Args:
        run: The run; its settings and inputs go to the method as they do in training.
        parts: The architecture of each part (``llm``, ``encoder``).
    """

    def __init__(self, run: Run, parts: dict[str, Architecture]) -> None:
        self.parts = parts
        self.understood = True
        self.module: Any = None
        try:
            self.module = build(run, parts)
            self.count(["text"], "", run.budget.max_length)
        except Exception:  # a stranger's method may ask its tokenizer for what the stand-in does not have
            self.understood = False

    def learning(self) -> dict[str, int]:
        """Weights that learn, by part, the LLM's adapters not counted; new weights are under ``own``."""
        if not self.understood:
            return {}
        counts: Counter[str] = Counter()
        for name, parameter in self.module.named_parameters():
            part = name.split(".")[0]
            if part != "llm" and parameter.requires_grad:
                counts[part if part in self.parts else "own"] += parameter.numel()
        return counts

    def own_parameters(self) -> int:
        """New weights that no part holds, such as a projection."""
        if not self.understood:
            return 0
        return sum(p.numel() for n, p in self.module.named_parameters() if n.split(".")[0] not in self.parts)

    def count(self, texts: list[str], prompt: str, max_length: int) -> Tokens:
        """Rows and padded tokens per row of a batch of texts, each after a prompt and cut at ``max_length``.

        A text that the method refuses (a prompt that fills the whole length) counts as ``max_length`` tokens.
        """
        if not self.understood:
            longest = max(len(prompt) + len(text) for text in texts) / CHARACTERS_PER_TOKEN + 2
            width = min(longest, max_length)
            counts = (width, 0.0) if "llm" in self.parts else (0.0, width)
            return Tokens(len(texts), *counts, *counts)
        self.module.max_seq_length = max_length
        features = self.module.preprocess(texts, prompt or None)
        if "llm" not in self.module.parts:
            width, real = self._packed("encoder", features["attention_mask"])
            return Tokens(len(texts), 0.0, width, 0.0, real)
        width, real = self._packed("llm", features["attention_mask"])
        encoder = self._packed("encoder", features["pre_mask"]) if "pre_mask" in features else (0.0, 0.0)
        head = int(features["head"][0]) if getattr(self.module, "reuses_prefix", False) else 0
        return Tokens(len(texts), width, encoder[0], real, encoder[1], head)

    def _packed(self, part: str, mask: Any) -> tuple[float, float]:
        """Tokens per row of a part with padding, and those that are computed."""
        from causal2vec.speed.packing import let_pack, packs

        width, model = int(mask.shape[1]), getattr(self.module, part)
        able = hasattr(self.module, "reuses_prefix") if part == "llm" else model.config.model_type == "bert"
        if not (able and hasattr(self.module, "encoder_states")):  # a stranger's own way to run it
            return width, width
        let_pack(model)
        return width, float(mask.sum()) / len(mask) if packs(model, width) else width


def build(run: Run, parts: dict[str, Architecture], tokenizers: dict[str, Any] | None = None) -> Any:
    """A run's method on shapes without weights, with stand-ins for the tokenizers unless they are given."""
    import torch

    from causal2vec.models.build import method_class

    cls = method_class(run.spec.module)
    wanted = {"max_seq_length": run.budget.max_length, **run.inputs, **run.settings}
    settings = {key: value for key, value in wanted.items() if key in inspect.signature(cls).parameters}
    loaded = {part: (parts[part].model, (tokenizers or {}).get(part) or StandInTokenizer()) for part in cls.parts}
    with torch.device("meta"):
        module = cls(loaded, **settings)
    if hasattr(module, "reuses_prefix"):
        module.reuses_prefix &= getattr(module.llm.config, "is_causal", True)
    for model, _ in loaded.values():
        model.config.is_causal = True  # a method may have changed the shared shape
    return module
