"""What all methods share: how an LLM reads a batch of texts, and how a model is saved and opened.

A method says only which tokens go in (`DecoderEmbedder.pieces`), which attention mask is used, and which
hidden states come out (`DecoderEmbedder.pool`). This file needs nothing of this project: it is copied beside
every saved model, so that `SentenceTransformer(path, trust_remote_code=True)` opens it anywhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules import InputModule
from torch import Tensor
from transformers import AutoModel, AutoTokenizer


class Role(IntEnum):
    """What a token is to the pooling."""

    NONE = 0
    TEXT = 1
    EOS = 2
    CONTEXTUAL = 3


class Piece(NamedTuple):
    """A stretch of the LLM's input: characters, or one special token.

    ``text`` and the pieces beside it are tokenised as one string, so that a word after ``Query: `` gets the
    token it has in running text. ``cut`` marks a copy of the user's text, which alone may be shortened.
    """

    text: str = ""
    role: Role = Role.NONE
    cut: bool = False
    token: int | None = None


class Embedder(InputModule):
    """A sentence-transformers module made of pre-trained parts, saved one folder per part."""

    parts: ClassVar[tuple[str, ...]] = ()
    config_file_name: str = "embedder_config.json"
    config_keys: list[str] = ["max_seq_length"]
    max_seq_length: int
    prefixes: Sequence[str] | None = None
    encoder: Any

    def __init__(self, loaded: dict[str, tuple[Any, Any]], max_seq_length: int) -> None:
        super().__init__()
        self.tokenizers = {name: tokenizer for name, (_, tokenizer) in loaded.items()}
        for name, (model, _) in loaded.items():
            self.add_module(name, model)
        self.max_seq_length = max_seq_length
        self.tokenizer = self.tokenizers[self.parts[0]]

    @classmethod
    def build(cls, folders: dict[str, str], settings: dict[str, Any], **model_kwargs: Any) -> Embedder:
        """Make an untrained module.

        Args:
            folders: A model folder per part (``llm``, ``encoder``).
            settings: The keyword arguments of the class.
            model_kwargs: For ``AutoModel.from_pretrained``, for example ``dtype``.

        Raises:
            TypeError: A setting that the class does not have.
        """
        loaded = {part: _open(folders[part], "", model_kwargs, {}) for part in cls.parts}
        if "llm" in loaded and not getattr(loaded["llm"][0].config, "is_causal", True):
            loaded["llm"][0].config.is_causal = True  # a base left bidirectional; the method says what it wants
        module = cls(loaded, **settings)
        module.initialise()
        return module

    def initialise(self) -> None:
        """Give new weights their first values; called once, when the module is built, never on loading."""

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the settings, each part into its own folder, and whatever weights the parts do not hold."""
        self.save_config(output_path)
        for part in self.parts:
            folder = Path(output_path) / part
            getattr(self, part).save_pretrained(folder)
            self.tokenizers[part].save_pretrained(folder)
        if own := self._own_weights():
            save_file({key: value.contiguous() for key, value in own.items()}, Path(output_path) / "own.safetensors")

    @classmethod
    def load(  # type: ignore[override]
        cls, model_name_or_path: str, subfolder: str = "", model_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> Embedder:
        """Open what `save` wrote, from a folder or the hub; see sentence-transformers' ``Module.load``."""
        place: dict[str, Any] = {key: kwargs.get(key) for key in ("token", "revision")}
        place["local_files_only"] = bool(kwargs.get("local_files_only"))
        hub = {**place, "cache_dir": kwargs.get("cache_folder")}
        place |= {"subfolder": subfolder, "cache_folder": kwargs.get("cache_folder")}
        config = cls.load_config(model_name_or_path, **place)
        loaded = {
            part: _open(model_name_or_path, f"{subfolder}/{part}".lstrip("/"), model_kwargs or {}, hub)
            for part in cls.parts
        }
        module = cls(loaded, **config)
        if own := module._own_weights():
            path = cls.load_file_path(model_name_or_path, "own.safetensors", **place)
            if path is None:
                raise ValueError(f"{model_name_or_path} lacks own.safetensors, the weights of {', '.join(own)}")
            stored = load_file(path)
            if stored.keys() != own.keys():
                raise ValueError(f"{path} holds {sorted(stored)}, but {cls.__name__} needs {sorted(own)}")
            module.load_state_dict(stored, strict=False)
            dtype = next(getattr(module, cls.parts[0]).parameters()).dtype
            for name in {key.split(".")[0] for key in own}:
                getattr(module, name).to(dtype)
        return module

    def encoder_inputs(self, texts: Sequence[Any], prompt: str | None, sees: bool) -> tuple[Tensor, Tensor]:
        """Ids and mask ``(batch, length)`` for the part ``encoder``: prefix, instruction if it ``sees`` it, text.

        ``prefixes`` are what the encoder was trained to find before a query and before a document; a text with a
        prompt is a query. It reads as much of a text as ``max_seq_length`` says, within what its positions allow.
        """
        prefix = self.prefixes[0 if prompt else 1] if self.prefixes else ""
        before = prefix + (prompt or "" if sees else "")
        encoded = self.tokenizers["encoder"](
            [before + _clean(text) for text in texts],
            padding=True,
            truncation=True,
            max_length=min(self.max_seq_length, getattr(self.encoder.config, "max_position_embeddings", 512)),
            return_tensors="pt",
        )
        return encoded["input_ids"], encoded["attention_mask"]

    def _own_weights(self) -> dict[str, Tensor]:
        inside = tuple(f"{part}." for part in self.parts)
        return {key: value for key, value in self.state_dict().items() if not key.startswith(inside)}


class DecoderEmbedder(Embedder):
    """A method on a decoder-only LLM, with left padding: the last column is always a text's last token.

    Args:
        max_seq_length: The most tokens the LLM sees per text, instruction and special tokens included.
        add_bos: Start with BOS; ``None`` does what the tokenizer does by itself.
        chat: What the base's chat template puts before and after a turn, ``None`` for nothing. It goes around
            instruction and text, whatever the method's `pieces`, but behind BOS.
    """

    parts: ClassVar[tuple[str, ...]] = ("llm",)
    config_keys: list[str] = ["max_seq_length", "add_bos", "chat"]
    closing_role: ClassVar[Role] = Role.NONE
    llm: Any

    def __init__(
        self,
        loaded: dict[str, tuple[Any, Any]],
        max_seq_length: int = 512,
        add_bos: bool | None = None,
        chat: Sequence[str] | None = None,
    ) -> None:
        super().__init__(loaded, max_seq_length)
        self.add_bos, self.chat = add_bos, list(chat) if chat else None
        tokenizer = self.tokenizers["llm"]
        if tokenizer.eos_token_id is None:
            raise ValueError("the LLM's tokenizer has no EOS token; set eos_token in its tokenizer_config.json")
        natural = tokenizer("")["input_ids"]
        has_bos = bool(natural) and natural[0] == tokenizer.bos_token_id
        if add_bos and tokenizer.bos_token_id is None:
            raise ValueError("add_bos is true, but the LLM's tokenizer has no BOS token; set add_bos to false")
        self.bos = [Piece(token=tokenizer.bos_token_id)] if (has_bos if add_bos is None else add_bos) else []
        self.eos = [Piece(token=tokenizer.eos_token_id, role=Role.EOS)]

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """The LLM's input for one text, in order."""
        raise TypeError(f"{type(self).__name__} must say what its LLM reads: define pieces()")

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """Hidden states ``(batch, length, width)`` and roles ``(batch, length)`` to vectors ``(batch, dim)``."""
        raise TypeError(f"{type(self).__name__} must say which states it keeps: define pool()")

    def embed(self, features: dict[str, Tensor]) -> Tensor:
        """Token ids to the LLM's input vectors ``(batch, length, width)``."""
        return self.llm.get_input_embeddings()(features["input_ids"])

    def get_embedding_dimension(self) -> int:
        """Width of the vectors that `pool` returns."""
        return int(self.llm.config.hidden_size)

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> dict[str, Tensor]:
        """Texts to ``input_ids``, ``attention_mask`` and ``roles``, each ``(batch, length)``.

        Raises:
            ValueError: The instruction leaves no room for the text.
        """
        rows = [self._wrapped(self.pieces(_clean(text), prompt or "")) for text in inputs]
        spans = [self._spans(row) for row in self._tokenise(rows)]
        ids = _pad_left([[i for ids, _ in row for i in ids] for row in spans], self._pad_id)
        roles = _pad_left([[role for ids, role in row for _ in ids] for row in spans], int(Role.NONE))
        mask = _pad_left([[1 for ids, _ in row for _ in ids] for row in spans], 0)
        return {"input_ids": ids, "attention_mask": mask, "roles": roles}

    def forward(self, features: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        """Add ``sentence_embedding`` ``(batch, dim)``, in float32 whatever the model computes in."""
        features["sentence_embedding"] = self.pool(self.states(features), features["roles"]).float()
        return features

    def states(self, features: dict[str, Tensor]) -> Tensor:
        """The LLM's last hidden states ``(batch, length, width)``, after its final norm."""
        mask = features["attention_mask"]
        padded = not bool(mask.all())  # without padding no mask is needed, and attention is faster
        # Positions count real tokens, so that a text's vector does not depend on its neighbours' lengths.
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0) if padded else None
        return self.llm(
            inputs_embeds=self.embed(features),
            attention_mask=mask if padded else None,
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state

    def _wrapped(self, row: list[Piece]) -> list[Piece]:
        """The chat template's words around everything that is characters, not a special token."""
        if not self.chat:
            return row
        places = [i for i, piece in enumerate(row) if piece.token is None]
        first, end = places[0], places[-1] + 1
        closing = Piece(self.chat[1], role=self.closing_role)
        return [*row[:first], Piece(self.chat[0]), *row[first:end], closing, *row[end:]]

    @property
    def _pad_id(self) -> int:
        tokenizer = self.tokenizers["llm"]
        return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def _tokenise(self, rows: list[list[Piece]]) -> list[list[tuple[Piece, list[int]]]]:
        """Token ids of every piece. A token that spans two pieces belongs to the one it ends in."""
        encoded = self.tokenizers["llm"](
            ["".join(piece.text for piece in row) for row in rows],
            add_special_tokens=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        result = []
        for row, ids, offsets in zip(rows, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            ends = [end for _, end in offsets]
            start = boundary = 0
            tokenised = []
            for piece in row:
                boundary += len(piece.text)
                stop = bisect_right(ends, boundary, lo=start)
                own = ids[start:stop] if piece.token is None else [piece.token]
                # An empty text is the text that ends at once.
                tokenised.append((piece, own or ([self.eos[0].token] if piece.cut else [])))
                start = stop
            result.append(tokenised)
        return result

    def _spans(self, row: list[tuple[Piece, list[int]]]) -> list[tuple[list[int], int]]:
        """Shorten the copies of the text so that everything fits; each copy gets an equal share."""
        fixed = sum(len(ids) for piece, ids in row if not piece.cut)
        share = (self.max_seq_length - fixed) // max(1, sum(piece.cut for piece, _ in row))
        if share < 1:
            raise ValueError(
                f"the instruction and special tokens take {fixed} of max_seq_length={self.max_seq_length} tokens "
                "and leave none for the text; raise max_seq_length or shorten the instruction"
            )
        return [(ids[:share] if piece.cut else ids, int(piece.role)) for piece, ids in row]


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """Mean of the states where ``mask`` is non-zero, summed in float32.

    Args:
        states: ``(batch, length, width)``.
        mask: ``(batch, length)``; every row has at least one non-zero entry.
    """
    weights = mask.unsqueeze(-1).to(torch.float32)
    return (states.float() * weights).sum(dim=1) / weights.sum(dim=1)


def _pad_left(rows: list[list[int]], value: int) -> Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([[value] * (width - len(row)) + row for row in rows], dtype=torch.long)


def _clean(text: Any) -> str:
    """Any Python string as valid Unicode: a lone surrogate becomes '?' instead of a tokenizer's crash."""
    if not isinstance(text, str):
        raise ValueError(f"only strings can be embedded, but the input holds {type(text).__name__}: {text!r:.80}")
    return text.encode("utf-8", "replace").decode("utf-8")


def _open(path: str, subfolder: str, model_kwargs: dict[str, Any], place: dict[str, Any]) -> tuple[Any, Any]:
    model = AutoModel.from_pretrained(path, subfolder=subfolder, **place, **model_kwargs)
    return model.eval(), AutoTokenizer.from_pretrained(path, subfolder=subfolder, **place)
