"""The efficiency claim where it was published: MTEB's English tasks, with the examples that bge-en-icl publishes.

For each task: how long its texts are (mteb's own descriptive statistics), its instruction, and the published examples
(`icl_example_lengths.csv`, counted with SmolLM2's tokenizer in FlagOpen/FlagEmbedding 7ed43d6; the texts are not kept).
`causal2vec.efficiency.law` makes costs of them. Nothing is downloaded or computed by a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from causal2vec.efficiency.law import Cost, Law, Lengths, Shape, cost, saving
from causal2vec.evaluation.costs import evaluated_parts
from causal2vec.evaluation.prompts import ASYMMETRIC, Prompts

BENCHMARK = "MTEB(eng, v1)"

EXAMPLES = Path(__file__).with_name("icl_example_lengths.csv")

MAX_TEXT, MAX_WITH_EXAMPLES = 512, 2048
"""Tokens of a text, and of a query with its examples (bge-en-icl, section 4)."""

TEMPLATE_TOKENS = 13
"""Of one example in bge-en-icl's template beside its instruction, query and response (SmolLM2's tokenizer)."""

TEXTS_PER_BATCH = 64
"""Assumed; it decides whether reading a short beginning once pays."""

PARTS = ("queries", "documents", "whole task")

PARTLY_NAMED = {"CQADupstackRetrieval": "CQADupstack"}
"""A task's name here -> there, where they part."""


class Texts(NamedTuple):
    """Some texts of a task: how many, and their mean length."""

    number: float
    characters: float

    @staticmethod
    def of(kinds: list[Mapping[str, Any]]) -> Texts:
        """Distinct texts of statistics of mteb's."""
        count = sum(kind["unique_texts"] for kind in kinds)
        characters = sum(kind["unique_texts"] * kind["average_text_length"] for kind in kinds)
        return Texts(count, characters / count if count else 0.0)


class Condition(NamedTuple):
    """One task of the benchmark: what is embedded, and what stands before a query, in tokens."""

    task: str
    type: str
    queries: Texts
    documents: Texts
    """Bare; none where all texts of a task are alike, which are queries then."""
    instruction: float
    examples: float


def characters_per_token(examples: Any) -> float:
    """Of the published examples: measured with SmolLM2's tokenizer on English text of the same kind."""
    return float(examples["characters"].sum() / (examples["query_tokens"] + examples["response_tokens"]).sum())


def conditions(prompts: Prompts) -> tuple[list[Condition], float]:
    """The benchmark's tasks for which examples are published, and the characters per token that were assumed.

    Args:
        prompts: The instructions.
    """
    import mteb

    examples: Any = pd.read_csv(EXAMPLES).set_index("task")
    ratio = characters_per_token(examples)
    found = []
    for task in mteb.get_benchmark(BENCHMARK).tasks:
        name = task.metadata.name
        row = examples.loc[PARTLY_NAMED.get(name, name)]
        own = task.metadata.prompt
        instruction = prompts.for_task(name, task.metadata.type, own)
        bare = len(instruction) - len(prompts.template.format(instruction=""))
        shown = row["query_tokens"] + row["response_tokens"] + row["examples"] * (TEMPLATE_TOKENS + bare / ratio)
        queries, documents = _texts(task)
        found.append(
            Condition(
                name,
                task.metadata.type,
                queries,
                documents,
                len(instruction) / ratio,
                min(float(shown), MAX_WITH_EXAMPLES - MAX_TEXT),
            )
        )
    return found, ratio


def _texts(task: Any) -> tuple[Texts, Texts]:
    parts = list(task.tasks) if getattr(task, "is_aggregate", False) else [task]
    queries: list[Mapping[str, Any]] = []
    documents: list[Mapping[str, Any]] = []
    for part in (statistics for one in parts for statistics in evaluated_parts(one)):
        for name, kind in part.items():
            if isinstance(kind, dict) and {"unique_texts", "average_text_length"} <= kind.keys():
                (documents if name.startswith("documents") else queries).append(kind)
    if task.metadata.type not in ASYMMETRIC:
        queries, documents = queries + documents, []
    return Texts.of(queries), Texts.of(documents)


def savings(
    found: list[Condition],
    ratio: float,
    laws: Mapping[str, Law],
    shapes: Mapping[str, Shape],
    ours: str,
    encoder_ratio: float = 1.0,
) -> pd.DataFrame:
    """How much less ``ours`` costs than every other method, in per cent: tokens into the LLM, and FLOPs.

    Args:
        found: The tasks.
        ratio: Characters per token.
        laws, shapes: By method.
        ours: The method whose savings they are.
        encoder_ratio: As for `causal2vec.efficiency.law.cost`.

    Returns:
        A row per task, part (`PARTS`), rival and ``reuse`` (whether a shared beginning is read once): ``texts``,
        ``text_tokens``, ``instruction_tokens``, ``example_tokens``, ``our_tokens``, ``their_tokens``,
        ``tokens_saved`` and ``flops_saved`` in per cent. Tokens are those that the LLM computes.
    """
    rows: list[dict[str, Any]] = []
    for condition in found:
        for reuse in (False, True):
            costs = {
                name: _costs(condition, ratio, law, shapes[name], reuse, encoder_ratio) for name, law in laws.items()
            }
            for rival in laws:
                if rival == ours:
                    continue
                for part in PARTS:
                    mine, theirs = costs[ours].get(part), costs[rival].get(part)
                    if mine is None or theirs is None:
                        continue
                    texts = {"queries": condition.queries, "documents": condition.documents}.get(part)
                    count = texts.number if texts else condition.queries.number + condition.documents.number
                    rows.append(
                        {
                            "task": condition.task,
                            "type": condition.type,
                            "part": part,
                            "rival": rival,
                            "reuse": "yes" if reuse else "no",
                            "texts": count,
                            "text_tokens": min(texts.characters / ratio, MAX_TEXT) if texts else None,
                            "instruction_tokens": 0.0 if part == "documents" else condition.instruction,
                            "example_tokens": 0.0 if part == "documents" else condition.examples,
                            "our_tokens": mine[0] / count,
                            "their_tokens": theirs[0] / count,
                            "tokens_saved": saving(mine[0], theirs[0]),
                            "flops_saved": saving(mine[1], theirs[1]),
                        }
                    )
    return pd.DataFrame(rows)


def _costs(
    condition: Condition, ratio: float, law: Law, shape: Shape, reuse: bool, encoder_ratio: float
) -> dict[str, tuple[float, float]]:
    """Tokens and FLOPs of all texts, by part."""
    made: dict[str, tuple[float, float]] = {}
    for part, texts in (("queries", condition.queries), ("documents", condition.documents)):
        if not texts.number:
            continue
        length = min(texts.characters / ratio, MAX_TEXT)
        before = (condition.instruction, condition.examples) if part == "queries" else (0.0, 0.0)
        one: Cost = cost(
            law,
            shape,
            Lengths(length, *before),
            reuse=reuse,
            texts=texts.number,
            per_batch=TEXTS_PER_BATCH,
            encoder_ratio=encoder_ratio,
        )
        tokens = one.computed_tokens if shape.llm else one.encoder_tokens
        made[part] = (tokens * texts.number, one.flops * texts.number)
    made["whole task"] = (sum(tokens for tokens, _ in made.values()), sum(flops for _, flops in made.values()))
    return made


def quantiles(table: pd.DataFrame, least: Mapping[str, float]) -> pd.DataFrame:
    """The savings over tasks: quartiles, the largest with its task, and the share of tasks that reach a claim.

    Args:
        table: As `savings` gives it.
        least: Column of savings -> the claim's per cent.
    """
    rows = []
    groups: Any = table.groupby(["part", "rival", "reuse"], sort=False)
    for (part, rival, reuse), own in groups:
        for column, claimed in least.items():
            saved = own[column]
            best = own.loc[saved.idxmax()]
            rows.append(
                {
                    "part": part,
                    "rival": rival,
                    "reuse": reuse,
                    "measure": column,
                    "tasks": len(own),
                    "first_quartile": saved.quantile(0.25),
                    "median": saved.median(),
                    "third_quartile": saved.quantile(0.75),
                    "most": saved.max(),
                    "most_task": best["task"],
                    "claimed": claimed,
                    "reached": int((saved >= claimed).sum()),
                }
            )
    return pd.DataFrame(rows)
