"""Evaluate one model on a shard of tasks: load once, one JSON per task, nothing finished is ever lost."""

from __future__ import annotations

import copy
import logging
import math
import random
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.config.prompts import Prompts
from causal2vec.config.runs import Run
from causal2vec.errors import UserError
from causal2vec.evaluation.tasks.registry import parts_of
from causal2vec.runtime.files import (
    atomic_file,
    atomic_folder,
    read_json,
    read_record,
    settle,
    sha256_file,
    take_up,
    write_json,
    write_record,
)
from causal2vec.runtime.fingerprint import fingerprint
from causal2vec.runtime.seals import content

logger = logging.getLogger(__name__)

LOADED = 1024
"""Texts that mteb's loader makes ready at a time; the encoder makes its own batches of them."""


class Evaluating(NamedTuple):
    """What one evaluation is told: its tasks, how texts are read, where it writes."""

    tasks: list[str]
    """Names of packaged or official tasks or benchmarks."""
    data: Path
    """Folder of the packaged tasks' data."""
    output: Path
    """Appears whole: mteb's cache layout (``results/<model>/<revision>/<Task>.json``), item-level results
    (``items/<Task>.parquet``) and ``record.json``."""
    state: Path
    """Where finished tasks wait until all are done; a restarted one of the same model in the same way goes on from
    there."""
    prompts: Prompts | None
    """Instructions; None leaves prompting to the model."""
    batch_size: int = 32
    """Texts per batch of a model that is none of this suite's."""
    batch_tokens: int | None = None
    """Tokens per batch of this suite's models; None: by device."""
    cache: Path | None = None
    """Folder that keeps vectors (`causal2vec.evaluation.vectors`); None: in memory, from task to task."""
    cache_gb: float = 2.0
    """What it may hold; 0: as None."""
    seed: int = 0
    """Of the evaluation's own sampling (few-shot examples, clustered documents); 0 is mteb's own choice."""
    progress: bool = True
    only: list[str] | None = None
    """Those of the tasks (a benchmark's too) that are run; None runs all."""
    fetched: Path | None = None
    """What `causal2vec.evaluation.tasks.download.fetch_tasks` downloaded; the tasks are read from there."""
    keep_state: bool = False
    """See `causal2vec.runtime.files.settle`."""


def evaluate_run(
    run: Run,
    folder: Path,
    what: Evaluating,
    shard: tuple[int, int],
    *,
    device: str,
    dtype: str,
    attention: str = "auto",
) -> None:
    """Evaluate a run's model, with ``compute.attention``, on one of several shards of the tasks (number, how many)."""
    from causal2vec.evaluation.costs import shard_of, task_costs
    from causal2vec.models.folder import load_model
    from causal2vec.models.trust import revision_of
    from causal2vec.runtime.machine import attention_backend

    backend = attention_backend(attention, device, dtype)
    number, shards = shard
    if shards > 1:
        costs = task_costs(what.tasks, what.data)
        what = what._replace(only=shard_of(list(costs), number, shards, costs, run.max_length))
    model = load_model(str(folder), device, dtype, max_length=run.max_length, trusted=True, attention=backend)
    name = f"causal2vec-suite/{run.method}__{run.base}__seed{run.seed}"
    names = run.model_dump(include={"method", "base", "seed", "trained"})
    record = {**names, "dtype": dtype, "device": device, "attention": backend}
    evaluate_model(model, name, revision_of(folder), what._replace(seed=run.seed), record)


def evaluate_model(model: Any, name: str, revision: str, what: Evaluating, record: dict[str, Any]) -> None:
    """Run mteb on a model and write its results with a record of how they came about.

    Args:
        model: A SentenceTransformer.
        name: ``organisation/model`` for mteb's result tree.
        revision: The model's content hash.
        what: The tasks, and how they are evaluated.
        record: What identifies the run (method, base, seed, dtype, ...); written beside the scores.

    Raises:
        UserError: An unknown task, data that cannot be had, or a score that is not a number.
    """
    import mteb

    from causal2vec.evaluation.encoder import PromptedEncoder, batching, model_meta
    from causal2vec.evaluation.tasks import get_tasks
    from causal2vec.evaluation.tasks.download import read_from_cache
    from causal2vec.evaluation.vectors import Vectors, place
    from causal2vec.speed.cpu_layers import fast_layers

    batches = batching(model, what.batch_size, what.batch_tokens)
    similarity = getattr(model, "similarity_fn_name", None) or "cosine"
    meta = model_meta(name, revision, model.get_embedding_dimension(), model.max_seq_length, similarity)
    identity = {"name": name, "revision": revision, "code": fingerprint("causal2vec.encoding"), **batches}
    folder = place(what.cache, model, **identity) if what.cache and what.cache_gb else None
    vectors = Vectors(folder, what.cache_gb * 1e9)
    encoder = PromptedEncoder(
        model, meta, what.prompts, what.batch_size, batch_tokens=what.batch_tokens, vectors=vectors
    )
    state = what.state
    take_up(
        state,
        {
            **record, **identity, "tasks": what.tasks, "only": what.only, "seed": what.seed,
            "max_length": model.max_seq_length,
            "prompts": what.prompts.model_dump() if what.prompts else None,
            "data": content(what.data) if what.data.is_dir() else None,
            "fetched": content(what.fetched) if what.fetched else None,
            "mteb": mteb.__version__, "code": fingerprint("causal2vec.evaluation.run"),
        },
    )  # fmt: skip
    for kind in ("results", "items"):
        (state / kind).mkdir(parents=True, exist_ok=True)
    with fast_layers(model):  # once for all tasks
        for task in get_tasks(what.tasks, what.data, what.only):
            if is_done(task, state):
                continue
            if what.fetched:
                read_from_cache(task, what.fetched)
            _evaluate_task(encoder, task, state, what.seed, what.progress)
    records = {path.stem: read_record(path) or {} for path in sorted((state / "records").glob("*.json"))}
    with atomic_folder(what.output) as draft:
        for kind in ("results", "items"):
            shutil.copytree(state / kind, draft / kind)
        write_json(
            draft / "record.json",
            {
                **record,
                "model": name,
                "revision": revision,
                **batches,
                "max_length": model.max_seq_length,
                **({} if similarity == "cosine" else {"similarity": similarity}),
                "tasks": {name: {k: v for k, v in found.items() if k != "files"} for name, found in records.items()},
                "versions": {"mteb": mteb.__version__},
            },
        )
    settle(state, what.output, keep=what.keep_state)


def record_of(task: Any, state: Path) -> Path:
    """Where a finished task's record waits until all tasks are done."""
    return state / "records" / f"{task.metadata.name}.json"


def is_done(task: Any, state: Path) -> bool:
    """Whether an earlier, interrupted evaluation finished this task, and its files are what they were then."""
    record = read_record(record_of(task, state))
    return record is not None and record["files"] == checksums(task, state)


def checksums(task: Any, state: Path) -> dict[str, str]:
    """SHA-256 of what a finished task has left: mteb's results and the items."""
    names = [task.metadata.name, *(part.metadata.name for part in parts_of(task))]
    found = [path for name in names for path in (state / "results").glob(f"*/*/{name}.json")]
    found += (state / "items").glob(f"{task.metadata.name}.parquet")
    return {path.relative_to(state).as_posix(): sha256_file(path) for path in sorted(set(found))}


def _evaluate_task(encoder: Any, task: Any, state: Path, seed: int, progress: bool) -> None:
    """One task: its data, its scores, its items, its record."""
    import mteb
    from mteb.cache import ResultCache
    from threadpoolctl import threadpool_limits

    from causal2vec.evaluation.tasks import task_items

    meta = task.metadata
    load_task(task)
    states = _seed_sampling(task, seed)
    _read_labels_once(task)
    start, encoded = time.perf_counter(), encoder.encoding_seconds
    with threadpool_limits(1, user_api="blas"):  # classifiers solve small systems: threads only wait for each other
        result = mteb.evaluate(
            encoder,
            task,
            cache=ResultCache(state),
            overwrite_strategy="always",
            encode_kwargs={"batch_size": LOADED, "show_progress_bar": progress},
            prediction_folder=state / "predictions",
            show_progress_bar=progress,
        )
    seconds = time.perf_counter() - start
    for split, rows in result.task_results[0].scores.items():
        for row in rows:
            if row["main_score"] is None or not math.isfinite(row["main_score"]):
                raise UserError(
                    f"task {meta.name} ({split}) gave the score {row['main_score']} for "
                    f"{encoder.mteb_model_meta.name}; its vectors are probably all alike or not finite, "
                    "look at the model's training.json"
                )
    _write_items(task, state, states)
    write_record(
        record_of(task, state),
        {
            "files": checksums(task, state),
            "task_type": meta.type,
            "main_score": meta.main_score,
            "data_revision": meta.dataset["revision"],
            "items": {f"{split}/{subset}": count for (split, subset), count in task_items(task).items()},
            "seconds": round(seconds, 2),
            "encoding_seconds": round(encoder.encoding_seconds - encoded, 2),
            "prompts": encoder.used_prompts.get(meta.name, {}),
        },
    )
    logger.info("%s: %.4f in %.0f s", meta.name, result.task_results[0].get_score(), seconds)


def _seed_sampling(task: Any, seed: int) -> dict[str, random.Random]:
    """Let a loaded task draw its samples by ``seed``; a copy of each part's random state before it draws.

    Set after loading, so that all seeds have the same test items. Seed 0 leaves mteb's own sampling alone.
    """
    import numpy as np

    for part in parts_of(task):
        if seed:
            part.seed += seed
            part.rng_state, part.np_rng = random.Random(part.seed), np.random.default_rng(part.seed)
    return {part.metadata.name: copy.deepcopy(part.rng_state) for part in parts_of(task)}


def _read_labels_once(task: Any) -> None:
    """Hand a classifier's labels to scikit-learn as a list: of a column, each of its metrics would read every row."""
    from mteb.abstasks import AbsTaskClassification

    for part in parts_of(task):
        if isinstance(part, AbsTaskClassification):
            vars(part)["_calculate_scores"] = lambda labels, *rest, to=part._calculate_scores: to(labels[:], *rest)


def _write_items(task: Any, state: Path, states: dict[str, random.Random]) -> None:
    """Turn the predictions that mteb left into the task's item-level results."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from causal2vec.evaluation.items import task_items_table

    tables = []
    for part in parts_of(task):
        name = part.metadata.name
        part.load_data()  # an aggregate drops its parts' data
        [written] = (state / "results").glob(f"*/*/{name}.json")
        predictions = state / "predictions" / part.prediction_file_name
        predicted = read_json(predictions) if predictions.is_file() else {}
        found = task_items_table(part, read_json(written)["scores"], predicted, states[name])
        if found is not None and part is not task:
            # The aggregate's score is the mean of its parts' scores, as a task's is of its subsets'.
            named = pa.array([f"{name}/{subset}" for subset in found["subset"].to_pylist()], pa.string())
            found = found.set_column(found.column_names.index("subset"), "subset", named)
        tables.append(found)
    if all(table is not None for table in tables):
        with atomic_file(state / "items" / f"{task.metadata.name}.parquet") as draft:
            pq.write_table(pa.concat_tables(tables), draft, compression="zstd")
    shutil.rmtree(state / "predictions", ignore_errors=True)


def load_task(task: Any) -> None:
    """Load a task's data.

    Raises:
        UserError: The hub does not answer or does not have it.
    """
    try:
        task.load_data()
    except UserError:
        raise
    except Exception as error:  # the hub's client raises a dozen unrelated types
        path = task.metadata.dataset.get("path")
        raise UserError(
            f"the data of task {task.metadata.name} ({path}) cannot be loaded from the model hub "
            f"({type(error).__name__}: {' '.join(str(error).split())[:160]}); check the network, or set "
            "HF_ENDPOINT to a mirror, or drop the task from evaluation.tasks"
        ) from error
