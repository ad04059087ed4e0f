"""Item-level results: what each query, pair, text or document contributed to a task's score.

mteb averages before it writes. Here its predictions are turned into one table per task, from which the main score
can be computed again on any resample of the items, so that methods can be compared pairwise on the same items:

======================  ==========  ==================================================================
task                    metric      rows
======================  ==========  ==================================================================
retrieval, reranking    mean        one per query: its nDCG, average precision, ... (the task's metric)
classification          mean        one per test text: the share of the few-shot experiments that got it right
STS                     spearman    one per pair: similarity and gold score
pair classification     max_ap      one per pair and similarity function: similarity and label
clustering              v_measure   one per document and cluster run: cluster and label
summarisation           mean        one per source text: its correlation
======================  ==========  ==================================================================
"""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

COLUMNS = ("split", "subset", "metric", "draw", "item", "prediction", "target")

TOLERANCE = 1e-5
"""How far a score computed from the items may be from mteb's own, which is rounded to five decimals in retrieval."""


@dataclass
class Items:
    """The items of one split and subset.

    Attributes:
        metric: How the score comes from them: ``mean``, ``spearman``, ``max_ap`` or ``v_measure``.
        draw: Of which experiment or similarity function; empty where there is but one.
        item: The query's id, or the row of the data.
        prediction: What the model said, or the item's score where the metric is a mean.
        target: What the data says; NaN where the metric is a mean.
    """

    metric: str
    draw: list[str] = field(default_factory=list)
    item: list[str] = field(default_factory=list)
    prediction: list[float] = field(default_factory=list)
    target: list[float] = field(default_factory=list)

    def add(self, draw: str, items: Any, predictions: Any, targets: Any = None) -> None:
        """Append the items of one draw."""
        predictions = [float(value) for value in predictions]
        self.item += [str(item) for item in items]
        self.prediction += predictions
        self.draw += [draw] * len(predictions)
        self.target += [float("nan")] * len(predictions) if targets is None else [float(value) for value in targets]

    def score(self) -> float:
        """The main score, by the same functions as mteb's."""
        from scipy.stats import spearmanr
        from sklearn.metrics import average_precision_score, v_measure_score

        if self.metric == "mean":
            return float(np.mean(self.prediction))
        draws: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
        for draw, target, prediction in zip(self.draw, self.target, self.prediction, strict=True):
            draws[draw][0].append(target)
            draws[draw][1].append(prediction)
        if self.metric == "spearman":
            return float(spearmanr(*draws[""]).statistic)
        if self.metric == "max_ap":
            return max(float(average_precision_score(*pair)) for pair in draws.values())
        return float(np.mean([v_measure_score(*pair) for pair in draws.values()]))


def task_items_table(
    task: Any, scores: dict[str, list[dict[str, Any]]], predictions: dict[str, Any], rng: random.Random
) -> pa.Table | None:
    """The item-level results of an evaluated task, with columns `COLUMNS`.

    Args:
        task: The task, its data still loaded; not an aggregate.
        scores: mteb's result: split -> one entry per subset.
        predictions: mteb's predictions: subset -> split -> what the task's type predicts.
        rng: A copy of the task's random state as it was before the evaluation, to draw its samples again.

    Returns:
        None where the task's type, or its main metric, is none that items are known for; the score then has no
        interval. Items whose score is not mteb's own are never returned.
    """
    import pyarrow as pa

    from causal2vec.evaluation.tasks.texts import evaluation_data

    data = {(split, subset): found for split, subset, found in evaluation_data(task)}
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for split, rows in scores.items():
        for row in rows:
            subset = row["hf_subset"]
            items = _checked(task, data[split, subset], row, predictions.get(subset, {}).get(split), rng)
            if items is None:
                logger.warning("%s: no item-level results, so its score will have no interval", task.metadata.name)
                return None
            for name, value in (("split", split), ("subset", subset), ("metric", items.metric)):
                columns[name] += [value] * len(items.item)
            for name in ("draw", "item", "prediction", "target"):
                columns[name] += getattr(items, name)
    return pa.table(columns)


def _checked(task: Any, data: Any, row: dict[str, Any], predicted: Any, rng: random.Random) -> Items | None:
    """The first way of telling items apart whose score is mteb's."""
    for items in _candidates(task, data, row, predicted, rng):
        if items.item and abs(items.score() - row["main_score"]) <= TOLERANCE:
            return items
    return None


def _candidates(task: Any, data: Any, row: dict[str, Any], predicted: Any, rng: random.Random) -> Iterator[Items]:
    from mteb import abstasks
    from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy
    from mteb.abstasks.text.summarization import AbsTaskSummarization

    kinds: dict[type, Any] = {
        abstasks.AbsTaskRetrieval: _queries,
        abstasks.AbsTaskSTS: _similar_pairs,
        abstasks.AbsTaskPairClassification: _labelled_pairs,
        abstasks.AbsTaskClassification: _classified_texts,
        abstasks.AbsTaskClustering: partial(_clustered_documents, rng=rng),
        AbsTaskClusteringLegacy: _clustered_sets,
        AbsTaskSummarization: _summarised_texts,
    }
    for kind, build in kinds.items():
        if predicted is not None and isinstance(task, kind):
            yield from filter(None, [build(task, data, predicted)])
    yield from _experiments(task, row)


def _experiments(task: Any, row: dict[str, Any]) -> Iterator[Items]:
    """Where single items are not to be had: the task's own repetitions."""
    runs = [entry.get(task.metadata.main_score) for entry in row.get("scores_per_experiment") or [] if entry]
    levels = row.get("v_measures") or {}
    if isinstance(levels, Mapping):
        runs += [value for values in levels.values() for value in values]
    if runs and all(isinstance(value, float) for value in runs):
        items = Items("mean")
        items.add("", range(len(runs)), runs)
        yield items


def _queries(task: Any, data: Any, predicted: dict[str, dict[str, float]]) -> Items | None:
    from mteb._evaluators.retrieval_evaluator import RetrievalEvaluator

    metric, relevant = task.metadata.main_score, data["relevant_docs"]
    if metric.startswith("max_over_subqueries_"):
        predicted, relevant = _merged_subqueries(predicted, relevant)
        metric = metric.removeprefix("max_over_subqueries_")
    name, _, depth = metric.rpartition("_at_")
    measure = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P", "hit_rate": "success"}
    if name not in measure:
        return None
    # The evaluator's own function, which needs none of its state, so that ties and exclusions are treated alike.
    found = RetrievalEvaluator.evaluate(
        None,  # type: ignore[arg-type]
        relevant,
        predicted,
        task.k_values,
        ignore_identical_ids=getattr(task, "ignore_identical_ids", False),
        skip_first_result=task.skip_first_result,
    ).all_scores
    items = Items("mean")
    queries = sorted(found)
    items.add("", queries, [found[query][f"{measure[name]}_{depth}"] for query in queries])
    return items


def _merged_subqueries(
    predicted: dict[str, dict[str, float]], relevant: dict[str, dict[str, int]]
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
    """Queries that are parts of one (``12_0``, ``12_1``), with the best score of each document."""
    merged: dict[str, dict[str, float]] = {}
    judged: dict[str, dict[str, int]] = {}
    for query in relevant:
        whole = query.rpartition("_")[0]
        documents = merged.setdefault(whole, {})
        for document, score in predicted[query].items():
            documents[document] = max(score, documents.get(document, score))
        judged[whole] = relevant[query]
    return merged, judged


def _similar_pairs(task: Any, data: Any, predicted: dict[str, Any]) -> Items:
    items = Items("spearman")
    function = "cosine_scores" if task.metadata.main_score.startswith("cosine") else "similarity_scores"
    items.add("", range(len(data)), predicted[function], data["score"])
    return items


def _labelled_pairs(task: Any, data: Any, predicted: dict[str, Any]) -> Items:
    labels = data[task.label_column_name]
    labels = labels[0] if len(data) == 1 else labels  # older data sets keep all pairs in one row
    items = Items("max_ap")
    for name, values in sorted(predicted.items()):
        sign = -1 if name.endswith("distances") else 1
        items.add(name, range(len(labels)), [sign * value for value in values], labels)
    return items


def _classified_texts(task: Any, data: Any, predicted: list[list[Any]]) -> Items | None:
    labels = list(data[task.label_column_name])
    if task.metadata.main_score != "accuracy" or any(len(labels) != len(run) for run in predicted):
        return None
    right = np.mean([[label == guess for label, guess in zip(labels, run, strict=True)] for run in predicted], axis=0)
    items = Items("mean")
    items.add("", range(len(labels)), right)
    return items


def _clustered_documents(task: Any, data: Any, predicted: dict[str, list[list[int]]], rng: random.Random) -> Items:
    """mteb keeps the clusters but not which documents it drew: its draws are made again, and checked by the score."""
    rows = list(range(len(data)))
    limit = task.max_document_to_embed
    if task.max_fraction_of_documents_to_embed is not None:
        limit = int(task.max_fraction_of_documents_to_embed * len(rows))
    if limit is not None:
        rows = rng.sample(range(len(data)), k=min(len(data), limit))
    labels = [value if isinstance(value, list) else [value] for value in data[task.label_column_name]]
    items = Items("v_measure")
    for level, runs in predicted.items():
        depth = int(level.rpartition(" ")[2])
        valid = [row for row in rows if len(labels[row]) > depth and labels[row][depth] != -1]
        numbers = {label: number for number, label in enumerate(sorted({labels[row][depth] for row in valid}, key=str))}
        for number, clusters in enumerate(runs):
            drawn = [valid[i] for i in rng.choices(range(len(valid)), k=task.max_documents_per_cluster)]
            items.add(f"{level}/{number}", drawn, clusters, [numbers[labels[row][depth]] for row in drawn])
    return items


def _clustered_sets(task: Any, data: Any, predicted: list[list[int]]) -> Items:
    """Older clustering tasks: every row is a set of documents of its own."""
    items, left = Items("v_measure"), iter(predicted)
    for number, labels in enumerate(data[task.label_column_name]):
        names = {label: index for index, label in enumerate(sorted(set(labels), key=str))}
        if len(names) <= 1:  # mteb clusters no such set, and counts it as perfect
            items.add(str(number), [f"{number}/0"], [0], [0])
            continue
        clusters = next(left)
        rows = [f"{number}/{row}" for row in range(len(labels))]
        items.add(str(number), rows, clusters, [names[label] for label in labels])
    return items


def _summarised_texts(task: Any, data: Any, predicted: dict[str, list[Any]]) -> Items:
    del data
    items = Items("mean")
    values = []
    for number in range(len(predicted["human_scores"])):
        one = {name: [scores[number]] for name, scores in predicted.items()}
        values.append(task.evaluator._calculate_metrics(None, one)[task.metadata.main_score])
    items.add("", range(len(values)), values)
    return items
