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

from causal2vec.config import Config
from causal2vec.config.prompts import ASYMMETRIC, Prompts, load_prompts
from causal2vec.config.runs import Run, runs_of
from causal2vec.config.settings import VARIANT, ZERO_SHOT
from causal2vec.efficiency.curves import COLUMNS as CURVES
from causal2vec.efficiency.curves import curves
from causal2vec.efficiency.law import (
    Cost,
    Law,
    Lengths,
    Shape,
    Speed,
    cost,
    law_of,
    saving,
    shape_of,
    speed_of,
    texts_per_batch,
)
from causal2vec.efficiency.names import (
    DOCUMENTS,
    PARTS,
    PUBLISHED_LENGTH,
    PUBLISHED_ON,
    QUERIES,
    READ_AGAIN,
    SAVES,
    WHOLE_TASK,
)
from causal2vec.evaluation.costs import evaluated_parts
from causal2vec.runtime.files import CHECKOUT

EXAMPLES = Path(__file__).with_name("icl_example_lengths.csv")

PROMPTS = CHECKOUT / "config/prompts_paper.yaml"
"""The instructions that published results were made with."""

MAX_WITH_EXAMPLES = 2048
"""Tokens of a query with its examples, of which a text has `PUBLISHED_LENGTH` at most (bge-en-icl, section 4)."""

TEMPLATE_TOKENS = 13
"""Of one example in bge-en-icl's template beside its instruction, query and response (SmolLM2's tokenizer)."""

BATCH_TOKENS = 4096
"""Tokens of a full batch, assumed; they decide whether reading a short beginning once pays."""

COLUMNS = [
    "task", "type", "part", "rival", "reuse", "texts", "text_tokens", "instruction_tokens", "example_tokens",
    "our_tokens", "their_tokens", "tokens_saved", "flops_saved", "time_saved",
]  # fmt: skip
"""Of `savings`, in order."""

PARTLY_NAMED = {"CQADupstackRetrieval": "CQADupstack"}
"""A task's name in mteb -> in `EXAMPLES`, where they differ."""


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
    for task in mteb.get_benchmark(PUBLISHED_ON).tasks:
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
                min(float(shown), MAX_WITH_EXAMPLES - PUBLISHED_LENGTH),
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
    speed: Speed | None = None,
) -> pd.DataFrame:
    """How much less ``ours`` costs than every other method, in per cent: tokens into the LLM, FLOPs, and time.

    Args:
        found: The tasks.
        ratio: Characters per token.
        laws, shapes: By method.
        ours: The method whose savings they are.
        encoder_ratio: As for `causal2vec.efficiency.law.cost`.
        speed: Of the machine; None: not measured, and no time is predicted.

    Returns:
        A row per task, part (`PARTS`), rival and ``reuse`` (whether a shared beginning is read once): ``texts``,
        ``text_tokens``, ``instruction_tokens``, ``example_tokens``, ``our_tokens``, ``their_tokens``,
        ``tokens_saved``, ``flops_saved`` and ``time_saved`` in per cent. Tokens are those that the LLM computes.
    """
    rows: list[dict[str, Any]] = []
    for condition in found:
        for reuse in (False, True):
            costs = {
                name: _costs(condition, ratio, law, shapes[name], reuse, encoder_ratio, speed)
                for name, law in laws.items()
            }
            for rival in laws:
                if rival == ours:
                    continue
                for part in PARTS:
                    mine, theirs = costs[ours].get(part), costs[rival].get(part)
                    if mine is None or theirs is None:
                        continue
                    texts = {QUERIES: condition.queries, DOCUMENTS: condition.documents}.get(part)
                    count = texts.number if texts else condition.queries.number + condition.documents.number
                    rows.append(
                        {
                            "task": condition.task,
                            "type": condition.type,
                            "part": part,
                            "rival": rival,
                            "reuse": "yes" if reuse else "no",
                            "texts": count,
                            "text_tokens": min(texts.characters / ratio, PUBLISHED_LENGTH) if texts else None,
                            "instruction_tokens": 0.0 if part == DOCUMENTS else condition.instruction,
                            "example_tokens": 0.0 if part == DOCUMENTS else condition.examples,
                            "our_tokens": mine[0] / count,
                            "their_tokens": theirs[0] / count,
                            "tokens_saved": saving(mine[0], theirs[0]),
                            "flops_saved": saving(mine[1], theirs[1]),
                            "time_saved": saving(mine[2], theirs[2]) if speed else None,
                        }
                    )
    return pd.DataFrame(rows, columns=COLUMNS)


def _costs(
    condition: Condition,
    ratio: float,
    law: Law,
    shape: Shape,
    reuse: bool,
    encoder_ratio: float,
    speed: Speed | None,
) -> dict[str, tuple[float, ...]]:
    """Tokens, FLOPs and seconds of all texts, by part."""
    made: dict[str, tuple[float, ...]] = {}
    for part, texts in ((QUERIES, condition.queries), (DOCUMENTS, condition.documents)):
        if not texts.number:
            continue
        length = min(texts.characters / ratio, PUBLISHED_LENGTH)
        before = (condition.instruction, condition.examples) if part == QUERIES else (0.0, 0.0)
        lengths = Lengths(length, *before)
        per_batch = texts_per_batch(law, lengths, BATCH_TOKENS, reuse=reuse)
        one: Cost = cost(
            law,
            shape,
            lengths,
            reuse=reuse,
            texts=texts.number,
            per_batch=per_batch,
            encoder_ratio=encoder_ratio,
        )
        tokens = one.computed_tokens if shape.llm else one.encoder_tokens
        time = speed.seconds(one.flops, per_batch) if speed else 0.0
        made[part] = (tokens * texts.number, one.flops * texts.number, time * texts.number)
    made[WHOLE_TASK] = tuple(map(sum, zip(*made.values(), strict=True)))
    return made


REFERENCE = "last_token"
"""Whose measured times tell how fast the machine is."""


def write_predictions(
    config: Config, work: Path, pairs: Path, efficiency: Path, published: Path, law: Path, prompts: Path = PROMPTS
) -> None:
    """Write what `savings` and `causal2vec.efficiency.curves.curves` say for every base of a study, as CSV.

    Args:
        config: The study.
        work: Holds ``models``.
        pairs: A parquet file of pairs; its texts tell how many tokens of the encoder go on one of the LLM.
        efficiency: ``efficiency.csv``, for what was measured, and how fast this machine is.
        published: The CSV file of savings, after a column ``base``.
        law: The CSV file of the curves, likewise.
        prompts: The instructions of the benchmark's tasks.
    """
    from causal2vec.runtime.files import write_text

    found, ratio = conditions(load_prompts(prompts))
    costs = pd.read_csv(efficiency)
    saved, drawn = [], []
    for base in config.bases:
        runs = _compared(config, base)
        laws, shapes, per_token = {}, {}, 1.0
        for name, run in runs.items():
            module = _shaped(config, run, work)
            laws[name], shapes[name] = law_of(module), shape_of(module)
            if {"llm", "encoder"} <= set(module.tokenizers):
                per_token = _encoder_ratio(module.tokenizers, pairs)
        speed = measured_speed(costs, base)
        if SAVES in runs:
            saved.append(savings(found, ratio, laws, shapes, SAVES, per_token, speed).assign(base=base))
        own = costs[costs["base"] == base]
        if len(own) and laws:
            drawn.append(curves(laws, shapes, own, config.efficiency, speed, per_token).assign(base=base))
    for tables, columns, output in ((saved, COLUMNS, published), (drawn, CURVES, law)):
        made = pd.concat(tables) if tables else pd.DataFrame(columns=["base", *columns])
        text = made[["base", *columns]].to_csv(index=False, float_format="%.6g", lineterminator="\n")
        write_text(output, text)


def measured_speed(efficiency: Any, base: str) -> Speed | None:
    """How fast `REFERENCE` is on a base, by the rows in which every token is read."""
    rows = efficiency[(efficiency["method"].str.removesuffix(ZERO_SHOT) == REFERENCE) & (efficiency["base"] == base)]
    rows = rows[rows["text_tokens"].astype(str).str.isdigit() & (rows["reuse"] == READ_AGAIN)]
    points = zip(1e9 * rows["gflops_per_text"], rows["batch_size"], rows["seconds_per_1000_texts"] / 1000, strict=True)
    return speed_of([(float(flops), float(size), float(seconds)) for flops, size, seconds in points])


def _compared(config: Config, base: str) -> dict[str, Run]:
    """One run per method on a base; an encoder alone, on a base of its own, has no LLM to save tokens of."""
    found: dict[str, Run] = {}
    for run in runs_of(config):
        name = run.method.removesuffix(ZERO_SHOT)
        if VARIANT not in run.method and run.base == base:
            found.setdefault(name, run)
    return found


def _shaped(config: Config, run: Run, work: Path) -> Any:
    from transformers import AutoTokenizer

    from causal2vec.efficiency.architecture import load_architecture
    from causal2vec.efficiency.reading import build

    names = {"llm": run.base, "encoder": run.encoder}
    parts = {part: load_architecture(name, config.models[name], work) for part, name in names.items()}
    read = {part: AutoTokenizer.from_pretrained(work / "models" / name) for part, name in names.items()}
    longest = run.model_copy(update={"budget": run.budget.model_copy(update={"max_length": PUBLISHED_LENGTH})})
    return build(longest, parts, read)


def _encoder_ratio(tokenizers: Any, pairs: Path) -> float:
    frame: Any = pd.read_parquet(pairs, columns=["query", "positive"]).head(200)
    texts = [*frame["query"], *frame["positive"]]
    counts = {
        part: sum(map(len, tokenizers[part](texts, add_special_tokens=False)["input_ids"]))
        for part in ("llm", "encoder")
    }
    return counts["encoder"] / counts["llm"]
