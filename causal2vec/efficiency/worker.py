"""The process that one model is measured in."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, NamedTuple


class Model(NamedTuple):
    """A model folder, and what the table calls it."""

    method: str
    base: str
    path: str
    trainable_parameters: int


class Question(NamedTuple):
    """Texts to embed. ``max_length`` lifts the model's own limit."""

    texts: list[str]
    batch_size: int
    max_length: int | None


class Answer(NamedTuple):
    """What it took; tokens are means per text."""

    seconds: float
    llm_tokens: float
    encoder_tokens: float
    peak_memory_mb: float
    parameters: int


def serve(pipe: Any, model: Model, device: str, dtype: str, threads: int) -> None:
    """Load a model and answer questions until the pipe is closed; a failure is answered in words."""
    import torch

    from causal2vec.export import load_model

    torch.set_num_threads(threads)
    idle = _memory_mb("VmRSS")
    try:
        loaded = load_model(model.path, device, dtype)
        while True:
            pipe.send(_measure(loaded, pipe.recv(), device, idle))
    except EOFError:
        return
    except Exception as error:  # whatever it is, the parent must hear of it
        pipe.send(f"{type(error).__name__}: {error}")


def _measure(model: Any, question: Question, device: str, idle_mb: float) -> Answer:
    import torch

    own = model.max_seq_length
    model.max_seq_length = question.max_length or own
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        _reset_peak()
    start = time.perf_counter()
    model.encode(question.texts, batch_size=question.batch_size, show_progress_bar=False)
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else _memory_mb("VmHWM") - idle_mb
    llm_tokens, encoder_tokens = _count_tokens(model, question.texts)
    model.max_seq_length = own
    parameters = sum(p.numel() for p in model.parameters())
    return Answer(seconds, llm_tokens, encoder_tokens, peak, parameters)


def _count_tokens(model: Any, texts: list[str]) -> tuple[float, float]:
    """Mean tokens into the LLM and into the encoder, padding not counted."""
    features = model.preprocess(texts)
    read = float(features["attention_mask"].sum()) / len(texts)
    if "llm" not in model[0].parts:
        return 0.0, read
    return read, float(features["pre_mask"].sum()) / len(texts) if "pre_mask" in features else 0.0


def _memory_mb(key: str) -> float:
    """A memory figure of this process from the kernel, in MB; 0 where the kernel has none."""
    status = Path("/proc/self/status")
    found = re.search(rf"{key}:\s+(\d+) kB", status.read_text()) if status.is_file() else None
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def _reset_peak() -> None:
    """Let the kernel's high-water mark start anew (Linux; elsewhere the mark covers loading too)."""
    marker = Path("/proc/self/clear_refs")
    if marker.exists():
        marker.write_text("5")
