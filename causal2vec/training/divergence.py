"""When a training goes wrong: a loss that is no number, vectors that are all alike."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from causal2vec.errors import UserError
from causal2vec.runtime.files import write_json

if TYPE_CHECKING:
    from causal2vec.embedder import Embedder

FILE = "diverged.json"
"""Beside the checkpoints: the pairs of the batch at which a training went wrong."""

NAMED = 3
"""Pairs that the sentence names; a batch may have hundreds."""

COLLAPSED = 0.98
"""Mean cosine between the vectors of unrelated texts from which on a model has learnt to give all the same vector."""

LOOKED_AT = 32


def refuse(value: float, what: str, step: int, rates: dict[str, float], pairs: list[str], state: Path) -> NoReturn:
    """Stop a training at a loss or gradient that is no number: everything after it would be worthless.

    Args:
        value: What is looked at.
        what: Its name.
        step: The step, counted from 1.
        rates: Learning rates at this step.
        pairs: Ids of the batch's pairs, if they are known.
        state: Folder in which `FILE` lists them all.

    Raises:
        UserError: Always.
    """
    write_json(state / FILE, {"step": step, what: str(value), "learning_rates": rates, "pairs": pairs})
    shown = ", ".join(pairs[:NAMED]) + (f" and {len(pairs) - NAMED} more" if len(pairs) > NAMED else "")
    where = f"; the batch's pairs are {shown} (all in {state / FILE})" if pairs else ""
    listed = ", ".join(f"{name} {rate:.3g}" for name, rate in rates.items())
    raise UserError(
        f"the training {what} is {value} at step {step}, at the learning rates {listed}{where}; look at these pairs, "
        "lower budget.learning_rates, raise budget.temperature, or set compute.dtype: float32"
    )


def drawn_batches(trainer: Any) -> Iterator[list[int]]:
    """The pairs' positions, whole batch by whole batch, as sentence-transformers' trainer draws them.

    Goes on from epoch to epoch; ends when an epoch has no whole batch.
    """
    while True:
        drawn = False
        sampler = trainer.get_train_dataloader().batch_sampler
        for batch in getattr(sampler, "batch_sampler", sampler):
            drawn = True
            yield list(batch)
        if not drawn:
            return


def pairs_of_step(trainer: Any, step: int, pairs: Path) -> list[str]:
    """``SOURCE:PAIR_ID`` of every pair in a step's batch, in the batch's order.

    Args:
        trainer: With a `DatasetDict` of sources.
        step: Counted from 1.
        pairs: The folder they came from.
    """
    positions = next(batch for number, batch in enumerate(drawn_batches(trainer), 1) if number == step)
    found = []
    for position in positions:
        for source, rows in trainer.train_dataset.items():
            if position < len(rows):
                found.append((str(source), rows[position]["query"], rows[position]["positive"]))
                break
            position -= len(rows)
    known = _ids(pairs / "train.parquet", set(found))
    return [f"{key[0]}:{known.get(key, 'unknown')}" for key in found]


def _ids(path: Path, wanted: set[tuple[str, str, str]]) -> dict[tuple[str, str, str], str]:
    import pyarrow.parquet as pq

    columns = ["source", "query", "positive", "pair_id"]
    found = {}
    for batch in pq.ParquetFile(path).iter_batches(columns=columns):
        for *key, pair in zip(*(batch[name].to_pylist() for name in columns), strict=True):
            if tuple(key) in wanted:
                found[tuple(key)] = pair
    return found


def mean_cosine(module: Embedder, path: Path) -> float:
    """Mean cosine between the vectors of some texts of a file of pairs, the positives, which have nothing in common."""
    import pyarrow.parquet as pq
    import torch

    texts = list(dict.fromkeys(pq.read_table(path, columns=["positive"])["positive"].to_pylist()))
    some = texts[:: max(1, len(texts) // LOOKED_AT)][:LOOKED_AT]
    if len(some) < 2:
        return math.nan
    with torch.inference_mode():
        vectors = module(module.preprocess(some))["sentence_embedding"]
        unit = torch.nn.functional.normalize(vectors, dim=1)
        return float(((unit @ unit.T).sum() - len(some)) / (len(some) * (len(some) - 1)))


def warn_of_collapse(cosine: float, name: str) -> str | None:
    """What to say of a model whose vectors are all alike; ``None`` if they are not."""
    if not cosine > COLLAPSED:
        return None
    return (
        f"{name} gives nearly the same vector to every text (mean cosine {cosine:.3f}): its scores mean nothing; lower "
        "budget.learning_rates, raise budget.temperature, or train longer"
    )
