"""What one job of each heavy stage costs: tokens, FLOPs, memory, fixed seconds."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.config import ZERO_SHOT, Config, Mntp, Pairs, Simcse
from causal2vec.config.prompts import ASYMMETRIC, Prompts, prompts_of
from causal2vec.config.runs import Run
from causal2vec.efficiency.architecture import (
    Architecture,
    forward_flops,
    load_architecture,
    lora_parameters,
    prediction_flops,
    training_flops,
)
from causal2vec.efficiency.names import PLAIN
from causal2vec.efficiency.reading import CHARACTERS_PER_TOKEN, Reader, Tokens
from causal2vec.efficiency.workloads import LATENCY_TEXTS, cases_of, number_of_texts, side_by_side
from causal2vec.encoding import tokens_per_batch
from causal2vec.plan.memory import Load, Memory, encoding_memory, training_memory
from causal2vec.plan.rates import IMPORTS
from causal2vec.training.lora import learns_prefix

BYTES_PER_SECOND = 1.0e9
"""Of reading or writing a model (assumed: a local disk)."""

TASK_SECONDS = 0.4
"""Seconds of an evaluation task beside its embedding: loading, classifiers, clustering (measured on small tasks)."""

REAL_TEXT = 64
"""Tokens of a text of mixed length or of a task in the efficiency study (assumed)."""

BATCHES = 3
"""Batches of the training that are looked at, each of one source."""

ASSUMED = {"packages": (12, 60), "e5": (20, 130), "bge": (20, 130), "files": (20, 130)}
"""Mean tokens of a query (without its instruction) and of a passage, per kind of mix, where no pairs are prepared."""

STAGES = {"mntp": 110, "simcse": 32}
"""Mean tokens of a pre-training stage's own texts (assumed: a paragraph of Wikipedia, a sentence of it)."""

SPREAD = 0.6
"""Of the logarithm of an assumed length: where a batch is padded to its longest text, the spread counts."""

MIX_PAIRS = {"packages": 0, "e5": 1_500_000, "bge": 1_500_000, "files": 100_000}
"""Pairs of a mix that is not prepared yet (e5: its size as published; bge, and the user's own: assumed)."""

ASSUMED_SOURCE = "assumed"
"""Stands for all sources of a mix that is not prepared yet."""

SAMPLE = 2000
"""Pairs looked at."""


class Cost(NamedTuple):
    """One job. ``kind`` says which rate turns FLOPs into seconds; a job without FLOPs takes its fixed seconds."""

    kind: str = ""
    tokens: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0
    trainable: int = 0
    parameters: int = 0
    processes: int = 1
    memory: Memory | None = None
    plain: Memory | None = None
    """The same without gradient checkpointing and caching."""
    checkpointed: Memory | None = None
    """The same with gradient checkpointing and caching as configured."""
    disk: float = 0.0


class Estimator:
    """Costs of the jobs of one configuration.

    Args:
        config: The study.
        prompts: Its instructions.
        device, dtype: What it computes on, ``cuda`` or ``cpu``, and in which number format.
        work: The folder with prepared models, pairs and tasks, where there are any.
        imports: Seconds that a job takes to start.
    """

    def __init__(
        self,
        config: Config,
        prompts: Prompts,
        device: str,
        dtype: str,
        work: Path,
        imports: float = IMPORTS,
    ) -> None:
        self.config, self.prompts, self.device, self.dtype, self.work = config, prompts, device, dtype, work
        self.imports = imports
        self.prompts_behind = {method.examples: prompts_of(prompts, method) for method in config.methods.values()}
        self._models: dict[str, Architecture] = {}
        self._known: dict[tuple[str, str], Any] = {}

    # -- what is asked more than once --------------------------------------------------------------------

    def model(self, name: str) -> Architecture:
        """A configured model's shape."""
        if name not in self._models:
            self._models[name] = load_architecture(name, self.config.models[name], self.work)
        return self._models[name]

    @cached_property
    def sample(self) -> Sample:
        """Texts of the training mix."""
        return sample_pairs(self.config.pairs, self.work / "pairs")

    @cached_property
    def tasks(self) -> dict[str, tuple[int, float, dict[str | None, str], bool]]:
        """Per evaluation task: texts, mean characters, prompt by file of examples, whether most texts are documents.

        Raises:
            UserError: A task is unknown.
        """
        from causal2vec.evaluation.costs import task_costs
        from causal2vec.evaluation.tasks import get_tasks

        data = self.work / "tasks"
        found = get_tasks(self.config.evaluation.tasks, data, own=self.config.evaluation.own)
        costs = task_costs(self.config.evaluation.tasks, data, tasks=found)
        described = {}
        for task in found:
            meta, cost = task.metadata, costs[task.metadata.name]
            document = meta.type in ASYMMETRIC
            asked = {
                examples: prompts.for_task(meta.name, meta.type, meta.prompt, document=document)
                for examples, prompts in self.prompts_behind.items()
            }
            described[meta.name] = (cost.texts, cost.characters / max(cost.texts, 1), asked, document)
        return described

    @cached_property
    def task_costs(self) -> Any:
        """Texts and characters per task, as the evaluation's sharding takes them."""
        from causal2vec.evaluation.costs import TaskCost

        return {name: TaskCost(texts, round(texts * mean)) for name, (texts, mean, *_) in self.tasks.items()}

    @cached_property
    def middling(self) -> str:
        """A source of pairs with an instruction of middling length, for a mix that is not prepared yet."""
        known = self.prompts.sources
        named = [name for name in self.config.pairs.sources if name in known] or list(known)
        return sorted(named, key=lambda name: len(known[name]))[len(named) // 2] if named else ""

    def reader(self, run: Run) -> Reader:
        """The run's method, built on shapes; seeds share it."""
        return self._once("reader", f"{run.method}/{run.base}", lambda: Reader(run, self._parts(run)))

    def unread(self) -> set[str]:
        """Methods whose code could not be asked how it reads a text."""
        readers = {key: made for (what, key), made in self._known.items() if what == "reader"}
        return {key.partition("/")[0] for key, reader in readers.items() if not reader.understood}

    def _once(self, what: str, key: str, make: Callable[[], Any]) -> Any:
        if (what, key) not in self._known:
            self._known[what, key] = make()
        return self._known[what, key]

    def _parts(self, run: Run) -> dict[str, Architecture]:
        if self.config.models[run.base].kind == "encoder":
            return {"encoder": self.model(run.base)}
        return {"llm": self.model(run.base), "encoder": self.model(run.encoder)}

    def _used(self, run: Run) -> dict[str, Architecture]:
        """The parts that the method really has."""
        reader = self.reader(run)
        names = reader.module.parts if reader.understood else (["llm"] if "llm" in reader.parts else ["encoder"])
        read = {name: reader.parts[name] for name in names}
        exit_layer = getattr(reader.module, "exit_layer", None)
        return read if exit_layer is None else {**read, "llm": read["llm"].until(exit_layer)}

    def parameters(self, run: Run) -> int:
        """All weights of a run's model."""
        return sum(a.parameters for a in self._used(run).values()) + self.reader(run).own_parameters()

    # -- stages ------------------------------------------------------------------------------------------

    def train(self, run: Run) -> Cost:
        """Making one model: the contrastive training, or only building the untrained twin."""
        return self._once("train", f"{run.method}/{run.base}", lambda: self._train(run))

    def _train(self, run: Run) -> Cost:
        parts, parameters = self._used(run), self.parameters(run)
        disk = 4.0 * parameters  # models are saved in float32
        fixed = self.imports + 2 * disk / BYTES_PER_SECOND
        if not run.trained:
            loads = [Load(model, 0, 0, frozen=True, decoder=False) for model in parts.values()]
            return Cost(seconds=fixed, parameters=parameters, disk=disk,
                        memory=encoding_memory(loads, "float32", "cpu"))  # fmt: skip
        return contrastive(self, run, parts)._replace(seconds=fixed, parameters=parameters, disk=disk)

    def pretrain(self, base: str, stage: str) -> Cost:
        """A pre-training stage of a base: masked next tokens, or two views of a sentence."""
        return self._once(stage, base, lambda: self._pretrain(base, stage))

    def _pretrain(self, base: str, stage: str) -> Cost:
        settings: Mntp | Simcse | None = getattr(self.config, stage)
        assert settings is not None  # a method that asks for the stage has its section: Config checks
        model, lora = self.model(base), self.config.budget.lora
        adapters = lora_parameters(model, lora)
        views = 2 if stage == "simcse" else 1
        width = stage_widths(self.sample, stage, settings.texts is not None, settings.batch_size, settings.max_length)
        tokens = settings.steps * settings.batch_size * views * width
        checkpointing = self.config.budget.gradient_checkpointing
        flops = training_flops(model, tokens, width, adapters=adapters, checkpointing=checkpointing)
        rows = views * settings.batch_size
        logits = rows * width if stage == "mntp" else 0.0
        if stage == "mntp":
            flops += prediction_flops(model, tokens)
        load = Load(model, rows, width, frozen=True, decoder=True)

        def peak(on: bool) -> Memory:
            return training_memory([load], adapters, self.dtype, self.device, checkpointing=on, logits_tokens=logits)

        disk = 4.0 * model.parameters
        return Cost(
            "training", tokens, flops, self.imports + 2 * disk / BYTES_PER_SECOND, adapters, model.parameters, 1,
            peak(checkpointing), peak(False), peak(True), disk,
        )  # fmt: skip

    def evaluate(self, run: Run, tasks: list[str]) -> Cost:
        """One shard of tasks with one model; no padding is computed. That instructions are read once is not counted."""
        reader, parts = self.reader(run), self._used(run)
        flops = tokens = 0.0
        widest = Tokens(1, 1, 1)
        for name in tasks:
            texts, mean, asked, _ = self.tasks[name]
            prompt = asked[run.spec.examples]
            batch = self._once(
                "read",
                f"{run.method}/{run.base}/{name}",
                lambda: reader.count(["x" * max(1, round(mean))], prompt, run.max_length),  # noqa: B023
            )
            flops += texts * _forward(parts, batch)
            tokens += texts * (batch.llm or batch.encoder)
            widest = max(widest, batch, key=lambda b: b.llm + b.encoder)
        budget = self.config.evaluation.batch_tokens or tokens_per_batch(self.device, self.dtype)
        rows = max(1, int(budget // max(widest.llm, widest.encoder)))
        loads = [
            Load(model, rows, widest.llm if part == "llm" else widest.encoder, frozen=True, decoder=part == "llm")
            for part, model in parts.items()
        ]
        parameters = self.parameters(run)
        fixed = self.imports + 4.0 * parameters / BYTES_PER_SECOND + TASK_SECONDS * len(tasks)
        return Cost("encoding", tokens, flops, fixed, 0, parameters, 1, encoding_memory(loads, self.dtype, self.device))

    def efficiency(self, runs: list[Run]) -> Cost:
        """The efficiency study, in which all models on one base are held at once."""
        settings = self.config.efficiency
        varied = [name.partition("+")[0] for name in settings.variants]
        runs = [run for run in runs for _ in range(1 + varied.count(run.method.removesuffix(ZERO_SHOT)))]
        asked = len(settings.instruction) / CHARACTERS_PER_TOKEN
        flops = tokens = 0.0
        for run in runs:
            for case in cases_of(settings):
                # With reuse as if every method could; the bidirectional ones are not measured then.
                length = case.length if isinstance(case.length, int) else REAL_TEXT
                read = length + (0 if case.reuse or case.setting == PLAIN else asked + case.examples)
                batch = self.reader(run).count([a_text(round(read))], "", 4 * round(read) + 64)
                measured = number_of_texts(settings, read, sharing=case.reuse)
                texts = measured * (settings.repeats + 1) + LATENCY_TEXTS * settings.repeats
                flops += texts * _forward(self._used(run), batch)
                tokens += texts * (batch.llm or batch.encoder)
        parameters = sum(map(self.parameters, runs))
        fixed = 2 * self.imports + sum(2 + 4.0 * self.parameters(run) / BYTES_PER_SECOND for run in runs)
        size = 2 if self.dtype == "bfloat16" else 4
        process = 1.0e9 if self.device == "cuda" else 0.3e9
        held = [
            Memory(float(size * sum(map(self.parameters, group))), 0.0, 0.0, process * len(group))
            for group in side_by_side(runs)
        ]
        most = max(held, key=lambda memory: memory.total)
        return Cost("encoding", tokens, flops, fixed, 0, parameters, 1, most)


def _forward(parts: dict[str, Architecture], batch: Tokens) -> float:
    widths = {part: batch.llm if part == "llm" else batch.encoder for part in parts}
    return sum(forward_flops(model, widths[part], widths[part]) for part, model in parts.items())


class _Setting(NamedTuple):
    """What the formulas take from a run."""

    parts: dict[str, Architecture]
    columns: list[Tokens]
    adapters: int | None
    learning: dict[str, int]
    """Weights that learn by part, adapters not counted."""
    learns_prefix: bool
    """Whether a beginning that all texts of a column share is read once."""


def contrastive(estimator: Estimator, run: Run, parts: dict[str, Architecture]) -> Cost:
    """FLOPs and memory of a training: three batches are read as the method reads them, and stand for all steps.

    Models are packed where that is possible: padding costs nothing then, nor does reading a shared instruction more
    than once. Elsewhere a column is padded to its longest text; padding is computed on and so counted.

    Raises:
        UserError: The adapters' targets are in no layer.
    """
    budget, reader = run.budget, estimator.reader(run)
    adapters = lora_parameters(parts["llm"], budget.lora) if "llm" in parts else None
    once = "llm" in parts and learns_prefix(
        parts["llm"].model, budget.lora, gradient_checkpointing=budget.gradient_checkpointing
    )
    setting = _Setting(parts, _columns(estimator, run, reader), adapters, _learning(reader, parts), once)
    processes = run.distributed.total if estimator.device == "cuda" else 1
    mini = budget.mini_batch_size
    caching = mini is not None and mini < budget.batch_size
    steps = budget.steps / BATCHES
    rows = budget.batch_size
    trainable = (adapters or 0) + sum(setting.learning.values())

    def peak(checkpointing: bool, at_once: int | None) -> Memory:
        share = budget.batch_size / processes
        loads = _loads(setting, share, at_once if at_once is not None and at_once < share else None)
        return training_memory(
            loads,
            trainable,
            estimator.dtype,
            estimator.device,
            checkpointing=checkpointing,
            processes=processes,
            sharded=run.distributed.strategy == "fsdp" and processes > 1,
        )

    return Cost(
        kind="training",
        tokens=steps * sum(_llm_tokens(setting, batch, rows) or rows * batch.encoder_real for batch in setting.columns),
        flops=steps * sum(_flops(setting, run, batch, rows, caching) for batch in setting.columns),
        trainable=trainable,
        processes=processes,
        memory=peak(budget.gradient_checkpointing, mini if caching else None),
        plain=peak(False, None),
        checkpointed=peak(True, mini if caching else None),
    )


def _learning(reader: Reader, parts: dict[str, Architecture]) -> dict[str, int]:
    """Of a method that could not be read, an encoder is taken to learn as a whole."""
    if reader.understood:
        return reader.learning()
    return {part: model.parameters for part, model in parts.items() if part != "llm"}


def _columns(estimator: Estimator, run: Run, reader: Reader) -> list[Tokens]:
    """Each column of each sampled batch, as the method reads it."""
    found = []
    for source, columns in batches(estimator.sample, run.budget.batch_size, BATCHES):
        prompts = estimator.prompts_behind[run.spec.examples]
        own = prompts.for_training(estimator.middling if source == ASSUMED_SOURCE else source)
        for index, texts in enumerate(columns):
            prompt = own["query"] if index == 0 else own["positive"]
            found.append(reader.count(list(texts), prompt, run.budget.max_length))
    return found


def _flops(setting: _Setting, run: Run, batch: Tokens, rows: float, caching: bool) -> float:
    """One column of one batch through all parts, there and back; a part that does not learn only there."""
    total = 0.0
    for part, model in setting.parts.items():
        width = batch.llm_real if part == "llm" else batch.encoder_real
        tokens = _llm_tokens(setting, batch, rows) if part == "llm" else rows * width
        if part != "llm" and not setting.learning.get(part):
            total += (1 + int(caching)) * forward_flops(model, tokens, width)
            continue
        total += training_flops(
            model,
            tokens,
            width,
            adapters=setting.adapters if part == "llm" else None,
            checkpointing=run.budget.gradient_checkpointing and part == "llm",
            caching=caching,
        )
    return total


def _llm_tokens(setting: _Setting, batch: Tokens, rows: float) -> float:
    """Tokens of a column that the LLM computes, a beginning that is shared and worth it counted once."""
    from causal2vec.speed.packing import WORTHWHILE

    saved = batch.head * (rows - 1) if setting.learns_prefix else 0.0
    return rows * batch.llm_real - (saved if saved >= WORTHWHILE else 0.0)


def _loads(setting: _Setting, rows: float, at_once: int | None) -> list[Load]:
    """What is held at once: every column of a batch, or with gradient caching one mini-batch of the widest."""
    chosen, per_batch = setting.columns, len(setting.columns) // BATCHES
    if at_once is not None:
        chosen, per_batch, rows = [max(chosen, key=lambda b: b.llm_real + b.encoder_real)], 1, at_once
    loads = []
    for part, model in setting.parts.items():
        widths = [batch.llm_real if part == "llm" else batch.encoder_real for batch in chosen]
        widest, mean = max(*widths, 1.0), sum(widths) / len(widths)
        equal = rows * per_batch * mean / widest  # rows of the widest column that hold as many tokens
        if part != "llm" and not setting.learning.get(part):
            equal = 0.0  # nothing is kept for a backward pass
        loads.append(Load(model, equal, widest, frozen=part == "llm", decoder=part == "llm"))
    return loads


class Sample(NamedTuple):
    """Texts by source, one tuple of query, positive and hard negatives per pair; pairs in all; how they are known."""

    rows: dict[str, list[tuple[str, ...]]]
    pairs: int
    assumed: bool


def sample_pairs(pairs: Pairs, folder: Path) -> Sample:
    """Some pairs, from the prepared ones where there are any."""
    files = sorted(folder.glob("train*.parquet")) + sorted(folder.glob("train/**/*.parquet"))
    return _prepared(files, pairs.negatives) if files else _assumed(pairs)


def _prepared(files: list[Path], negatives: int) -> Sample:
    import pyarrow.parquet as pq

    rows: dict[str, list[tuple[str, ...]]] = {}
    total = 0
    for file in files:
        reader = pq.ParquetFile(file)
        total += reader.metadata.num_rows
        names = [c for c in reader.schema_arrow.names if c.startswith("negative")][:negatives]
        batch = next(reader.iter_batches(max(1, SAMPLE // len(files))), None)
        for row in batch.to_pylist() if batch is not None else []:
            found = [row.get(name) for name in ("query", "positive", *names)]
            texts = tuple(str(text) for text in found if text is not None)
            rows.setdefault(str(row.get("source") or file.stem), []).append(texts)
    return Sample(rows, total, False)


def _assumed(pairs: Pairs) -> Sample:
    query, passage = ASSUMED[pairs.kind]
    return Sample(
        {ASSUMED_SOURCE: _lognormal([query, *[passage] * (1 + pairs.negatives)], SAMPLE // 4)},
        sum(a for a in pairs.sources.values() if isinstance(a, int)) or MIX_PAIRS[pairs.kind],
        True,
    )


def _lognormal(means: list[int], count: int) -> list[tuple[str, ...]]:
    generator = random.Random(0)
    return [
        tuple(a_text(mean * generator.lognormvariate(-(SPREAD**2) / 2, SPREAD)) for mean in means) for _ in range(count)
    ]


def a_text(tokens: float) -> str:
    """Some text of so many tokens, at least one."""
    return "x" * max(1, round(tokens * CHARACTERS_PER_TOKEN))


def batches(sample: Sample, batch_size: int, count: int) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Batches as the trainer draws them, each from one source: the source, and the texts by column.

    Sources take turns by their share of the sample; a batch is looked at through at most 128 of its pairs.
    """
    sources = [source for source, rows in sample.rows.items() for _ in rows]
    found = []
    for number in range(count):
        source = sources[(2 * number + 1) * len(sources) // (2 * count)]
        rows = sample.rows[source]
        size = min(batch_size, 128)
        drawn = [rows[(number * size + k) % len(rows)] for k in range(size)]
        width = min(map(len, drawn))
        found.append((source, list(zip(*(row[:width] for row in drawn), strict=True))))
    return found


def stage_widths(sample: Sample, stage: str, own_texts: bool, batch_size: int, max_length: int) -> float:
    """Tokens per row of a pre-training batch, cut; where masked tokens are predicted, padded to its longest text.

    The stage's own texts are assumed to have `STAGES` tokens in the mean; else they are the pairs' positives.
    """
    if own_texts:
        rows = [row[0] for row in _lognormal([STAGES[stage]], SAMPLE // 4)]
    else:
        rows = [row[1] for found in sample.rows.values() for row in found]
    lengths = [min(max_length, 1 + -(-len(text) // CHARACTERS_PER_TOKEN)) for text in rows]
    if stage == "simcse":  # an embedder of this suite, which computes no padding
        return sum(lengths) / len(lengths)
    random.Random(0).shuffle(lengths)
    chunks = [lengths[k : k + batch_size] for k in range(0, len(lengths), batch_size)]
    full = [chunk for chunk in chunks if len(chunk) == batch_size] or chunks
    return sum(map(max, full)) / len(full)
