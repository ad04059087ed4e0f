"""An embedding model in a process of its own, as its user would have it: nobody else's memory, threads or settings."""

from __future__ import annotations

import gc
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from causal2vec.runtime.machine import keep_freed_memory, process_context
from causal2vec.speed.cpu_layers import fast_layers

if TYPE_CHECKING:
    import numpy as np

    from causal2vec.bench.encoding import Encode


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

    from causal2vec.bench.encoding import library_encode, library_model, our_encode, our_model

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
