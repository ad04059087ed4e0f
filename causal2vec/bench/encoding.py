"""Embedding and evaluating beside sentence-transformers' ``encode`` and ``mteb.evaluate``, with the same vectors.

Ten thousand texts take the library minutes, too long for five repetitions of all contenders. What is timed is a
sample of them that keeps what makes the library fast: texts of like length stand together in its batches, so the
sample is made of stretches of texts that follow one another when all are sorted by length.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from causal2vec.bench.comparison import (
    NO_GOAL,
    Contender,
    Row,
    Timing,
    ceiling,
    helper,
    least_seconds,
    row,
    take_turns,
    useful_work,
)
from causal2vec.bench.materials import Effort, Materials, draw_texts, say
from causal2vec.efficiency.machine import linear_layers
from causal2vec.runtime.files import read_json
from causal2vec.runtime.machine import keep_freed_memory
from causal2vec.speed.cpu_layers import fast_layers

WORK = "embed texts of 8 to 400 tokens"
GOALS = (3.5, 1.8)
"""Texts per second, ours over the rival's at its defaults and at its best settings."""

DEFAULT_BATCH = 32
BATCHES = (8, 32, 128)
TRIED_AT = 0.4
"""The library's best settings are looked for on texts of this quantile of length, the longest first."""

AGREEMENT = 0.9999
"""The least cosine between vectors in float32."""

EVALUATION_GOAL = 1 / 0.6
"""At most 0.6 of the rival's time."""

TASKS = (
    "WikiVitalRetrieval", "RecipeRetrieval", "HPODefinitionRetrieval", "AWSOperationReranking",
    "HPOSynonymPairClassification", "BibleParallelPairClassification", "TweetSentimentVader",
    "WikiTopicClassification", "ICD10ChapterClassification", "WikiTopicClustering", "AWSServiceClustering",
    "WordSim353STS",
)  # fmt: skip
"""The packaged tasks but LeeNewsSTS: each of its 50 texts stands in 49 pairs, and mteb embeds it for each of them. Left
out for the bench's time; with it the ratio would be higher."""

MOST_REPETITIONS = 3
"""Of an evaluation, for the same reason."""

WARM_TASK = "AWSServiceClustering"
"""A small task, run once before the clock starts."""

MAX_LENGTH = 128
"""Tokens of a text in the evaluation."""

Encode = Callable[[list[str]], np.ndarray]
Scores = dict[str, float]


class Opening(NamedTuple):
    """A model and how it is called: ours, or the library's with ``batch_size`` texts per batch.

    Attributes:
        base: The LLM's folder.
        threads: Processor threads.
        dtype: Number format of the weights.
        batch_size: None: ours.
        shipped: The library opens the folder by its name alone, with the chat template around every text if there is
            one.
    """

    base: Path
    threads: int
    dtype: str = "float32"
    batch_size: int | None = None
    shipped: bool = False

    def __str__(self) -> str:
        return f"{self.dtype}, batch size {self.batch_size}"


def compare_encoding(materials: Materials, effort: Effort) -> list[Row]:
    """Ours beside the library at its defaults, at its best settings, and exactly as a user gets it."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(materials.threads)
    dtype, mine = materials.dtype, Opening(materials.base, materials.threads, materials.dtype)
    ours = our_model(materials.base, dtype)
    texts = draw_texts(materials.pairs, ours.tokenizer, effort.texts)
    texts.sort(key=len, reverse=True)  # as `encode` sorts them
    plain = mine._replace(dtype="float32", batch_size=DEFAULT_BATCH)
    best, tried = best_settings(plain, texts)
    say(f"the library's best settings: {best} ({tried})")
    parts = slices(texts, effort.repetitions, effort.stretches, max(DEFAULT_BATCH, best.batch_size or 0))
    say(f"encoding: {len(parts)} repetitions of {len(parts[0])} texts")
    name = f"last_token, {dtype}"
    names = {name: mine, "encode, defaults (float32)": plain, f"encode, best settings ({best})": best}
    (own, *rivals), least = _race(names, parts, ours)
    exact, checked = own.results, ""
    if dtype != "float32":
        exact = [our_encode(our_model(materials.base, "float32"))(parts[0])]
        checked = f"; ours in {dtype} against float32: {least_cosine(own.results, rivals[0].results):.4f}"
    cosine = least_cosine(exact, rivals[0].results)
    agree = "as demanded" if cosine >= AGREEMENT else f"BELOW {AGREEMENT}"
    note = (
        f"{len(parts)} × {len(parts[0])} of {len(texts):,} texts in stretches of neighbours by length; lowest cosine "
        f"of vectors in float32 {cosine:.6f} ({agree}){checked}"
    )
    found = [
        row(WORK, own, rival, (len(parts[0]), "texts"), goal=goal, least=least, note=note + more)
        for rival, goal, more in zip(rivals, GOALS, ("", f"; tried: {tried}"), strict=True)
    ]
    length = min(DEFAULT_BATCH, len(texts))
    parts = slices(texts, effort.repetitions, max(1, effort.shipped // DEFAULT_BATCH), length)
    names = {name: mine, "encode, model opened by its name alone": plain._replace(shipped=True)}
    (own, rival), least = _race(names, parts, ours)
    shipped = SentenceTransformer(str(materials.base), device="cpu")
    extra = len(shipped.preprocess([""])["input_ids"][0])
    note = (
        f"not the same vectors: the library puts {extra} tokens of its own around every text (a chat template, where "
        f"the model has one); {len(parts)} × {len(parts[0])} texts"
    )
    return [*found, row(WORK, own, rival, (len(parts[0]), "texts"), goal=NO_GOAL, least=least, note=note)]


def _race(openings: dict[str, Opening], parts: list[list[str]], ours: Any) -> tuple[list[Timing], float]:
    """Every contender's timing, and the seconds that a part would take if it were multiplying matrices alone."""
    flops = statistics.mean(useful_work(ours[0], part).flops for part in parts)
    mine = next(iter(openings.values()))
    with ExitStack() as stack, ceiling(linear_layers(ours[0]), mine.dtype) as rates:
        found = take_turns([_contender(stack, *named, parts) for named in openings.items()], len(parts))
    return found, least_seconds(flops, rates)


def _contender(stack: ExitStack, name: str, opening: Opening, parts: list[list[str]]) -> Contender:
    """A side in a process of its own; each repetition takes the next part."""
    call = helper(stack)
    call(_open, opening)
    warm = parts[0][:DEFAULT_BATCH]
    return Contender(name, lambda place: call(_encode, parts[place]), lambda: call(_encode, warm))


_side: list[Encode] = []
"""What a contender's process calls, once it is opened."""

_reordered = ExitStack()


def _open(opening: Opening) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    torch.set_num_threads(opening.threads)
    disable_progress_bar()
    if opening.batch_size is None:
        keep_freed_memory()  # as every job of ours does
        model = our_model(opening.base, opening.dtype)
        _reordered.enter_context(fast_layers(model))  # the same
        _side[:] = [our_encode(model)]
        gc.freeze()  # the same
        return
    model = (
        SentenceTransformer(str(opening.base), device="cpu")
        if opening.shipped
        else library_model(opening.base, opening.dtype)
    )
    _side[:] = [library_encode(model, opening.batch_size)]


def _encode(texts: list[str]) -> np.ndarray:
    return _side[0](texts)


def slices(texts: list[str], repetitions: int, stretches: int, length: int) -> list[list[str]]:
    """For each repetition, ``stretches`` of ``length`` neighbouring texts, spread evenly over all; none twice.

    Args:
        texts: Sorted by length.
        repetitions: How many slices to make. They hold about as many tokens each: one that has the longer end of
            one layer of lengths has the shorter end of the next.
        stretches: Fewer are taken where the texts do not suffice.
        length: Texts of a stretch: whole batches.
    """
    available = len(texts) // length
    layers = max(1, min(stretches, available // repetitions))
    found = []
    for repetition in range(repetitions):
        chosen = []
        for layer in range(layers):
            first, beyond = (available * k // layers for k in (layer, layer + 1))
            place = repetition if layer % 2 == 0 else repetitions - 1 - repetition
            start = length * min(first + (2 * place + 1) * (beyond - first) // (2 * repetitions), available - 1)
            chosen += texts[start : start + length]
        found.append(chosen)
    return found


def our_model(base: Path, dtype: str, max_length: int = 512) -> Any:
    """Last-token pooling on the base, untrained."""
    from sentence_transformers import SentenceTransformer

    from causal2vec.models.build import build_embedder

    settings = {"max_seq_length": max_length, "add_bos": True}
    module = build_embedder("baselines.last_token.LastToken", {"llm": base}, settings, dtype)
    return SentenceTransformer(modules=[module], device="cpu")


def library_model(base: Path, dtype: str, max_length: int = 512) -> Any:
    """The same by the library's own modules: its tokenizer puts BOS and EOS around each text, as ours does.

    A chat model would wrap every text in its template; this one does not.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers.processors import TemplateProcessing

    reader = Transformer(
        str(base),
        modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
        model_kwargs={"dtype": getattr(torch, dtype)},
    )
    pooling = Pooling(reader.get_embedding_dimension(), "lasttoken")
    model = SentenceTransformer(modules=[reader, pooling], device="cpu")
    model.max_seq_length = max_length
    tokenizer = model.tokenizer
    first, last = tokenizer.bos_token or "", tokenizer.eos_token
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in dict.fromkeys((first, last)) if token]
    template = TemplateProcessing(single=f"{first} $A {last}".strip(), special_tokens=ids)
    tokenizer.backend_tokenizer.post_processor = template
    return model


def library_encode(model: Any, batch_size: int = DEFAULT_BATCH) -> Encode:
    """The library's ``encode``."""

    def encode(texts: list[str]) -> np.ndarray:
        return np.asarray(model.encode(texts, batch_size=batch_size, show_progress_bar=False), dtype=np.float32)

    return encode


def our_encode(model: Any) -> Encode:
    """This suite's."""
    from causal2vec.encoding import encode

    return lambda texts: encode(model, texts)


def best_settings(plain: Opening, texts: list[str]) -> tuple[Opening, str]:
    """The fastest of the number formats at the default batch size, then of the batch sizes in that format.

    Args:
        plain: The library's defaults.
        texts: Sorted by length.

    Returns:
        The settings, and in words what was tried, in seconds.
    """
    start = min(int(TRIED_AT * len(texts)), max(0, len(texts) - max(BATCHES)))
    some = texts[start : start + max(BATCHES)]
    seconds: dict[Opening, float] = {}

    def trial(openings: list[Opening]) -> Opening:
        with ExitStack() as stack:
            timings = take_turns([_contender(stack, "", opening, [some] * 2) for opening in openings], 2)
        seconds.update({opening: min(timing.seconds) for opening, timing in zip(openings, timings, strict=True)})
        return min(seconds, key=lambda opening: seconds[opening])

    faster = trial([plain, plain._replace(dtype="bfloat16")])
    best = trial([faster._replace(batch_size=size) for size in BATCHES if size != DEFAULT_BATCH])
    return best, "; ".join(f"{opening}: {value:.2f} s" for opening, value in seconds.items())


def least_cosine(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """The lowest cosine between the vectors of the parts that both have."""
    a, b = (np.concatenate(side) for side in zip(*zip(ours, theirs, strict=False), strict=True))
    return float(((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def compare_evaluation(materials: Materials, effort: Effort, names: Sequence[str] = TASKS) -> list[Row]:
    """Ours with no vectors known beforehand, and again with all of them in the cache, beside ``mteb.evaluate``.

    Both sides run the same tasks on the same weights without instructions, as ``mteb.evaluate`` gives none to a model
    that has none; what differs is how texts become vectors, and how often.
    """
    import torch

    torch.set_num_threads(materials.threads)
    data, repetitions = materials.tasks, min(effort.repetitions, MOST_REPETITIONS)
    ours, library = (make(materials.base, "float32", MAX_LENGTH) for make in (our_model, library_model))
    with tempfile.TemporaryDirectory(prefix="evaluation-bench-") as name:
        folder = Path(name)
        contenders = [
            Contender(
                "evaluate_model",
                lambda place: _ours(ours, names, data, folder / f"cache{place}"),
                lambda: _ours(ours, [WARM_TASK], data, folder / "warm-up"),
            ),
            Contender(
                "evaluate_model, vectors known", lambda place: _ours(ours, names, data, folder / f"cache{place}")
            ),
            Contender(
                "mteb.evaluate",
                lambda _: _theirs(library, names, data),
                lambda: _theirs(library, [WARM_TASK], data),
            ),
        ]
        say(f"evaluation: {repetitions} repetitions of {len(names)} tasks, {len(contenders)} contenders")
        cold, known, rival = take_turns(contenders, repetitions)
        scores, reference = cold.results[-1][0], rival.results[-1]
        parted = {task: 100 * abs(scores[task] - reference[task]) for task in scores}
        worst = max(parted, key=lambda task: parted[task])
        alone = 100 * abs(_theirs(library, [worst], data, batch_size=1)[worst] - reference[worst])
    encoding = statistics.median(seconds for _, seconds in cold.results)
    notes = [
        f"main scores part by at most {parted[worst]:.3f} points ({worst}), {statistics.mean(parted.values()):.3f} on "
        f"average; there mteb.evaluate parts by {alone:.3f} from itself when it embeds one text at a time instead of "
        f"32; {repetitions} repetitions in float32, no vectors kept between them; of our {cold.median:.0f} s, "
        f"{encoding:.0f} in the model",
        "every vector is read from the cache of the run before; what remains is mteb's own work",
    ]
    work = f"evaluate one model on {len(names)} tasks that share texts"
    return [
        row(work, own, rival, (len(names), "tasks"), goal=goal, least=None, note=note)
        for own, goal, note in zip((cold, known), (EVALUATION_GOAL, NO_GOAL), notes, strict=True)
    ]


def _ours(model: Any, names: Sequence[str], data: Path, cache: Path) -> tuple[Scores, float]:
    """This suite's evaluation: scores, and the seconds of them in the model."""
    from causal2vec.evaluation.run import Evaluating, evaluate_model

    with tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
        output = Path(scratch, "out")
        what = Evaluating(list(names), data, output, Path(scratch, "state"), None, progress=False, cache=cache)
        evaluate_model(model, "bench/ours", "0" * 40, what, {})
        results = output.glob(f"results/*/{'0' * 40}/*.json")
        scores = {path.stem: _main_score(read_json(path)["scores"]) for path in results if path.stem in names}
        record = read_json(output / "record.json")
    return scores, sum(task["encoding_seconds"] for task in record["tasks"].values())


def _theirs(model: Any, names: Sequence[str], data: Path, batch_size: int = 32) -> Scores:
    """The loop that a user would write; 32 texts are mteb's default."""
    import mteb

    from causal2vec.evaluation.tasks import get_tasks

    scores = {}
    for task in get_tasks(list(names), data):
        options: Any = {"batch_size": batch_size}
        result = mteb.evaluate(model, task, cache=None, show_progress_bar=False, encode_kwargs=options)
        scores[task.metadata.name] = _main_score(result.task_results[0].scores)
    return scores


def _main_score(scores: Any) -> float:
    """The mean of the main scores of all splits and subsets."""
    return statistics.mean(row["main_score"] for rows in scores.values() for row in rows)
