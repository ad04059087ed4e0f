"""Evaluating one model on tasks that share texts: this suite beside ``mteb.evaluate`` in a loop.

Both sides run the same tasks on the same weights without instructions, as ``mteb.evaluate`` gives none to a model that
has none; what differs is how texts become vectors, and how often.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from causal2vec.bench.encoding import library_model
from causal2vec.bench.materials import say
from causal2vec.bench.timing import Contender, Row, row, take_turns
from causal2vec.runtime.files import read_json

WORK = "evaluate one model on {count} tasks that share texts"
GOAL = 1 / 0.6
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
"""For the same reason."""

WARM_TASK = "AWSServiceClustering"
"""A small task, run once before the clock starts."""

MAX_LENGTH = 128

Scores = dict[str, float]


def compare_evaluation(
    base: Path, tasks: Path, *, repetitions: int, threads: int, names: Sequence[str] = TASKS
) -> list[Row]:
    """Ours with no vectors known beforehand, and again with all of them in the cache, beside ``mteb.evaluate``.

    Args:
        base: The LLM's folder; last-token pooling on it, untrained, is evaluated.
        tasks: The packaged tasks' data.
        repetitions: Of all sides in turns; at most `MOST_REPETITIONS` are made.
        threads: Of the processor.
        names: The tasks.
    """
    import torch

    torch.set_num_threads(threads)
    repetitions = min(repetitions, MOST_REPETITIONS)
    ours, theirs = _our_model(base), _framed(library_model(base, "float32"))
    theirs.max_seq_length = MAX_LENGTH
    with tempfile.TemporaryDirectory(prefix="evaluation-bench-") as folder, _quiet():
        side = _Ours(ours, list(names), tasks, Path(folder))
        contenders = [
            Contender("evaluate_model", side.cold, side.warm_up),
            Contender("evaluate_model, vectors known", side.again),
            Contender(
                "mteb.evaluate", lambda: _theirs(theirs, names, tasks), lambda: _theirs(theirs, [WARM_TASK], tasks)
            ),
        ]
        say(f"evaluation: {repetitions} repetitions of {len(names)} tasks, {len(contenders)} contenders")
        found = take_turns(contenders, repetitions)
        note = _agreement(
            found["evaluate_model"].result,
            found["mteb.evaluate"].result,
            lambda name: _theirs(theirs, [name], tasks, batch_size=1)[name],
        )
    rival = found["mteb.evaluate"]
    work = WORK.format(count=len(names))
    encoding = statistics.median(side.encoding)
    return [
        row(
            work, found["evaluate_model"], rival, amount=len(names), unit="tasks", goal=GOAL, limit=None,
            note=f"{note}; {repetitions} repetitions in float32, no vectors kept between them; of our "
            f"{found['evaluate_model'].median:.0f} s, {encoding:.0f} in the model",
        ),
        row(
            work, found["evaluate_model, vectors known"], rival, amount=len(names), unit="tasks", goal=float("nan"),
            limit=None, note="every vector is read from the cache of the run before; what remains is mteb's own work",
        ),
    ]  # fmt: skip


class _Ours:
    """This suite's evaluation, with a cache that each repetition makes afresh."""

    def __init__(self, model: Any, names: list[str], data: Path, folder: Path) -> None:
        self.model, self.names, self.data, self.folder = model, names, data, folder
        self.encoding: list[float] = []
        self._turn = 0

    def warm_up(self) -> None:
        """One small task."""
        self._evaluate([WARM_TASK], self.folder / "warm-up")

    def cold(self) -> Scores:
        """With an empty cache."""
        self._turn += 1
        scores, encoding = self._evaluate(self.names, self.folder / f"cache{self._turn}")
        self.encoding.append(encoding)
        return scores

    def again(self) -> Scores:
        """With the cache that `cold` has filled."""
        return self._evaluate(self.names, self.folder / f"cache{self._turn}")[0]

    def _evaluate(self, names: list[str], cache: Path) -> tuple[Scores, float]:
        from causal2vec.evaluation.run import Evaluating, evaluate_model

        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            what = Evaluating(
                names, self.data, Path(scratch, "out"), Path(scratch, "state"), None, progress=False, cache=cache
            )
            evaluate_model(self.model, "bench/ours", "0" * 40, what, {})
            results = Path(scratch, "out", "results").glob(f"*/{'0' * 40}/*.json")
            scores = {path.stem: _main_score(read_json(path)["scores"]) for path in results if path.stem in names}
            record = read_json(Path(scratch, "out", "record.json"))
        return scores, sum(task["encoding_seconds"] for task in record["tasks"].values())


def _theirs(model: Any, names: Sequence[str], data: Path, batch_size: int = 32) -> Scores:
    """The loop that a user would write; 32 texts are mteb's default."""
    import mteb

    from causal2vec.evaluation.tasks import get_tasks

    scores = {}
    for task in get_tasks(list(names), data):
        result = mteb.evaluate(
            model, task, cache=None, show_progress_bar=False, encode_kwargs={"batch_size": batch_size}
        )
        scores[task.metadata.name] = _main_score(result.task_results[0].scores)
    return scores


def _our_model(base: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    from causal2vec.models.build import build_embedder

    settings = {"max_seq_length": MAX_LENGTH, "add_bos": True}
    module = build_embedder("baselines.last_token.LastToken", {"llm": base}, settings)
    return SentenceTransformer(modules=[module], device="cpu")


def _framed(model: Any) -> Any:
    """The library's model with BOS and EOS, which ours adds by itself, put around each text by its tokenizer."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = model.tokenizer
    first, last = tokenizer.bos_token, tokenizer.eos_token
    ids = [(first, tokenizer.bos_token_id), (last, tokenizer.eos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=list(dict.fromkeys(ids))
    )
    return model


def _main_score(scores: Any) -> float:
    """The mean of the main scores of all splits and subsets."""
    return statistics.mean(row["main_score"] for rows in scores.values() for row in rows)


def _agreement(ours: Scores, theirs: Scores, alone: Callable[[str], float]) -> str:
    """How near the scores are, in points of 100, and how near the library's are to its own ``alone``, text by text."""
    parted = {name: 100 * abs(ours[name] - theirs[name]) for name in ours}
    worst = max(parted, key=lambda name: parted[name])
    mean = statistics.mean(parted.values())
    own = 100 * abs(alone(worst) - theirs[worst])
    return (
        f"main scores part by at most {parted[worst]:.3f} points ({worst}), {mean:.3f} on average; there mteb.evaluate "
        f"parts by {own:.3f} from itself when it embeds one text at a time instead of 32"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and warnings of mteb, datasets and scikit-learn, of which there are hundreds."""
    import datasets

    names = ("mteb", "datasets", "sentence_transformers")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        datasets.enable_progress_bars()
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
