"""How fast this machine really is: a training step and an encoding pass at the configuration's own shapes."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from causal2vec.config import Config
from causal2vec.efficiency.architecture import (
    Architecture,
    forward_flops,
    load_architecture,
    lora_parameters,
    training_flops,
)
from causal2vec.efficiency.machine import timed
from causal2vec.runtime.files import write_json
from causal2vec.runtime.machine import peak_memory_mb
from causal2vec.runtime.signals import ends_with_us
from causal2vec.speed.cpu_layers import fast_layers

MOST_TOKENS = {"cpu": 4096, "cuda": 16384}
"""Tokens of a measured step at most: enough to fill the device, few enough to be quick."""

ENCODED_WIDTH = 64
"""Tokens per text of the measured encoding: MTEB's texts are short in the mean."""

MIN_SECONDS, MIN_ROUNDS = 4.0, 3


def calibrate(config: Config, output: Path, *, device: str, dtype: str, work: Path) -> dict[str, Any]:
    """Measure the first base's achieved FLOP/s and write them to ``output`` (JSON).

    The base is the prepared one, or one of its shape with random weights: that takes the same time. FLOPs are those
    of `causal2vec.efficiency.architecture`, so a plan for the same machine gives the measured seconds back.

    Args:
        config: Whose base, adapters, batch and lengths are taken.
        output: The file.
        device, dtype: ``cpu`` or ``cuda``; ``float32`` or ``bfloat16``.
        work: Where prepared models lie.

    Returns:
        ``training_flops`` and ``encoding_flops`` per second, the shapes measured, and the machine's description.

    Raises:
        UserError: The base's shape cannot be had.
    """
    import torch

    torch.set_num_threads(config.compute.threads)
    name = config.bases[0]
    shape = load_architecture(name, config.models[name], work)
    training = _training(config, shape, work / "models" / name, device, dtype)
    peak = peak_memory_mb(device)
    encoding = _encoding(config, shape, work / "models" / name, device, dtype)
    facts = {
        "base": name,
        "device": device,
        "dtype": dtype,
        "threads": config.compute.threads,
        "device_name": _device_name(device),
        "memory_bytes": _memory(device),
        "imports_seconds": round(_imports(), 1),
        "peak_memory_mb": peak,
        **training,
        **encoding,
    }
    write_json(output, facts)
    return facts


def _training(config: Config, shape: Architecture, folder: Path, device: str, dtype: str) -> dict[str, Any]:
    """One step as the trainer takes it: adapters, automatic mixed precision, AdamW."""
    import torch

    from causal2vec.training.lora import adapted, compute_twice

    budget = config.budget
    rows = _rows(2 * (budget.mini_batch_size or budget.batch_size), budget.max_length, device)
    model = _model(shape, folder, device, dtype if device == "cuda" else "float32")
    if budget.gradient_checkpointing:
        compute_twice(model)
    model = adapted(model, budget.lora).train()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-4)
    inputs = _inputs(shape, rows, budget.max_length, device)

    def step() -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = model(**inputs, use_cache=False).last_hidden_state.float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    seconds = _median_seconds(step, device)
    flops = training_flops(
        shape, rows * budget.max_length, budget.max_length,
        adapters=lora_parameters(shape, budget.lora), checkpointing=budget.gradient_checkpointing,
    )  # fmt: skip
    return {
        "training_flops": round(flops / seconds),
        "training_seconds": round(seconds, 4),
        "training_shape": [rows, budget.max_length],
    }


def _encoding(config: Config, shape: Architecture, folder: Path, device: str, dtype: str) -> dict[str, Any]:
    """A batch without gradients, weights in the number format of the evaluation."""
    import torch

    width = min(ENCODED_WIDTH, config.evaluation.max_length)
    rows = _rows(config.evaluation.batch_size, width, device)
    model = _model(shape, folder, device, dtype).eval()
    inputs = _inputs(shape, rows, width, device)

    def encode() -> None:
        with torch.inference_mode():
            model(**inputs, use_cache=False)

    with fast_layers(model):
        seconds = _median_seconds(encode, device)
    return {
        "encoding_flops": round(forward_flops(shape, rows * width, width) / seconds),
        "encoding_seconds": round(seconds, 4),
        "encoding_shape": [rows, width],
    }


def _rows(wanted: int, width: int, device: str) -> int:
    return max(1, min(wanted, MOST_TOKENS[device] // width))


def _model(shape: Architecture, folder: Path, device: str, dtype: str) -> Any:
    """A model folder's, or random weights drawn on the device: a 7B LLM in float32 is too much for many a host."""
    import torch
    from transformers import AutoModel

    kind = getattr(torch, dtype)
    if (folder / "config.json").is_file():
        return AutoModel.from_pretrained(folder, dtype=kind).to(device)
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModel.from_config(shape.model.config, dtype=kind)


def _inputs(shape: Architecture, rows: int, width: int, device: str) -> dict[str, Any]:
    """Ids and a mask with some padding: without any, attention would take a faster way than in a real batch."""
    import torch

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(shape.vocabulary, (rows, width), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, : width // 4] = 0
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def _median_seconds(step: Callable[[], None], device: str) -> float:
    step()  # warms caches and allocators up
    times: list[float] = []
    while len(times) < MIN_ROUNDS or sum(times) < MIN_SECONDS:
        times.append(timed(step, device))
    return statistics.median(times)


def _imports() -> float:
    """Seconds that a job takes to start: Python and the libraries."""
    start = time.perf_counter()
    words = [sys.executable, "-c", "import sentence_transformers, mteb"]
    subprocess.run(words, check=False, capture_output=True, preexec_fn=ends_with_us)
    return time.perf_counter() - start


def _memory(device: str) -> float:
    import torch

    if device == "cuda":
        return float(torch.cuda.get_device_properties(0).total_memory)
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"this machine's processor ({platform.machine()})"
