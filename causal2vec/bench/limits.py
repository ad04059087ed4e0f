"""How fast the machine multiplies matrices, and what share of that each method achieves (model FLOPs utilisation).

Not its data sheet's rate but the measured one, of the models' own linear layers at the number of tokens that the
work hands over at a time, right before and right after the work.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

from causal2vec.bench.materials import Effort, Materials, draw_pairs, draw_texts, say
from causal2vec.efficiency.architecture import Architecture, load_architecture, lora_parameters
from causal2vec.efficiency.counting import tokens_left_out
from causal2vec.efficiency.flops import forward_flops, training_flops
from causal2vec.efficiency.machine import Layers, architecture, linear_layers, matmul_rate
from causal2vec.encoding import tokens_per_batch
from causal2vec.speed.last_layer import weights_left_out

GOAL = 0.6
"""Of the matrix-multiply rate, on a CPU."""

BATCH = 64
"""Pairs of a training step."""

METHODS = ("causal2vec", "last_token", "echo", "bidirectional", "encoder_only")
TRAINED = ("causal2vec", "last_token")
TEXTS = 96
SECONDS = 0.08
"""Seconds that one shape of matrix is multiplied for, each time."""


class Work(NamedTuple):
    """What some texts need of a method: padding and a beginning that is read once are not counted."""

    flops: float
    tokens: dict[str, int]
    """By part."""


class Utilisation(NamedTuple):
    """One method's achieved share of the machine's matrix-multiply rate."""

    work: str
    method: str
    dtype: str
    llm_tokens: int
    encoder_tokens: int
    gflop: float
    seconds: float
    seconds_min: float
    seconds_max: float
    achieved_gflops: float
    rate_before: float
    rate_after: float
    share: float


class Ceiling:
    """Around some work: the matrix-multiply rate of some layers right before and right after, in GFLOP/s."""

    def __init__(self, layers: Layers, dtype: str, tokens: int | None = None) -> None:
        self.layers = layers
        self.dtype, self.tokens = dtype, tokens or tokens_per_batch("cpu", dtype)
        self.before = self.after = 0.0

    def __enter__(self) -> Ceiling:
        self.before = matmul_rate(self.layers, self.tokens, self.dtype, seconds=SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.after = matmul_rate(self.layers, self.tokens, self.dtype, seconds=SECONDS)

    @property
    def rate(self) -> float:
        """GFLOP/s, the mean of before and after."""
        return (self.before + self.after) / 2

    def seconds(self, flops: float) -> float:
        """What so many FLOPs would take if they were matrix multiplication and nothing else."""
        return flops / self.rate / 1e9


class Job(NamedTuple):
    """Work of one method that can be repeated, and what it needs."""

    work: str
    method: str
    run: Callable[[], Any]
    useful: Work
    layers: Layers
    tokens_at_once: int


def useful_work(module: Any, texts: list[str], count: Callable[..., float] | None = None) -> Work:
    """FLOPs (`causal2vec.efficiency.flops`) and tokens of what has to be computed of some texts: no padding, and
    without gradients no more of the last layer than `causal2vec.speed.last_layer` computes.

    Args:
        module: A method of this suite, without adapters.
        texts: One batch.
        count: FLOPs of a part, given its name, architecture, tokens and mean context; None: of a forward pass.
    """
    features = module.preprocess(texts)
    lengths = {module.parts[0]: features["attention_mask"].sum(dim=1)}
    if "pre_mask" in features:
        lengths["encoder"] = features["pre_mask"].sum(dim=1)
    flops, tokens = 0.0, {}
    for part, own in lengths.items():
        shape = architecture(getattr(module, part))
        tokens[part] = int(own.sum())
        context = float((own * own).sum()) / tokens[part]
        flops += count(part, shape, tokens[part], context) if count else forward_flops(shape, tokens[part], context)
    if not count and "llm" in tokens:  # without gradients
        flops -= 2 * tokens_left_out(module, features, tokens["llm"]) * weights_left_out(module.llm)
    return Work(flops, tokens)


def base_rates(materials: Materials) -> dict[str, float]:
    """GFLOP/s of the base's linear layers by number format, at the encoding's tokens per batch."""
    return {
        dtype: matmul_rate(base_layers(materials), tokens_per_batch("cpu", dtype), dtype, seconds=SECONDS)
        for dtype in ("float32", "bfloat16")
    }


def base_layers(materials: Materials) -> Layers:
    """The linear layers of the base, which is not loaded for it."""
    name = materials.base.name
    return linear_layers(load_architecture(name, materials.config.models[name], materials.work).model)


def encoding_job(materials: Materials, method: str, texts: list[str]) -> Job:
    """A method, untrained, that embeds some texts."""
    from sentence_transformers import SentenceTransformer

    from causal2vec.encoding import encode
    from causal2vec.models.build import build_embedder
    from causal2vec.training.contrastive import module_settings

    run = materials.run(method)
    settings = {**module_settings(run), "max_seq_length": 1024}  # nothing is cut, whatever a method adds
    module = build_embedder(run.spec.module, materials.folders(run), settings, materials.dtype).eval()
    model = SentenceTransformer(modules=[module], device="cpu")
    useful, tokens = useful_work(module, texts), tokens_per_batch("cpu", materials.dtype)
    return Job("encoding", method, lambda: encode(model, texts), useful, linear_layers(module), tokens)


def training_job(
    materials: Materials,
    method: str,
    pairs: tuple[list[str], list[str]],
    *,
    batch: int | None = None,
    mini: int | None = None,
    length: int | None = None,
) -> Job:
    """A method that learns from some pairs, each once: forward, backward, optimiser, as the trainer does.

    Args:
        materials, method: What learns.
        pairs: Queries and positives.
        batch: Pairs of a step; None: all of them.
        mini: Pairs of a mini-batch of gradient caching; None: none. Useful work counts no second forward pass.
        length: Tokens per text at most, instead of what the configuration says.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    from causal2vec.training.contrastive import module_settings
    from causal2vec.training.lora import attach_lora, build_to_train
    from causal2vec.training.trainer import make_loss

    run = materials.run(method)
    size = batch or len(pairs[0])
    budget = run.budget.model_copy(update={"batch_size": size, "mini_batch_size": mini})
    settings = {**module_settings(run), "max_seq_length": length or budget.max_length}
    module = build_to_train(run.spec.module, materials.folders(run), settings, materials.dtype)

    def count(part: str, shape: Architecture, tokens: float, context: float) -> float:
        if part == "encoder" and not any(p.requires_grad for p in module.encoder.parameters()):
            return forward_flops(shape, tokens, context)
        adapters = lora_parameters(shape, budget.lora) if part == "llm" else None
        return training_flops(shape, tokens, context, adapters=adapters)

    columns = [useful_work(module, texts, count) for texts in pairs]
    useful = Work(
        sum(column.flops for column in columns),
        {part: sum(column.tokens[part] for column in columns) for part in columns[0].tokens},
    )
    layers = linear_layers(module)
    attach_lora(module, budget.lora)
    model = SentenceTransformer(modules=[module], device="cpu")
    loss = make_loss(model, budget)
    learned = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-4)

    def learn() -> None:
        for start in range(0, len(pairs[0]), size):
            features = [module.preprocess(texts[start : start + size]) for texts in pairs]
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=materials.dtype == "bfloat16"):
                value = loss(features, None)
            value.backward()
            optimizer.step()
            optimizer.zero_grad()

    return Job("training", method, learn, useful, layers, useful.tokens[module.parts[0]] // 2)


def measure_limits(materials: Materials, effort: Effort) -> tuple[list[Utilisation], list[dict[str, Any]]]:
    """Every method's share of the matrix-multiply rate, and a profile of the jobs of last-token pooling.

    Returns:
        The shares, and the profile's rows (`causal2vec.bench.profiling`).
    """
    import torch
    from transformers import AutoTokenizer

    from causal2vec.bench.profiling import profile

    torch.set_num_threads(materials.threads)
    drawn = draw_texts(materials.pairs, AutoTokenizer.from_pretrained(materials.base), effort.texts)
    texts, pairs = drawn[:TEXTS], draw_pairs(materials.pairs, BATCH)
    found, profiled = [], []
    for work, methods in (("encoding", METHODS), ("training", TRAINED)):
        for method in methods:
            say(f"share of the matrix-multiply rate: {work}, {method}")
            job = (
                encoding_job(materials, method, texts) if work == "encoding" else training_job(materials, method, pairs)
            )
            found.append(utilisation(job, materials.dtype, max(1, effort.repetitions // 2 + 1)))
            if method == "last_token":
                profiled += profile(job)
    return found, profiled


def utilisation(job: Job, dtype: str, repetitions: int) -> Utilisation:
    """Run a job, once to warm up and then ``repetitions`` times, beside the matrix-multiply rate."""
    job.run()
    seconds = []
    with Ceiling(job.layers, dtype, job.tokens_at_once) as ceiling:
        for _ in range(repetitions):
            start = time.perf_counter()
            job.run()
            seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    return Utilisation(
        work=job.work,
        method=job.method,
        dtype=dtype,
        llm_tokens=job.useful.tokens.get("llm", 0),
        encoder_tokens=job.useful.tokens.get("encoder", 0),
        gflop=job.useful.flops / 1e9,
        seconds=median,
        seconds_min=min(seconds),
        seconds_max=max(seconds),
        achieved_gflops=job.useful.flops / median / 1e9,
        rate_before=ceiling.before,
        rate_after=ceiling.after,
        share=ceiling.seconds(job.useful.flops) / median,
    )
