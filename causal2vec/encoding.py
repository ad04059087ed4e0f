"""Many texts to vectors, fast: batches of a number of tokens, not of texts, and no time lost on tokenising.

What sentence-transformers' ``encode`` does, for this suite's models: texts are sorted by length and a batch holds as
many as fit a budget of tokens, so that its working set stays in the processor's caches whatever the texts' lengths;
where a GPU computes, a thread tokenises ahead; an instruction is read once for all texts (`causal2vec.speed.packing`);
layers are computed as is fastest on a processor (`causal2vec.speed.cpu_layers`). The vectors are the same but for
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from causal2vec.speed.cpu_layers import fast_layers

if TYPE_CHECKING:
    from torch import Tensor

BATCH_TOKENS = {"cpu": {"float32": 1024, "half": 4096}, "cuda": {"float32": 16384, "half": 32768}}
"""Tokens of a batch, by device and number format: on a CPU as many as its caches hold, and more in bfloat16, which
multiplies so fast that a call's own cost shows (measured, see docs/speed.md); on a GPU what keeps it busy (assumed)."""

WINDOW = 2048
"""Texts tokenised at a time."""

FIRST = 256
"""Texts of the first window where a GPU waits for it."""

AHEAD = 1
"""Batches that a GPU is given while another is not done yet, so that it never waits for the next."""

BESIDE = {"attention_mask": ("input_ids", "roles"), "pre_mask": ("pre_ids",)}
"""Masks, and the features of the same shape."""


def tokens_per_batch(device: str, dtype: str) -> int:
    """Tokens per batch where nobody says otherwise, on ``cpu`` or ``cuda`` in a number format such as ``bfloat16``."""
    return BATCH_TOKENS.get(device, BATCH_TOKENS["cpu"])["half" if dtype.endswith("float16") else "float32"]


def encodes(model: Any) -> bool:
    """Whether `encode` knows how to read a SentenceTransformer's features: the models of this suite."""
    return hasattr(model[0], "parts")


def encode(
    model: Any,
    texts: list[str],
    *,
    prompt: str | None = None,
    batch_tokens: int | None = None,
    progress: bool = False,
) -> np.ndarray:
    """Vectors ``(texts, dim)``, float32, in the order of the texts.

    Args:
        model: A SentenceTransformer of this suite (`encodes`).
        texts: Any number; memory grows by their vectors only.
        prompt: Put before every text.
        batch_tokens: Tokens per batch, without padding and beginnings that are shared; None: by device.
        progress: Whether to show a bar.

    Raises:
        ValueError: A text that is no string, or a prompt that leaves no room for it.
    """
    import torch
    from tqdm.auto import tqdm

    from causal2vec.speed.packing import send

    budget = batch_tokens or tokens_per_batch(model.device.type, str(next(model.parameters()).dtype))
    # Longest first, so that a lack of memory shows at once; characters are near enough to sort the windows.
    order = np.argsort([-len(text) if isinstance(text, str) else 0 for text in texts], kind="stable")
    result = np.empty((len(texts), model.get_embedding_dimension()), dtype=np.float32)
    bar = tqdm(total=len(texts), desc="Texts", unit="text", disable=not progress)
    waiting: list[tuple[np.ndarray, Callable[[], np.ndarray]]] = []

    def take(most: int) -> None:
        while len(waiting) > most:
            rows, made = waiting.pop(0)
            result[rows] = made()
            bar.update(len(rows))

    model.eval()
    with torch.inference_mode(), fast_layers(model), _prefixes_kept(model[0]), bar:
        for places, features in _tokenised(model, texts, order, prompt):
            for rows in token_batches(_tokens(model[0], features), budget):
                batch = {name: send(value, model.device) for name, value in select(features, rows).items()}
                waiting.append((places[rows], _on_its_way(model(batch)["sentence_embedding"].float())))
                take(AHEAD if model.device.type == "cuda" else 0)
        take(0)
    return result


def token_batches(lengths: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Rows, longest first, in batches of at most ``budget`` tokens; a longer text is a batch of its own."""
    order = np.argsort(-lengths, kind="stable")
    start = total = 0
    for place, row in enumerate(order):
        if place > start and total + lengths[row] > budget:
            yield order[start:place]
            start, total = place, 0
        total += lengths[row]
    if len(order):
        yield order[start:]


def select(features: dict[str, Tensor], rows: np.ndarray) -> dict[str, Tensor]:
    """Some rows of a batch of features, without the columns that are padding in all of them."""
    import torch

    index = torch.as_tensor(rows)
    chosen = {name: value[index] for name, value in features.items()}
    for mask, others in BESIDE.items():
        if mask in chosen:
            used = chosen[mask].any(dim=0).nonzero()
            first, last = int(used[0]), int(used[-1]) + 1
            for name in (mask, *others):
                if name in chosen:
                    chosen[name] = chosen[name][:, first:last]
    return chosen


def _on_its_way(vectors: Tensor) -> Callable[[], np.ndarray]:
    """What waits for vectors and gives them; from a GPU they are sent at once, in front of the next batch's work."""
    if vectors.device.type != "cuda":
        return vectors.cpu().numpy
    import torch

    sent, done = vectors.to("cpu", non_blocking=True), torch.cuda.Event()
    done.record()

    def arrived() -> np.ndarray:
        done.synchronize()
        return sent.numpy()

    return arrived


def _tokens(module: Any, features: dict[str, Tensor]) -> np.ndarray:
    """Tokens of each text that have to be computed."""
    shared = module.shared_tokens(features) if hasattr(module, "shared_tokens") else 0
    return features["attention_mask"].sum(dim=1).numpy() - shared


def _tokenised(
    model: Any, texts: list[str], order: np.ndarray, prompt: str | None
) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
    """Places and features of `WINDOW` texts at a time, the next one made in a thread meanwhile, if a GPU computes.

    A processor is busy with the model: there a thread only makes Python wait for Python (docs/speed.md).
    """
    first = 0 if model.device.type == "cpu" else min(FIRST, WINDOW)  # a GPU gets to work early
    starts = sorted({0, *range(min(first, len(order)), len(order), WINDOW)})
    windows = [order[start:end] for start, end in zip(starts, [*starts[1:], len(order)], strict=True) if start < end]

    def read(places: np.ndarray) -> dict[str, Tensor]:
        return model.preprocess([texts[place] for place in places], prompt=prompt)

    if model.device.type == "cpu":
        yield from ((places, read(places)) for places in windows)
        return
    with ThreadPoolExecutor(max_workers=1) as ahead:
        waiting = ahead.submit(read, windows[0]) if windows else None
        for number, places in enumerate(windows):
            assert waiting is not None
            features = waiting.result()
            waiting = ahead.submit(read, windows[number + 1]) if number + 1 < len(windows) else None
            yield places, features


@contextmanager
def _prefixes_kept(module: Any) -> Iterator[None]:
    """A beginning that texts share is kept from batch to batch: no weight changes meanwhile."""
    if not hasattr(module, "prefixes_read"):
        yield
        return
    module.prefixes_read = {}
    try:
        yield
    finally:
        module.prefixes_read = None
