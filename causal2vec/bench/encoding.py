"""Embedding texts: this suite beside sentence-transformers' ``encode``, on the same model, with the same vectors.

Ten thousand texts take the library minutes, too long for five repetitions of all contenders. What is timed is a
sample of them that keeps what makes the library fast: texts of like length stand together in its batches, so the
sample is made of stretches of texts that follow one another when all are sorted by length.
"""

from __future__ import annotations

import gc
import itertools
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from causal2vec.bench.limits import Ceiling, useful_work
from causal2vec.bench.materials import Effort, Materials, draw_texts, say
from causal2vec.bench.timing import Contender, Row, row, take_turns
from causal2vec.efficiency.machine import linear_layers
from causal2vec.runtime.machine import keep_freed_memory, process_context
from causal2vec.speed.cpu_layers import fast_layers

WORK = "embed texts of 8 to 400 tokens"
GOALS = (3.5, 1.8)
"""Texts per second, ours over the rival's at its defaults and at its best settings."""

DEFAULT_BATCH = 32
BATCHES = (8, 32, 128)
TRIED_AT = 0.4
"""The library's best settings are looked for on texts of this quantile of length, the longest first."""

AGREEMENT = 0.9999
"""The least cosine between vectors in float32."""

Encode = Callable[[list[str]], np.ndarray]


class Settings(NamedTuple):
    """How the library's ``encode`` is called."""

    dtype: str
    batch_size: int

    def __str__(self) -> str:
        return f"{self.dtype}, batch size {self.batch_size}"


class Side:
    """A contender that takes the slices one after the other, and keeps the vectors."""

    def __init__(self, encode: Encode, parts: list[list[str]]) -> None:
        self.encode, self.vectors = encode, list[np.ndarray]()
        self._turns = itertools.cycle(parts)

    def run(self) -> None:
        """The next slice."""
        self.vectors.append(self.encode(next(self._turns)))

    def contender(self, name: str, warm: list[str]) -> Contender:
        """As the clock wants it."""
        return Contender(name, self.run, lambda: self.encode(warm))


def compare_encoding(materials: Materials, effort: Effort) -> list[Row]:
    """Ours beside the library at its defaults, at its best settings, and exactly as a user gets it."""
    import torch

    torch.set_num_threads(materials.threads)
    ours = our_model(materials.base, materials.dtype)
    texts = draw_texts(materials.pairs, ours.tokenizer, effort.texts)
    texts.sort(key=len, reverse=True)  # as `encode` sorts them
    best, tried = best_settings(materials.base, texts)
    say(f"the library's best settings: {best} ({tried})")
    parts = slices(texts, effort.repetitions, effort.stretches, max(DEFAULT_BATCH, best.batch_size))
    goals = _with_goals(materials, ours, parts, texts, best, tried)
    return [*goals, _as_shipped(materials, ours, texts, effort)]


def slices(texts: list[str], repetitions: int, stretches: int, length: int) -> list[list[str]]:
    """For each repetition, ``stretches`` of ``length`` neighbouring texts, spread evenly over all; none twice.

    Args:
        texts: Sorted by length.
        repetitions: How many slices to make. They hold about as many tokens each: one that has the longer end of
            one layer of lengths has the shorter end of the next.
        stretches: Fewer are taken where the texts do not suffice.
        length: Texts of a stretch: whole batches.
    """
    available = len(texts) // length
    layers = max(1, min(stretches, available // repetitions))
    found = []
    for repetition in range(repetitions):
        chosen = []
        for layer in range(layers):
            first, beyond = (available * k // layers for k in (layer, layer + 1))
            place = repetition if layer % 2 == 0 else repetitions - 1 - repetition
            start = length * min(first + (2 * place + 1) * (beyond - first) // (2 * repetitions), available - 1)
            chosen += texts[start : start + length]
        found.append(chosen)
    return found


def our_model(base: Path, dtype: str) -> Any:
    """Last-token pooling on the base, untrained."""
    from sentence_transformers import SentenceTransformer

    from causal2vec.models.build import build_embedder

    settings = {"max_seq_length": 512, "add_bos": True}
    module = build_embedder("baselines.last_token.LastToken", {"llm": base}, settings, dtype)
    return SentenceTransformer(modules=[module], device="cpu")


def library_model(base: Path, dtype: str) -> Any:
    """The same by the library's own modules. A chat model would wrap every text in its template; this one does not."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    reader = Transformer(
        str(base),
        modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
        model_kwargs={"dtype": getattr(torch, dtype)},
    )
    pooling = Pooling(reader.get_embedding_dimension(), "lasttoken")
    return SentenceTransformer(modules=[reader, pooling], device="cpu")


def library_encode(model: Any, batch_size: int = DEFAULT_BATCH, *, bare: bool = False) -> Encode:
    """The library's ``encode``; BOS and EOS are put around each text as ours does, unless ``bare``."""
    first, last = ("", "") if bare else _frame(model.tokenizer)

    def encode(texts: list[str]) -> np.ndarray:
        framed = [f"{first}{text}{last}" for text in texts]
        return np.asarray(model.encode(framed, batch_size=batch_size, show_progress_bar=False), dtype=np.float32)

    return encode


def _frame(tokenizer: Any) -> tuple[str, str]:
    """BOS and EOS as characters, empty where the tokenizer adds them by itself."""
    alone = tokenizer("a")["input_ids"]
    first = "" if alone[0] == tokenizer.bos_token_id else tokenizer.bos_token
    return first, "" if alone[-1] == tokenizer.eos_token_id else tokenizer.eos_token


def our_encode(model: Any) -> Encode:
    """This suite's."""
    from causal2vec.encoding import encode

    return lambda texts: encode(model, texts)


def best_settings(base: Path, texts: list[str]) -> tuple[Settings, str]:
    """The fastest of the number formats at the default batch size, then of the batch sizes in that format.

    Args:
        base: The model.
        texts: Sorted by length.

    Returns:
        The settings, and in words what was tried, in seconds.
    """
    start = min(int(TRIED_AT * len(texts)), max(0, len(texts) - max(BATCHES)))
    some = texts[start : start + max(BATCHES)]
    models = {dtype: library_model(base, dtype) for dtype in ("float32", "bfloat16")}
    seconds: dict[Settings, float] = {}

    def trial(settings: list[Settings]) -> None:
        sides = [Side(library_encode(models[s.dtype], s.batch_size), [some]).contender(str(s), some) for s in settings]
        timings = take_turns(sides, 2)
        seconds.update({s: min(timings[str(s)].seconds) for s in settings})

    trial([Settings(dtype, DEFAULT_BATCH) for dtype in models])
    faster = min(seconds, key=lambda s: seconds[s]).dtype
    trial([Settings(faster, size) for size in BATCHES if size != DEFAULT_BATCH])
    best = min(seconds, key=lambda s: seconds[s])
    return best, "; ".join(f"{s}: {value:.2f} s" for s, value in seconds.items())


def _with_goals(
    materials: Materials, ours: Any, parts: list[list[str]], texts: list[str], best: Settings, tried: str
) -> list[Row]:
    dtype = materials.dtype
    names = [f"last_token, {dtype}", "encode, defaults (float32)", f"encode, best settings ({best})"]
    mine = Opening(materials.base, materials.threads, dtype)
    openings = [mine, mine._replace(dtype="float32", batch_size=DEFAULT_BATCH), mine._replace(**best._asdict())]
    warm = parts[0][:DEFAULT_BATCH]
    say(f"encoding: {len(parts)} repetitions of {len(parts[0])} texts, {len(openings)} contenders")
    with ExitStack() as stack, Ceiling(linear_layers(ours[0]), dtype) as ceiling:
        sides = [Side(opened(stack, opening), parts) for opening in openings]
        found = take_turns([side.contender(n, warm) for side, n in zip(sides, names, strict=True)], len(parts))
    flops = statistics.mean(useful_work(ours[0], part).flops for part in parts)
    exact = sides[0].vectors
    checked = ""
    if dtype != "float32":
        exact = [our_encode(our_model(materials.base, "float32"))(parts[0])]
        checked = f"; ours in {dtype} against float32: {_least_cosine(sides[0].vectors, sides[1].vectors):.4f}"
    cosine = _least_cosine(exact, sides[1].vectors)
    agree = "as demanded" if cosine >= AGREEMENT else f"BELOW {AGREEMENT}"
    common = (
        f"{len(parts)} × {len(parts[0])} of {len(texts):,} texts in stretches of neighbours by length; lowest cosine "
        f"of vectors in float32 {cosine:.6f} ({agree}){checked}; "
    )
    notes = [_padding(ours.tokenizer, parts, texts, DEFAULT_BATCH), f"tried: {tried}"]
    return [
        row(
            WORK, found[names[0]], found[name], amount=len(parts[0]), unit="texts", goal=goal,
            limit=found[name].median / ceiling.seconds(flops), note=common + note,
        )
        for name, goal, note in zip(names[1:], GOALS, notes, strict=True)
    ]  # fmt: skip


def _as_shipped(materials: Materials, ours: Any, texts: list[str], effort: Effort) -> Row:
    """The library as it opens the base by itself, with the chat template around every text if there is one."""
    from sentence_transformers import SentenceTransformer

    shipped = SentenceTransformer(str(materials.base), device="cpu")
    parts = slices(texts, effort.repetitions, max(1, effort.shipped // DEFAULT_BATCH), min(DEFAULT_BATCH, len(texts)))
    names = [f"last_token, {materials.dtype}", "encode, model opened by its name alone"]
    mine = Opening(materials.base, materials.threads, materials.dtype)
    openings = [mine, mine._replace(batch_size=DEFAULT_BATCH, bare=True)]
    with ExitStack() as stack, Ceiling(linear_layers(ours[0]), materials.dtype) as ceiling:
        sides = [Side(opened(stack, opening), parts) for opening in openings]
        found = take_turns([s.contender(n, parts[0]) for s, n in zip(sides, names, strict=True)], len(parts))
    extra = len(shipped.preprocess([""])["input_ids"][0])
    flops = statistics.mean(useful_work(ours[0], part).flops for part in parts)
    return row(
        WORK, *(found[name] for name in names), amount=len(parts[0]), unit="texts", goal=float("nan"),
        limit=found[names[1]].median / ceiling.seconds(flops),
        note=f"not the same vectors: the library puts {extra} tokens of its own around every text (a chat template, "
        f"where the model has one); {len(parts)} × {len(parts[0])} texts",
    )  # fmt: skip


def _least_cosine(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """The lowest cosine between the vectors of the slices that both have."""
    pairs = list(zip(ours, theirs, strict=False))
    a, b = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return float(((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def _padding(tokenizer: Any, parts: list[list[str]], texts: list[str], batch_size: int) -> str:
    """How much of what the library computes is padding, in the sample and if it were given all texts."""

    def share(some: list[str]) -> float:
        some = sorted(some, key=len, reverse=True)
        lengths = [len(own) for own in tokenizer(some, verbose=False)["input_ids"]]
        batches = [lengths[k : k + batch_size] for k in range(0, len(lengths), batch_size)]
        return 1 - sum(lengths) / sum(len(batch) * max(batch) for batch in batches)

    sample = statistics.mean(share(part) for part in parts)
    return f"padding is {sample:.0%} of what the library computes here, and {share(texts):.0%} with all texts at once"


class Opening(NamedTuple):
    """What the process opens.

    Attributes:
        base: The LLM's folder.
        threads: Processor threads.
        dtype: Number format of the weights.
        batch_size: Texts per batch of the library's ``encode``; None: ours.
        bare: The library opens the folder by its name, and nothing is put around a text.
    """

    base: Path
    threads: int
    dtype: str
    batch_size: int | None = None
    bare: bool = False


def opened(stack: ExitStack, opening: Opening) -> Encode:
    """A side's ``encode``; its process ends with the stack."""
    pool = stack.enter_context(ProcessPoolExecutor(1, process_context(["sentence_transformers"])))
    pool.submit(_open, opening).result()
    return lambda texts: pool.submit(_encode, texts).result()


_side: list[Encode] = []
_reordered = ExitStack()


def _open(opening: Opening) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    torch.set_num_threads(opening.threads)
    disable_progress_bar()
    if opening.batch_size is None:
        keep_freed_memory()  # as every job of ours does
        model = our_model(opening.base, opening.dtype)
        _reordered.enter_context(fast_layers(model))  # the same
        _side[:] = [our_encode(model)]
        gc.freeze()  # the same
    else:
        bare = opening.bare
        model = (
            SentenceTransformer(str(opening.base), device="cpu") if bare else library_model(opening.base, opening.dtype)
        )
        _side[:] = [library_encode(model, opening.batch_size, bare=bare)]


def _encode(texts: list[str]) -> np.ndarray:
    return _side[0](texts)
