"""What all methods share: how an LLM reads a batch of texts, and how a model is saved and opened.

A method says only which tokens go in (`DecoderEmbedder.pieces`), which attention mask is used, and which
hidden states come out (`DecoderEmbedder.pool`). This file needs nothing of this project: it is copied beside
every saved model, so that `SentenceTransformer(path, trust_remote_code=True)` opens it anywhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules import InputModule
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from causal2vec.speed.last_layer import only_for
from causal2vec.speed.packing import (
    PACKED,
    WORTHWHILE,
    Layout,
    Prefix,
    avoids,
    let_pack,
    on_host,
    packs,
    run_packed,
    shared_beginning,
)

__all__ = ["DecoderEmbedder", "Embedder", "Piece", "Role", "check_layers", "mean_pool", "positions_of"]

POSITIONS = ("position_embeddings", "embed_positions", "positions_embed", "wpe")
"""transformers' names of what holds a vector per position."""


class Role(IntEnum):
    """What a token is to the pooling."""

    NONE = 0
    TEXT = 1
    EOS = 2
    CONTEXTUAL = 3
    PLACEHOLDER = 4


class Piece(NamedTuple):
    """A stretch of the LLM's input: characters, or one special token.

    ``text`` and the pieces beside it are tokenised as one string, so that a word after ``Query: `` gets the
    token it has in running text. ``cut`` marks a copy of the user's text, which alone may be shortened; ``extra`` what
    has room of its own beside ``max_seq_length``, such as in-context examples. A text that is read in blocks is one cut
    piece per ``block``, numbered from 1: together they are shortened as one copy, and a block that is left without text
    takes all its pieces with it.
    """

    text: str = ""
    role: Role = Role.NONE
    cut: bool = False
    token: int | None = None
    extra: bool = False
    block: int = 0


def tokenise(tokenizer: Any, rows: list[list[Piece]], end: int) -> list[list[tuple[Piece, list[int]]]]:
    """Token ids of every piece. A token that spans two pieces belongs to the one it ends in.

    An empty text is the text that ends at once: it gets the id ``end``. A later block may be left without a token.
    """
    encoded = tokenizer(
        ["".join(piece.text for piece in row) for row in rows],
        add_special_tokens=False,
        return_offsets_mapping=True,
        verbose=False,
    )
    result = []
    for row, ids, offsets in zip(rows, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        ends = [stop for _, stop in offsets]
        start = boundary = 0
        tokenised = []
        for piece in row:
            boundary += len(piece.text)
            stop = bisect_right(ends, boundary, lo=start)
            own = ids[start:stop] if piece.token is None else [piece.token]
            tokenised.append((piece, own or ([end] if piece.cut and piece.block < 2 else [])))
            start = stop
        result.append(tokenised)
    return result


def shorten(row: list[tuple[Piece, list[int]]], max_length: int) -> list[tuple[list[int], int]]:
    """Shorten the copies of the text so that everything but the extra fits; each copy gets an equal share.

    Returns:
        Ids and role of each piece.

    Raises:
        ValueError: What is not the text fills ``max_length`` tokens already.
    """
    fixed = sum(len(ids) for piece, ids in row if not (piece.cut or piece.extra or piece.block > 1))
    share = (max_length - fixed) // max(1, sum(piece.cut and piece.block < 2 for piece, _ in row))
    if share < 1:
        raise ValueError(
            f"the instruction and special tokens take {fixed} of max_seq_length={max_length} tokens "
            "and leave none for the text; raise max_seq_length or shorten the instruction"
        )
    rooms = {0: share, **block_rooms(row, share)}
    return [
        (ids[: rooms[piece.block]] if piece.cut else ids if rooms[piece.block] else [], int(piece.role))
        for piece, ids in row
    ]


def block_rooms(row: list[tuple[Piece, list[int]]], room: int) -> dict[int, int]:
    """How many tokens of text each block keeps, where all have ``room`` together: they are shortened from the end."""
    lengths: dict[int, list[int]] = {}
    for piece, ids in row:
        if piece.cut or piece.block > 1:  # what belongs to the first block always stays, and is no part of the room
            lengths.setdefault(piece.block, [0, 0])[piece.cut] += len(ids)
    rooms = {}
    for block in range(1, max(lengths, default=0) + 1):
        beside, text = lengths[block]
        rooms[block] = max(0, min(text, room - beside))
        room -= beside + text if text else 0
    return rooms


def head_of(row: list[tuple[Piece, list[int]]]) -> list[int]:
    """The ids in front of all that depends on the text: BOS, an instruction, examples, a template's first words."""
    ids: list[int] = []
    for piece, own in row:
        if piece.cut or piece.role != Role.NONE:
            break
        ids += own
    return ids


def wrap(row: list[Piece], chat: list[str], closing_role: Role) -> list[Piece]:
    """The chat template's words around everything that is characters, not a special token."""
    places = [i for i, piece in enumerate(row) if piece.token is None]
    first, end = places[0], places[-1] + 1
    return [*row[:first], Piece(chat[0]), *row[first:end], Piece(chat[1], role=closing_role), *row[end:]]


def pad_left(rows: list[list[int]], value: int) -> Tensor:
    """Lists of ids as one tensor ``(rows, longest)``."""
    width = max(len(row) for row in rows)
    padded = np.full((len(rows), width), value, dtype=np.int64)
    for place, row in zip(padded, rows, strict=True):
        place[width - len(row) :] = row
    return torch.from_numpy(padded)


def clean(text: Any) -> str:
    """Any Python string as valid Unicode: a lone surrogate becomes '?' instead of a tokenizer's crash.

    Raises:
        ValueError: It is no string.
    """
    if not isinstance(text, str):
        raise ValueError(f"only strings can be embedded, but the input holds {type(text).__name__}: {text!r:.80}")
    return text.encode("utf-8", "replace").decode("utf-8")


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
        if "encoder" in loaded:
            longest = getattr(self.encoder.config, "max_position_embeddings", 512)
            self.encoder_length = min(longest, positions_of(self.encoder) or longest)

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
        if not config:  # the settings' defaults would give other vectors than the model was trained for
            raise ValueError(f"{model_name_or_path} lacks {cls.config_file_name}, the settings of {cls.__name__}")
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
            [before + clean(text) for text in texts],
            padding=True,
            padding_side="right",  # where positions begin with the text
            truncation=True,
            max_length=min(self.max_seq_length, self.encoder_length),
            return_tensors="pt",
        )
        ids, mask = encoded["input_ids"], encoded["attention_mask"]
        # A padding token may have no vector, and needs none.
        rows = self.encoder.get_input_embeddings().weight.shape[0]
        return ids.masked_fill((mask == 0) & (ids >= rows), 0), mask

    def encoder_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The last hidden states ``(batch, length, width)`` of the part ``encoder``; without padding where it is BERT's
        architecture, whose positions count from zero."""
        padded = not bool(on_host(mask).all())
        if padded and self.encoder.config.model_type == "bert":
            let_pack(self.encoder)
            if packs(self.encoder, ids.shape[1]):
                layout = Layout(mask, causal=False)
                states = run_packed(self.encoder, layout, input_ids=layout.pack(ids))
                if states is not None:
                    return layout.unpack(states)
                self.encoder.config._attn_implementation = "sdpa"
        return self.encoder(input_ids=ids, attention_mask=mask if padded else None).last_hidden_state

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
    reuses_prefix = True
    """Whether a beginning that all texts of a batch share is read once."""
    learns_prefix = False
    """The same in training, where it is exact without dropout and gradient checkpointing."""
    prefixes_read: dict[tuple[int, ...], Prefix] | None = None
    """A dict keeps prefixes from batch to batch; only for as long as no weight changes."""
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
        rows = self.llm.get_input_embeddings().weight.shape[0]
        for token in ("eos_token", "bos_token") if has_bos or add_bos else ("eos_token",):
            if (number := getattr(tokenizer, f"{token}_id")) >= rows:
                raise ValueError(
                    f"the tokenizer's {token} is number {number}, but the LLM has vectors for {rows} tokens only; "
                    f"correct {token} in its tokenizer_config.json"
                )
        let_pack(self.llm)
        self.bos = [Piece(token=tokenizer.bos_token_id)] if (has_bos if add_bos is None else add_bos) else []
        self.eos = [Piece(token=tokenizer.eos_token_id, role=Role.EOS)]

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """The LLM's input for one text, in order."""
        raise TypeError(f"{type(self).__name__} must say what its LLM reads: define pieces()")

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """Hidden states ``(batch, length, width)`` and roles ``(batch, length)`` to vectors ``(batch, dim)``."""
        raise TypeError(f"{type(self).__name__} must say which states it keeps: define pool()")

    def kept(self, roles: Tensor) -> Tensor | None:
        """Where `pool` looks, ``(batch, length)``: what nobody looks at need not be computed. None: everywhere."""
        return None

    @property
    def exit_layer(self) -> int | None:
        """How many layers are read; `pool` then gets the states behind the last of them, before any norm. None: all
        layers and the final norm."""
        return None

    def between(self, layer: int, states: Tensor, roles: Tensor) -> Tensor:
        """What the next layer is given of the states behind one, ``(..., tokens, width)``; not asked behind the last.

        A method that overrides it sees roles ``(..., tokens)`` in the same order as the states: padded texts, or texts
        end to end without padding and without a beginning that was read once. So it must find tokens by their role, and
        leave alone those in front of the first that has one.

        Args:
            layer: How many layers made the states, from 1 on.
            states, roles: Of all texts of a batch, text after text.
        """
        return states

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Within it the LLM ends behind `exit_layer`, so that no later layer is computed."""
        if self.exit_layer is None:
            yield
            return
        body = _body(self.llm)
        before = body.layers, body.norm, body.config.num_hidden_layers
        body.layers, body.norm = body.layers[: self.exit_layer], nn.Identity()
        body.config.num_hidden_layers = self.exit_layer
        try:
            yield
        finally:
            body.layers, body.norm, body.config.num_hidden_layers = before

    @contextmanager
    def _changed_between(self, roles: Tensor | None) -> Iterator[None]:
        """Within it every layer but the last hands on what `between` makes of its states."""
        if roles is None or type(self).between is DecoderEmbedder.between:
            yield
            return

        def hook(layer: int, made: Any) -> Any:
            states = made if isinstance(made, Tensor) else made[0]
            filled = nn.functional.pad(roles, (0, states.shape[1] - roles.shape[1]), value=int(Role.NONE))
            states = self.between(layer, states, filled.to(states.device))
            return states if isinstance(made, Tensor) else (states, *made[1:])

        hooks = [
            layer.register_forward_hook(lambda _, given, made, number=number: hook(number, made))
            for number, layer in enumerate(_body(self.llm).layers[:-1], start=1)
        ]
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()

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
        rows = [self.pieces(clean(text), prompt or "") for text in inputs]
        if self.chat:
            rows = [wrap(row, self.chat, self.closing_role) for row in rows]
        tokenised = tokenise(self.tokenizers["llm"], rows, self.eos[0].token or 0)
        spans = [shorten(row, self.max_seq_length) for row in tokenised]
        head = len(shared_beginning(map(head_of, tokenised)))
        return {
            "input_ids": pad_left([[i for ids, _ in row for i in ids] for row in spans], self._pad_id),
            "attention_mask": pad_left([[1 for ids, _ in row for _ in ids] for row in spans], 0),
            "roles": pad_left([[role for ids, role in row for _ in ids] for row in spans], int(Role.NONE)),
            "head": torch.full((len(rows),), head),
        }

    def forward(self, features: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        """Add ``sentence_embedding`` ``(batch, dim)``, in float32 whatever the model computes in."""
        states = self.states(features, self.kept(on_host(features["roles"])))
        features["sentence_embedding"] = self.pool(states, features["roles"]).float()
        return features

    def states(self, features: dict[str, Tensor], kept: Tensor | None = None) -> Tensor:
        """The LLM's last hidden states ``(batch, length, width)``, after its final norm.

        Without padding, and with the beginning that all texts share read once, where this LLM and its attention allow
        it (`causal2vec.speed.packing`); the states there, which no method keeps, are then zero. Those that are not
        ``kept`` may be void.
        """
        with self.cut():
            return self._states(features, kept)

    def _states(self, features: dict[str, Tensor], kept: Tensor | None) -> Tensor:
        roles = features.get("roles")
        mask, vectors = features["attention_mask"], self.embed(features)
        padded = not bool(on_host(mask).all())  # without padding no mask is needed, and attention is faster
        shared = self.shared_tokens(features)
        if (padded or shared) and packs(self.llm, mask.shape[1]):
            causal = getattr(self.llm.config, "is_causal", True)
            prefix = self._prefix(features, vectors, shared) if shared else None
            layout = Layout(mask, causal=causal, prefix=prefix, skip=shared if prefix else 0)
            packed = None if roles is None else layout.pack(roles)
            with only_for(self.llm, None if kept is None else layout.pack(kept)), self._changed_between(packed):
                states = run_packed(self.llm, layout, inputs_embeds=layout.pack(vectors))
            if states is not None:
                return layout.unpack(states)
            self.llm.config._attn_implementation = "sdpa"  # this LLM cannot be packed
        # Positions count real tokens, so that a text's vector does not depend on its neighbours' lengths.
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0) if padded else None
        with only_for(self.llm, kept), self._changed_between(roles):
            return self.llm(
                inputs_embeds=vectors, attention_mask=mask if padded else None, position_ids=positions, use_cache=False
            ).last_hidden_state

    def shared_tokens(self, features: dict[str, Tensor]) -> int:
        """How many tokens to read once for all texts of a batch; 0 where that is impossible or does not pay."""
        config = self.llm.config
        allowed = (
            getattr(config, "is_causal", True)
            and config._attn_implementation == PACKED
            and (self.learns_prefix or not self.training)
            and not avoids(self.llm, "prefix")
        )
        head = int(on_host(features["head"])[0]) if allowed and "head" in features else 0
        saved = head * (len(features["attention_mask"]) - (0 if self.prefixes_read is not None else 1))
        return head if self.reuses_prefix and saved >= WORTHWHILE else 0

    def _prefix(self, features: dict[str, Tensor], vectors: Tensor, length: int) -> Prefix | None:
        """Keys and values of the first ``length`` tokens, which are the same in every row."""
        start = int(on_host(features["attention_mask"])[0].argmax())
        ids = tuple(on_host(features["input_ids"])[0, start : start + length].tolist())
        if self.prefixes_read is not None and ids in self.prefixes_read:
            return self.prefixes_read[ids]
        layout = Layout(features["attention_mask"].new_ones(1, length), causal=True, record=True)
        if run_packed(self.llm, layout, inputs_embeds=vectors[:1, start : start + length]) is None:
            return None
        if self.prefixes_read is not None:
            self.prefixes_read[ids] = layout.recorded
        return layout.recorded

    @property
    def _pad_id(self) -> int:
        tokenizer = self.tokenizers["llm"]
        rows = self.llm.get_input_embeddings().weight.shape[0]
        has_pad = tokenizer.pad_token_id is not None and tokenizer.pad_token_id < rows  # nobody reads it, if it is one
        return tokenizer.pad_token_id if has_pad else tokenizer.eos_token_id


def check_layers(llm: Any, layer: int) -> None:
    """Make sure that an LLM can be cut behind a layer.

    Raises:
        ValueError: It has fewer layers, or calls its parts otherwise than Llama and its kin do.
    """
    body, number = _body(llm), int(llm.config.num_hidden_layers)
    if body is None:
        raise ValueError(f"{type(llm).__name__} has no layers and norm as Llama has them; read all its layers instead")
    if not 1 <= layer <= number:
        raise ValueError(f"layer is {layer}, but this LLM has {number} layers; name one of them")


def _body(llm: Any) -> Any:
    """The part of an LLM that holds its layers and final norm, however adapters wrap it; None where there is none."""
    found = (part for part in llm.modules() if "norm" in dict(part.named_children()))
    return next((part for part in found if isinstance(getattr(part, "layers", None), nn.ModuleList)), None)


def positions_of(model: Any) -> int | None:
    """How many tokens a transformers model has positions for; None where it computes them and knows no end.

    RoBERTa and its kin have no token at the first ones of their table, up to that of padding.
    """
    found = [table for name, table in model.named_modules() if name.rpartition(".")[2] in POSITIONS]
    for table in found:
        if (rows := getattr(table, "weight", None)) is not None and rows.ndim > 1:
            padding = getattr(table, "padding_idx", None)
            unused = getattr(table, "offset", 0) if padding is None else padding + 1
            return min(len(rows) - unused, getattr(model.config, "max_position_embeddings", len(rows)))
    rows = [rows for name, rows in model.named_buffers() if name.rpartition(".")[2] in POSITIONS and rows.ndim > 1]
    return len(rows[0]) if rows else None


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """Mean of the states where ``mask`` is non-zero, summed in float32.

    Args:
        states: ``(batch, length, width)``.
        mask: ``(batch, length)``; every row has at least one non-zero entry.
    """
    weights = mask.unsqueeze(-1).to(torch.float32)
    return (states.float() * weights).sum(dim=1) / weights.sum(dim=1)


def _open(path: str, subfolder: str, model_kwargs: dict[str, Any], place: dict[str, Any]) -> tuple[Any, Any]:
    model = AutoModel.from_pretrained(path, subfolder=subfolder, **place, **model_kwargs)
    return model.eval(), AutoTokenizer.from_pretrained(path, subfolder=subfolder, **place)
