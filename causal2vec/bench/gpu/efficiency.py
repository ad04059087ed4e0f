"""The efficiency study at the size of the paper: its rows, in the order of what they tell, until the time is over."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from causal2vec.bench.gpu import shapes
from causal2vec.bench.gpu.stage import Row, Stage
from causal2vec.config.settings import Efficiency
from causal2vec.efficiency.machine import linear_layers, matmul_rate, open_meter
from causal2vec.efficiency.measure import row_of
from causal2vec.efficiency.names import EXAMPLES, PLAIN
from causal2vec.efficiency.worker import Model, Question, answer
from causal2vec.efficiency.workloads import Workload, make_workloads
from causal2vec.encoding import tokens_per_batch
from causal2vec.speed.cpu_layers import fast_layers

REPEATS = 2
PAIRS = 400
"""Made-up pairs that texts and examples are taken from."""


def study(stage: Stage) -> None:
    """All methods on all workloads, the most telling first."""
    size = stage.size
    models = _models(size)
    rate = matmul_rate(
        linear_layers(models[0][1][0].llm), tokens_per_batch(size.device, size.dtype) if size.cuda else 64,
        size.dtype, size.device, seconds=0.05,
    )  # fmt: skip
    meter = open_meter(size.device)
    made = {"matmul_gflops": round(rate, 3), "dtype": size.dtype, "device": size.device, "threads": 1}
    made |= {"repeats": REPEATS, "batch_tokens": tokens_per_batch(size.device, size.dtype)}
    told: set[tuple[Any, ...]] = set()
    for workload in _workloads(size):
        for name, model in models:
            values = _measured(name, model, workload, size, meter, told)
            if values:
                stage.tell(Row({**values, **made}))


def _models(size: shapes.Size) -> list[tuple[str, Any]]:
    llm = shapes.random_model("mistral", size.llm, size.device, size.dtype)
    encoder = shapes.random_model("bert", size.encoder, size.device, size.dtype)
    return [(name, shapes.method(name, llm, encoder)) for name in shapes.METHODS]


def _measured(
    name: str, model: Any, workload: Workload, size: shapes.Size, meter: Any, told: set[tuple[Any, ...]]
) -> dict[str, Any] | None:
    """A row; None where there is nothing to measure, or where the row is among those ``told``: without an LLM
    examples have no tokens, whatever their length."""
    elsewhere = _held_elsewhere(model, size)

    def ask(task: str) -> Any:
        with fast_layers(model):
            return answer(model, Question(task, workload, None), size.device, size.dtype, 0.0, meter)

    counts = ask("count")
    key = (name, *workload.case[:3], counts.prompt_tokens) if counts else ()
    if counts is None or key in told:
        return None
    told.add(key)
    timings = [ask("time") for _ in range(REPEATS)]
    timings = [t._replace(peak_memory_mb=t.peak_memory_mb - elsewhere) for t in timings]
    known = Model(name, size.base, "", _learning(model[0]))
    return row_of(known, workload, counts, timings)


def _held_elsewhere(model: Any, size: shapes.Size) -> float:
    """MB of the other methods' weights, which are in memory too."""
    if not size.cuda:
        return 0.0
    own = {p.data_ptr(): p.nbytes for p in model.parameters()}
    return (torch.cuda.memory_allocated() - sum(own.values())) / 1e6


def _learning(module: Any) -> int:
    """Weights that learn: adapters of rank 16 on the LLM, all of the rest."""
    from causal2vec.config.settings import Lora
    from causal2vec.efficiency.architecture import lora_parameters
    from causal2vec.efficiency.machine import architecture

    adapters = lora_parameters(architecture(module.llm), Lora(rank=16)) if "llm" in module.parts else 0
    others = sum(p.numel() for name, p in module.named_parameters() if not name.startswith("llm."))
    return adapters + others


def _workloads(size: shapes.Size) -> list[Workload]:
    """Every condition, and once more with examples of every other length."""
    draw = random.Random(0)
    found: list[tuple[int, Workload]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pairs = {key: [shapes.text(draw.randint(8, 80), draw) for _ in range(PAIRS)] for key in ("query", "positive")}
        pd.DataFrame({**pairs, "source": "a", "pair_id": [str(i) for i in range(PAIRS)]}).to_parquet(folder / "p")
        shapes.tokenizer("llm").save_pretrained(folder / "t")
        for number, tokens in enumerate(size.examples):
            settings = Efficiency(
                lengths=list(size.lengths), settings_lengths=None, example_tokens=[tokens], texts=size.texts,
                max_tokens=size.max_tokens, instruction="find the text that says the same", repeats=REPEATS,
            )  # fmt: skip
            for workload in make_workloads(folder / "p", folder / "t", settings, None):
                if number == 0 or workload.case.setting == EXAMPLES:
                    found.append((_rank(size, number, workload), workload))
    return [workload for _, workload in sorted(found, key=lambda entry: entry[0])]


def _rank(size: shapes.Size, number: int, workload: Workload) -> int:
    """At the first length alone, then behind the longest examples; alone at the second; all else at the first."""
    length, setting = workload.case.length, workload.case.setting
    if setting == PLAIN:
        return 0 if length == size.lengths[0] else 2 if length in size.lengths[:2] else 4
    if length == size.lengths[0]:
        return 1 if setting == EXAMPLES and number == 0 else 3
    return 5
