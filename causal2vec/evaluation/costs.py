"""What a task costs to evaluate, estimated before its data is there, and shards of about equal cost."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

CHARACTERS_PER_TOKEN = 4.2
"""Assumed, for English prose and a vocabulary of about 32,000 tokens."""

TEXT_OVERHEAD = 4
"""What a text costs beside its tokens, in tokens (assumed): special tokens, an instruction's share, padding."""

TASK_OVERHEAD = 20_000
"""What a task costs beside its texts, in tokens (assumed): loading, classifiers, clustering."""


class TaskCost(NamedTuple):
    """What is embedded for a task: each distinct text once."""

    texts: int
    characters: int


UNKNOWN = TaskCost(2_000, 200_000)
"""Stands for a task without statistics where there is no other to go by (assumed)."""

PACKAGED = {
    "WikiVitalRetrieval": TaskCost(494, 52_985),
    "RecipeRetrieval": TaskCost(360, 36_223),
    "HPODefinitionRetrieval": TaskCost(400, 23_672),
    "AWSOperationReranking": TaskCost(278, 16_053),
    "HPOSynonymPairClassification": TaskCost(431, 13_544),
    "BibleParallelPairClassification": TaskCost(213, 20_634),
    "TweetSentimentVader": TaskCost(220, 14_339),
    "WikiTopicClassification": TaskCost(286, 11_070),
    "ICD10ChapterClassification": TaskCost(273, 12_316),
    "WikiTopicClustering": TaskCost(308, 44_662),
    "AWSServiceClustering": TaskCost(144, 12_930),
    "LeeNewsSTS": TaskCost(50, 24_597),
    "WordSim353STS": TaskCost(437, 2_943),
}
"""The packaged tasks, for plans that are made before their data is; a test compares them with the data."""


def task_costs(names: list[str], data: Path | None = None, tasks: Iterable[Any] | None = None) -> dict[str, TaskCost]:
    """Distinct texts that each task embeds, and their characters.

    Official tasks are counted from the descriptive statistics that mteb ships, for the splits and language subsets
    that are evaluated; nothing is downloaded. Of a classifier's training set only what is sampled counts. A task
    without statistics counts as the median of the others. A packaged task is counted from its files.

    Args:
        names: Names of tasks or benchmarks, as for `get_tasks`; a benchmark becomes its tasks.
        data: Folder of the packaged tasks' data; where it is not there, `PACKAGED` says.
        tasks: The task objects of ``names``, where they have been made already.

    Raises:
        UserError: A name is unknown.
    """
    from causal2vec.evaluation.tasks import get_tasks
    from causal2vec.evaluation.tasks.packaged import PackagedTask
    from causal2vec.evaluation.tasks.registry import parts_of

    counted: dict[str, TaskCost | None] = {}
    found: Iterable[Any] = get_tasks(names, data) if tasks is None else tasks
    for task in found:
        name = task.metadata.name
        if isinstance(task, PackagedTask):
            counted[name] = _packaged(task) if data and (data / name).is_dir() else PACKAGED.get(name)
        else:
            counted[name] = _sum([_official(part) for part in parts_of(task)])
    known = [cost for cost in counted.values() if cost]
    median = TaskCost(*(round(statistics.median(side)) for side in zip(*known, strict=True))) if known else UNKNOWN
    return {name: cost or median for name, cost in counted.items()}


def shard_of(
    names: list[str],
    shard: int,
    shards: int,
    costs: Mapping[str, TaskCost] | None = None,
    max_length: int = 512,
) -> list[str]:
    """The tasks of one evaluation job, in the order of ``names``.

    The longest task is given first, each to the shard with least to do (Graham's rule: at most 4/3 of the best
    possible longest shard). A task is never divided, so that the largest one bounds the longest shard. Without
    ``costs`` all tasks cost the same.
    """
    weights = {name: weight(costs[name], max_length) if costs else 1.0 for name in names}
    loads = [0.0] * shards
    home: dict[str, int] = {}
    for name in sorted(names, key=lambda name: -weights[name]):  # stable: equal ones in the order of names
        home[name] = min(range(shards), key=lambda index: loads[index])
        loads[home[name]] += weights[name]
    return [name for name in names if home[name] == shard]


def weight(cost: TaskCost, max_length: int) -> float:
    """A task's cost in tokens, proportional to seconds; a text counts at most ``max_length`` tokens."""
    if not cost.texts:
        return float(TASK_OVERHEAD)
    tokens = min(cost.characters / cost.texts / CHARACTERS_PER_TOKEN, max_length)
    return cost.texts * (tokens + TEXT_OVERHEAD) + TASK_OVERHEAD


def evaluated_parts(task: Any) -> Iterator[Mapping[str, Any]]:
    """The statistics that mteb ships, of each split and language subset that is evaluated."""
    yield from (part for _, part in _evaluated(task))


def _evaluated(task: Any) -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    """Subset (``None``: the whole split) and its statistics."""
    stats = task.metadata.descriptive_stats or {}
    for split in task.eval_splits:
        if split in stats:
            subsets = stats[split].get("hf_subset_descriptive_stats") or {}
            chosen: list[str | None] = [subset for subset in task.hf_subsets if subset in subsets]
            yield from ((subset, _part(stats[split], subset)) for subset in chosen or [None])


def _part(stats: Mapping[str, Any], subset: str | None) -> Mapping[str, Any]:
    """A subset's part of a split's statistics, where they tell subsets apart."""
    return (stats.get("hf_subset_descriptive_stats") or {}).get(subset) or stats


def _packaged(task: Any) -> TaskCost:
    """Counted from the data; a classifier's training pool is left out."""
    from causal2vec.evaluation.tasks.texts import task_texts

    task.load_data()
    texts = set(task_texts(task))
    task.unload_data()
    return TaskCost(len(texts), sum(map(len, texts)))


def _official(task: Any) -> TaskCost | None:
    """Counted from mteb's statistics: every kind of text, what mteb samples of it, and what a classifier learns from.

    ``None`` where it has none.
    """
    found = []
    for subset, part in _evaluated(task):
        texts, characters = _texts(part)
        if task.metadata.type == "Clustering":
            share = _embedded_share(task, texts)
            texts, characters = round(texts * share), round(characters * share)
        if hasattr(task, "samples_per_label"):
            sampled = _labels(part) * task.samples_per_label * task.n_experiments
            pool = (task.metadata.descriptive_stats or {}).get(task.train_split)
            sampled = min(sampled, (pool and _texts(_part(pool, subset)).texts) or sampled)
            texts, characters = texts + sampled, characters + round(sampled * (characters / max(texts, 1)))
        found.append(TaskCost(texts, characters))
    return _sum(found)


def _texts(stats: Mapping[str, Any]) -> TaskCost:
    """Distinct texts of one part: of documents and queries, of both sides of pairs, and so on."""
    kinds = [k for k in stats.values() if isinstance(k, dict) and {"unique_texts", "average_text_length"} <= k.keys()]
    return TaskCost(
        sum(kind["unique_texts"] for kind in kinds),
        round(sum(kind["unique_texts"] * kind["average_text_length"] for kind in kinds)),
    )


def _embedded_share(task: Any, texts: int) -> float:
    """The share of a clustering task's documents that mteb embeds (all of them in the older tasks)."""
    share = getattr(task, "max_fraction_of_documents_to_embed", None)
    most = getattr(task, "max_document_to_embed", None)
    if share is None and most is not None:
        share = most / max(texts, 1)
    return min(share or 1.0, 1.0)


def _labels(stats: Mapping[str, Any]) -> int:
    named = (stats.get(key) for key in ("label_statistics", "labels_statistics"))
    return next((found["unique_labels"] for found in named if found), 2)


def _sum(costs: Iterable[TaskCost | None]) -> TaskCost | None:
    """The sum of what is known; ``None`` where nothing is."""
    known = [cost for cost in costs if cost]
    return TaskCost(sum(c.texts for c in known), sum(c.characters for c in known)) if known else None
