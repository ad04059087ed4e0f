"""Contrastive training: the same pairs, order, loss and adapters for every method.

InfoNCE over in-batch and hard negatives (van den Oord et al., arXiv 1807.03748), by sentence-transformers'
trainer. What is ours: the equal terms, the checkpoint of trainable weights only, and the stop at a NaN.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import set_seed

from causal2vec.config.prompts import Prompts, Study
from causal2vec.config.runs import Run
from causal2vec.data.pairs.texts import read_texts
from causal2vec.embedder import Embedder
from causal2vec.errors import UserError
from causal2vec.modeling_causal2vec import Causal2Vec
from causal2vec.models.build import build_embedder, check_length
from causal2vec.models.folder import save_model
from causal2vec.runtime.files import settle, sha256_file, take_up
from causal2vec.runtime.fingerprint import fingerprint
from causal2vec.runtime.machine import attention_backend, peak_memory_mb
from causal2vec.runtime.seals import content
from causal2vec.training import checkpoints, ranks
from causal2vec.training.batches import check_training_data, column_prompts, load_training_data
from causal2vec.training.job import FAILURE, JOB, Job
from causal2vec.training.lora import attach_lora, build_to_train, merge_lora, rebuild_merged, trainable_count
from causal2vec.training.trainer import EqualTermsTrainer, make_loss, order_digest, training_arguments
from causal2vec.training.validation import look_for_collapse, validation_mrr

PROJECTION = "projection.safetensors"
"""The MLP that alignment has taught, beside the encoder's files."""

FITTED_ON = 1000
"""Texts of the training pairs, without their labels, that a Contextual token gets its first value from."""


def make_model(job: Job) -> str:
    """Train one run, or just build it if it is an untrained twin, and save it.

    In one process; or in each process of a training that ``torchrun`` started, of which rank 0 writes the files.

    Returns:
        The model's revision; on other ranks than 0, which save nothing, an empty string.

    Raises:
        UserError: Settings or data do not fit, the loss is not finite, or a signal has stopped the training.
    """
    run, held_back = job.run, job.pairs / "validation.parquet"
    set_seed(run.seed)
    backend = attention_backend(job.attention, job.device, job.dtype)
    records: dict[str, Any] = {}
    if run.trained:
        if ranks.rank() == 0:
            how = {"device": job.device, "dtype": job.dtype, "attention": backend}
            take_up(job.state, {**_work(job), "prompts": job.prompts.model_dump(), **how}, keep=(JOB, FAILURE))
        module, records["training.json"] = train(job, backend)
    else:
        module = build_embedder(run.spec.module, job.folders, module_settings(run), attention=backend)
        check_length(module, run.max_length, f"{run.method} on {run.base}")
    if ranks.rank() > 0:
        return ""
    module.max_seq_length = run.max_length
    if run.trained and held_back.is_file():  # the user's own pairs need none
        cosine = look_for_collapse(module.to("cpu" if _sharded(run) else job.device), held_back, run.path)
        records["training.json"]["mean_cosine"] = cosine
    module = module.to("cpu")
    if job.validation:
        records["validation.json"] = validation_mrr(module, held_back, job.prompts, device=job.device)
    study = Study(dtype=job.dtype, threads=torch.get_num_threads(), attention=job.attention, prompts=job.prompts)
    revision = save_model(module, job.output, manifest=_manifest(job, module), records=records, study=study)
    settle(job.state, job.output, keep=job.keep_state)
    return revision


def _work(job: Job) -> dict[str, Any]:
    """A training's settings and the content of its inputs. How it is spread is its own choice each time."""
    mapped = sorted((job.pairs / "train").glob("*.arrow"))
    return {
        **job.run.model_dump(exclude={"distributed"}),
        "inputs": {part: content(folder) for part, folder in job.folders.items()},
        "code": fingerprint(__name__, job.run.spec.module.rpartition(".")[0]),
        "pairs": {path.name: sha256_file(path) for path in mapped or [job.pairs / "train.parquet"] if path.is_file()},
    }


def _sharded(run: Run) -> bool:
    return run.distributed.strategy == "fsdp" and ranks.world_size() > 1


def module_settings(run: Run) -> dict[str, Any]:
    """The keyword arguments of a run's class: its own, and what is the same for every method.

    Raises:
        UserError: The method sets what must be the same for all.
    """
    if own := {"max_seq_length", *run.inputs} & set(run.settings):
        raise UserError(
            f"methods.{run.method}.settings has {sorted(own)[0]}, which is the same for every method; set "
            "budget.max_length, evaluation.max_length or models.*.add_bos, chat or prefixes instead"
        )
    return {"max_seq_length": run.budget.max_length, **run.inputs, **run.settings}


def _manifest(job: Job, module: Embedder) -> dict[str, Any]:
    run = job.run
    manifest = {
        **run.model_dump(exclude={"spec", "settings", "budget", "encoder"}),
        "settings": run.settings,
        "module": run.spec.module,
        "assumed": run.spec.assumed,
        "parts": {part: str(job.folders[part].name) for part in module.parts},
    }
    if run.trained:
        manifest["budget"] = run.budget.model_dump()
        manifest["dtype"] = job.dtype
        manifest["pairs_sha256"] = sha256_file(job.pairs / "train.parquet")
    return manifest


def train(job: Job, attention: str) -> tuple[Embedder, dict[str, Any]]:
    """Build and train a module.

    Args:
        job: Its ``output`` and ``attention`` are not looked at.
        attention: What `causal2vec.runtime.machine.attention_backend` gives.

    Returns:
        The module in float32, adapters merged (of use on rank 0 only), and the record: the loss per step (of the
        whole batch), seconds, counts, and ``order_sha256``, the digest of which pairs were seen in which order,
        which must be the same for every method with this seed, however the training was spread.
    """
    run, folders, dtype = job.run, job.folders, job.dtype
    settings, budget = module_settings(run), job.run.budget
    ranks.join(job.device)
    sharded = _sharded(run)
    ranks.check_batch(budget, ranks.world_size())
    module = build_to_train(run.spec.module, folders, settings, dtype, attention)
    check_length(module, run.max_length, f"{run.method} on {run.base}")  # which the evaluation will read, days later
    prepare_token(module.to("cpu" if sharded else job.device), folders, job.pairs)
    attentions = {part: getattr(module, part).config._attn_implementation for part in module.parts}
    attach_lora(module, budget.lora, gradient_checkpointing=budget.gradient_checkpointing)
    counts = {"trainable_parameters": trainable_count(module)}
    trainer = _trainer(module, job, sharded=sharded)
    order = order_digest(trainer, budget.steps)
    checkpoint = ranks.from_first(checkpoints.last_checkpoint(job.state) if ranks.rank() == 0 else None)
    start = time.perf_counter()
    checkpoints.train(trainer, checkpoint)
    seconds = time.perf_counter() - start
    record = {
        "method": run.method,
        "base": run.base,
        "seed": run.seed,
        "steps": budget.steps,
        "pairs": budget.steps * budget.batch_size,
        "seconds": round(ranks.largest(seconds), 1),
        "resumed": checkpoint is not None,
        "resumed_from_step": checkpoints.step_of(checkpoint) if checkpoint else None,
        "loss": [{"step": e["step"], "loss": round(e["loss"], 6)} for e in trainer.state.log_history if "loss" in e],
        "order_sha256": order,
        "dtype": dtype,
        "frozen_dtype": dtype,
        "attention": attentions,
        "processes": ranks.world_size(),
        "strategy": run.distributed.strategy if ranks.world_size() > 1 else None,
        "peak_memory_mb": ranks.largest(peak_memory_mb(job.device)),
        **counts,
    }
    if sharded or dtype != "float32":
        weights = {name.removeprefix("0."): value for name, value in trainer.trainable().items()}
        if ranks.rank() == 0:
            module = rebuild_merged(run.spec.module, folders, settings, budget.lora, weights)
    else:
        merge_lora(module)
    return module.eval(), record


def prepare_token(module: Embedder, folders: dict[str, Path], pairs: Path) -> None:
    """The first value of the Contextual token of a method that has one: as alignment left it, or fitted."""
    if not isinstance(module, Causal2Vec):
        return
    if (aligned := folders["encoder"] / PROJECTION).is_file():
        module.projection.load_state_dict(load_file(aligned))
    else:
        texts = read_texts(None, pairs / "train.parquet", FITTED_ON, seed=0, where="pairs")
        module.fit_token(texts)


def _trainer(module: Embedder, job: Job, *, sharded: bool) -> Any:
    """The trainer, ready to run."""
    data = load_training_data(job.pairs)
    run = job.run
    check_training_data(data, run.budget.batch_size)
    _check_room(module, job.prompts, list(data))
    # What is split goes to the GPUs piece by piece, as the whole may be too much for one.
    model = SentenceTransformer(modules=[module], device="cpu" if sharded else job.device)
    if sharded:
        ranks.shard(model, job.device)
    prompts = column_prompts(job.prompts, data)
    how = {"device": job.device, "dtype": job.dtype}
    arguments = training_arguments(module, run.budget, prompts, run.seed, job.state, **how)
    trainer = EqualTermsTrainer(
        model=model,
        args=arguments,
        train_dataset=data,
        loss=make_loss(model, run.budget),
        pairs=job.pairs,
        sharded=sharded,
    )
    if ranks.rank() > 0:
        # Every process has its own share of the batch; it must not drop the same units of it as rank 0 does.
        torch.manual_seed(run.seed + ranks.rank())
    return trainer


def _check_room(module: Embedder, prompts: Prompts, sources: list[str]) -> None:
    """Every source's instruction must leave room for the text: found out now, not at step 900."""
    for source in sources:
        try:
            module.preprocess(["text"], prompts.for_training(source)["query"])
        except ValueError as error:
            raise UserError(f"the instruction of the pairs' source {source}: {error} (budget.max_length)") from error
