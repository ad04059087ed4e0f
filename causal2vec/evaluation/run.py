"""Evaluate one model on a shard of tasks: load once, one JSON per task, nothing finished is ever lost."""

from __future__ import annotations

import copy
import logging
import math
import random
import shutil
import time
from pathlib import Path
from typing import Any

from causal2vec.config import Evaluation
from causal2vec.config.prompts import Prompts
from causal2vec.config.runs import Run
from causal2vec.errors import UserError
from causal2vec.evaluation.finished import checksums, is_done, record_of
from causal2vec.evaluation.tasks.download import parts_of
from causal2vec.runtime.files import (
    atomic_file,
    atomic_folder,
    read_json,
    read_record,
    settle,
    take_up,
    write_json,
    write_record,
)
from causal2vec.runtime.fingerprint import fingerprint
from causal2vec.runtime.seals import content

logger = logging.getLogger(__name__)

LOADED = 1024
"""Texts that mteb's loader makes ready at a time; the encoder makes its own batches of them."""


def evaluate_run(
    run: Run,
    folder: Path,
    settings: Evaluation,
    data: Path,
    output: Path,
    state: Path,
    *,
    prompts: Prompts,
    shard: int,
    shards: int,
    device: str,
    dtype: str,
    attention: str = "auto",
    fetched: Path | None = None,
    cache: Path | None = None,
) -> None:
    """Evaluate a run's model on one shard of the tasks, with ``compute.attention``; see `evaluate_model`."""
    from causal2vec.models.folder import load_model
    from causal2vec.models.trust import revision_of
    from causal2vec.runtime.machine import attention_backend

    backend = attention_backend(attention, device, dtype)
    evaluate_model(
        load_model(str(folder), device, dtype, max_length=run.max_length, trusted=True, attention=backend),
        f"causal2vec-suite/{run.method}__{run.base}__seed{run.seed}",
        revision_of(folder),
        settings.tasks,
        data,
        output,
        state,
        prompts=prompts,
        batch_size=settings.batch_size,
        batch_tokens=settings.batch_tokens,
        cache=cache,
        cache_gb=settings.cache_gb,
        seed=run.seed,
        only=_shard(settings.tasks, data, shard, shards, run.max_length) if shards > 1 else None,
        fetched=fetched,
        keep_state=True,
        record={
            **run.model_dump(include={"method", "base", "seed", "trained"}),
            "dtype": dtype,
            "device": device,
            "attention": backend,
        },
    )


def evaluate_model(
    model: Any,
    name: str,
    revision: str,
    tasks: list[str],
    data: Path,
    output: Path,
    state: Path,
    *,
    prompts: Prompts | None,
    batch_size: int,
    record: dict[str, Any],
    batch_tokens: int | None = None,
    cache: Path | None = None,
    cache_gb: float = 2.0,
    seed: int = 0,
    progress: bool = True,
    only: list[str] | None = None,
    fetched: Path | None = None,
    keep_state: bool = False,
) -> None:
    """Run mteb on a model and write its results with a record of how they came about.

    Args:
        model: A SentenceTransformer.
        name: ``organisation/model`` for mteb's result tree.
        revision: The model's content hash.
        tasks: Names of packaged or official tasks or benchmarks.
        data: Folder of the packaged tasks' data.
        output: Appears whole: mteb's cache layout (``results/<model>/<revision>/<Task>.json``), item-level results
            (``items/<Task>.parquet``) and ``record.json``.
        state: Where finished tasks wait until all are done; a restarted one of the same model in the same way goes on
            from there.
        prompts: Instructions; ``None`` leaves prompting to the model.
        batch_size: Texts per batch of a model that is none of this suite's.
        batch_tokens: Tokens per batch of this suite's models; ``None``: by device.
        cache, cache_gb: Folder that keeps vectors, see `causal2vec.evaluation.vectors`, and GB that it may hold;
            ``None`` or 0 keeps them in memory, from task to task.
        record: What identifies the run (method, base, seed, dtype, ...); written beside the scores.
        seed: Of the evaluation's own sampling (few-shot examples, clustered documents); 0 is mteb's own choice.
        progress: Show bars.
        only: Those of the tasks (a benchmark's too) that are run; ``None`` runs all.
        fetched: What `causal2vec.evaluation.tasks.download.fetch_tasks` downloaded; the tasks are read from there,
        without a network.
        keep_state: See `causal2vec.runtime.files.settle`.

    Raises:
        UserError: An unknown task, data that cannot be had, or a score that is not a number.
    """
    import mteb

    from causal2vec.evaluation.encoder import PromptedEncoder, batching, model_meta
    from causal2vec.evaluation.tasks import get_tasks
    from causal2vec.evaluation.tasks.download import read_from_cache
    from causal2vec.evaluation.vectors import Vectors, place
    from causal2vec.speed.cpu_layers import fast_layers

    batches = batching(model, batch_size, batch_tokens)
    similarity = getattr(model, "similarity_fn_name", None) or "cosine"
    meta = model_meta(name, revision, model.get_embedding_dimension(), model.max_seq_length, similarity)
    identity = {"name": name, "revision": revision, "code": fingerprint("causal2vec.encoding"), **batches}
    folder = place(cache, model, **identity) if cache and cache_gb else None
    vectors = Vectors(folder, cache_gb * 1e9)
    encoder = PromptedEncoder(model, meta, prompts, batch_size, batch_tokens=batch_tokens, vectors=vectors)
    take_up(
        state,
        {
            **record, **identity, "tasks": tasks, "only": only, "seed": seed, "max_length": model.max_seq_length,
            "prompts": prompts.model_dump() if prompts else None,
            "data": content(data) if data.is_dir() else None, "fetched": content(fetched) if fetched else None,
            "mteb": mteb.__version__, "code": fingerprint("causal2vec.evaluation.run"),
        },
    )  # fmt: skip
    for kind in ("results", "items"):
        (state / kind).mkdir(parents=True, exist_ok=True)
    with fast_layers(model):  # once for all tasks
        for task in get_tasks(tasks, data, only):
            if is_done(task, state):
                continue
            if fetched:
                read_from_cache(task, fetched)
            _evaluate_task(encoder, task, state, seed, progress)
    records = {path.stem: read_record(path) or {} for path in sorted((state / "records").glob("*.json"))}
    with atomic_folder(output) as draft:
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
    settle(state, output, keep=keep_state)


def _shard(tasks: list[str], data: Path, shard: int, shards: int, max_length: int) -> list[str]:
    """Names of the tasks of one of several shards of about equal cost."""
    from causal2vec.evaluation.costs import shard_of, task_costs

    costs = task_costs(tasks, data)
    return shard_of(list(costs), shard, shards, costs, max_length)


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
        found = task_items_table(
            part,
            read_json(written)["scores"],
            read_json(predictions) if predictions.is_file() else {},
            states[name],
        )
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
