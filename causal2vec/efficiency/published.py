"""The law of costs over a study: at the conditions where the efficiency claim was published, and over all lengths.

The published conditions are MTEB's English tasks with the examples that bge-en-icl publishes. For each task: how long
its texts are (mteb's own descriptive statistics), its instruction, and the published examples
(`icl_example_lengths.csv`, counted with SmolLM2's tokenizer in FlagOpen/FlagEmbedding 7ed43d6; the texts are not kept).
Nothing is downloaded or computed by a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from causal2vec.config import Config
from causal2vec.config.prompts import ASYMMETRIC, Prompts, load_prompts
from causal2vec.config.runs import Run, runs_of
from causal2vec.config.settings import VARIANT, ZERO_SHOT, Efficiency
from causal2vec.efficiency.law import (
    Cost,
    Law,
    Lengths,
    Linear,
    Shape,
    Speed,
    append_cost,
    cost,
    law_of,
    shape_of,
    speed_of,
    texts_per_batch,
)
from causal2vec.efficiency.names import (
    DOCUMENTS,
    EMBED,
    EXAMPLES,
    GROW,
    INSTRUCTION,
    PLAIN,
    PUBLISHED_LENGTH,
    PUBLISHED_ON,
    QUERIES,
    READ_AGAIN,
    READ_ONCE,
    SAVES,
    WHOLE_TASK,
    saved,
)
from causal2vec.efficiency.workloads import number_of_texts
from causal2vec.evaluation.costs import evaluated_parts
from causal2vec.runtime.files import CHECKOUT, write_text

EXAMPLE_LENGTHS = Path(__file__).with_name("icl_example_lengths.csv")

PROMPTS = CHECKOUT / "config/prompts_paper.yaml"
"""The instructions that published results were made with."""

MAX_WITH_EXAMPLES = 2048
"""Tokens of a query with its examples, of which a text has `PUBLISHED_LENGTH` at most (bge-en-icl, section 4)."""

TEMPLATE_TOKENS = 13
"""Of one example in bge-en-icl's template beside its instruction, query and response (SmolLM2's tokenizer)."""

BATCH_TOKENS = 4096
"""Tokens of a full batch, assumed; they decide whether reading a short beginning once pays."""

PARTLY_NAMED = {"CQADupstackRetrieval": "CQADupstack"}
"""A task's name in mteb -> in `EXAMPLE_LENGTHS`, where they differ."""

REFERENCE = "last_token"
"""Whose measured times tell how fast the machine is."""

MORE = 32
"""Tokens that a text grows by."""

STEPS_PER_OCTAVE, PROMPT_LENGTHS = 2, 13
"""How finely lengths of texts are told, and how many lengths of examples."""

SAVINGS_COLUMNS = [
    "task", "type", "part", "rival", "reuse", "texts", "text_tokens", "instruction_tokens", "example_tokens",
    "our_tokens", "their_tokens", "tokens_saved", "flops_saved", "time_saved",
]  # fmt: skip

CURVES_COLUMNS = [
    "method", "what", "setting", "reuse", "text_tokens", "prompt_tokens", "llm_tokens", "encoder_tokens",
    "computed_tokens", "gflops_per_text", "ms_per_text",
]  # fmt: skip


class Methods(NamedTuple):
    """The methods on one base, by name, and how fast the machine is."""

    laws: Mapping[str, Law]
    shapes: Mapping[str, Shape]
    speed: Speed | None = None
    """None: not measured, and no time is predicted."""
    encoder_ratio: float = 1.0
    """As for `causal2vec.efficiency.law.cost`."""

    def cost(self, name: str, lengths: Lengths, *, reuse: bool, texts: float, per_batch: float) -> Cost:
        """What one text costs a method."""
        law, shape, ratio = self.laws[name], self.shapes[name], self.encoder_ratio
        return cost(law, shape, lengths, reuse=reuse, texts=texts, per_batch=per_batch, encoder_ratio=ratio)


def write_predictions(
    config: Config, work: Path, pairs: Path, efficiency: Path, published: Path, law: Path, prompts: Path = PROMPTS
) -> None:
    """Write what `savings` and `curves` say for every base of a study, as CSV.

    Args:
        config: The study.
        work: Holds ``models``.
        pairs: A parquet file of pairs; its texts tell how many tokens of the encoder go on one of the LLM.
        efficiency: ``efficiency.csv``, for what was measured, and how fast this machine is.
        published: The CSV file of savings, after a column ``base``.
        law: The CSV file of the curves, likewise.
        prompts: The instructions of the benchmark's tasks.
    """
    found, characters = conditions(load_prompts(prompts))
    costs = pd.read_csv(efficiency)
    savings_of, curves_of = [], []
    for base in config.bases:
        methods = _methods(config, base, work, pairs, measured_speed(costs, base))
        if SAVES in methods.laws:
            savings_of.append(savings(found, characters, methods, SAVES).assign(base=base))
        own = costs[costs["base"] == base]
        if len(own) and methods.laws:
            curves_of.append(curves(methods, own, config.efficiency).assign(base=base))
    for tables, columns, output in ((savings_of, SAVINGS_COLUMNS, published), (curves_of, CURVES_COLUMNS, law)):
        made = pd.concat(tables) if tables else pd.DataFrame(columns=["base", *columns])
        write_text(output, made[["base", *columns]].to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def measured_speed(efficiency: Any, base: str) -> Speed | None:
    """How fast `REFERENCE` is on a base, by the rows in which every token is read."""
    rows = efficiency[(efficiency["method"].str.removesuffix(ZERO_SHOT) == REFERENCE) & (efficiency["base"] == base)]
    rows = rows[rows["text_tokens"].astype(str).str.isdigit() & (rows["reuse"] == READ_AGAIN)]
    points = zip(1e9 * rows["gflops_per_text"], rows["batch_size"], rows["seconds_per_1000_texts"] / 1000, strict=True)
    return speed_of([(float(flops), float(size), float(seconds)) for flops, size, seconds in points])


def _methods(config: Config, base: str, work: Path, pairs: Path, speed: Speed | None) -> Methods:
    """Every method on a base; an encoder alone, on a base of its own, has no LLM to save tokens of."""
    laws: dict[str, Law] = {}
    shapes: dict[str, Shape] = {}
    ratio = 1.0
    for run in runs_of(config):
        name = run.method.removesuffix(ZERO_SHOT)
        if VARIANT in run.method or run.base != base or name in laws:
            continue
        module = _shaped(config, run, work)
        laws[name], shapes[name] = law_of(module), shape_of(module)
        if {"llm", "encoder"} <= set(module.tokenizers):
            ratio = _encoder_ratio(module.tokenizers, pairs)
    return Methods(laws, shapes, speed, ratio)


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
    llm, encoder = (
        sum(map(len, tokenizers[part](texts, add_special_tokens=False)["input_ids"])) for part in ("llm", "encoder")
    )
    return encoder / llm


# -- the published conditions ----------------------------------------------------------------------------


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
    """The benchmark's tasks for which examples are published, and the characters per token that were assumed."""
    import mteb

    examples: Any = pd.read_csv(EXAMPLE_LENGTHS).set_index("task")
    ratio = characters_per_token(examples)
    found = []
    for task in mteb.get_benchmark(PUBLISHED_ON).tasks:
        name, kind = task.metadata.name, task.metadata.type
        row = examples.loc[PARTLY_NAMED.get(name, name)]
        instruction = prompts.for_task(name, kind, task.metadata.prompt)
        bare = len(instruction) - len(prompts.template.format(instruction=""))
        shown = row["query_tokens"] + row["response_tokens"] + row["examples"] * (TEMPLATE_TOKENS + bare / ratio)
        shown = min(float(shown), MAX_WITH_EXAMPLES - PUBLISHED_LENGTH)
        found.append(Condition(name, kind, *_texts(task), len(instruction) / ratio, shown))
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


def savings(found: list[Condition], characters: float, methods: Methods, ours: str) -> pd.DataFrame:
    """How much less ``ours`` costs than every other method, in per cent: tokens into the LLM, FLOPs, and time.

    Args:
        found: The tasks.
        characters: Per token.
        methods: All of them.
        ours: The method whose savings they are.

    Returns:
        `SAVINGS_COLUMNS`: a row per task, part (`PARTS`), rival and ``reuse`` (whether a shared beginning is read
        once). Tokens are those that the LLM computes.
    """
    rows: list[dict[str, Any]] = []
    for task in found:
        for reuse in (False, True):
            costs = {name: _costs(task, characters, methods, name, reuse) for name in methods.laws}
            own = costs.pop(ours)
            rows += [
                _saving(task, characters, part, own[part], theirs)
                | {"rival": rival, "reuse": READ_ONCE if reuse else READ_AGAIN}
                for rival, by_part in costs.items()
                for part, theirs in by_part.items()
            ]
    return pd.DataFrame(rows, columns=SAVINGS_COLUMNS)


def _saving(
    task: Condition, characters: float, part: str, ours: tuple[float, ...], theirs: tuple[float, ...]
) -> dict[str, Any]:
    texts = {QUERIES: task.queries, DOCUMENTS: task.documents}.get(part)
    count = texts.number if texts else task.queries.number + task.documents.number
    return {
        "task": task.task,
        "type": task.type,
        "part": part,
        "texts": count,
        "text_tokens": min(texts.characters / characters, PUBLISHED_LENGTH) if texts else None,
        "instruction_tokens": 0.0 if part == DOCUMENTS else task.instruction,
        "example_tokens": 0.0 if part == DOCUMENTS else task.examples,
        "our_tokens": ours[0] / count,
        "their_tokens": theirs[0] / count,
        # Of the three, time is the last, and absent where no speed is known.
        **dict(zip(("tokens_saved", "flops_saved", "time_saved"), map(saved, ours, theirs), strict=False)),
    }


def _costs(
    task: Condition, characters: float, methods: Methods, name: str, reuse: bool
) -> dict[str, tuple[float, ...]]:
    """Tokens, FLOPs and (if a speed is known) seconds of all texts, by part."""
    made: dict[str, tuple[float, ...]] = {}
    for part, texts in ((QUERIES, task.queries), (DOCUMENTS, task.documents)):
        if not texts.number:
            continue
        before = (task.instruction, task.examples) if part == QUERIES else (0.0, 0.0)
        lengths = Lengths(min(texts.characters / characters, PUBLISHED_LENGTH), *before)
        per_batch = texts_per_batch(methods.laws[name], lengths, BATCH_TOKENS, reuse=reuse)
        one = methods.cost(name, lengths, reuse=reuse, texts=texts.number, per_batch=per_batch)
        tokens = one.computed_tokens if methods.shapes[name].llm else one.encoder_tokens
        time = [methods.speed.seconds(one.flops, per_batch)] if methods.speed else []
        made[part] = tuple(amount * texts.number for amount in (tokens, one.flops, *time))
    made[WHOLE_TASK] = tuple(map(sum, zip(*made.values(), strict=True)))
    return made


# -- over all lengths ------------------------------------------------------------------------------------


class Point(NamedTuple):
    """One length of text behind one prompt."""

    setting: str
    text: int
    prompt: float


def curves(methods: Methods, measured: Any, settings: Efficiency) -> pd.DataFrame:
    """What every method costs over the lengths that were measured and between them.

    The conditions are those of the measurement, so that each can be held against the other.

    Args:
        methods: All of them.
        measured: The rows of ``efficiency.csv`` on one base; they tell which lengths and prompts there are.
        settings: How many texts a measurement has.

    Returns:
        `CURVES_COLUMNS`: a row per method, ``what`` (`EMBED`: a text; `GROW`: one that was embedded before and grew by
        `MORE` tokens, as a chat or a log does), setting, ``reuse`` and lengths.
    """
    fixed = measured[measured["text_tokens"].astype(str).str.isdigit()]
    budget = float(pd.to_numeric(fixed["batch_tokens"]).max())
    asked = fixed[fixed["setting"] == INSTRUCTION]
    growing = _measured_lengths(asked if len(asked) else fixed)
    rows = []
    for name, law in methods.laws.items():
        for point in points_of(fixed):
            lengths = Lengths(point.text, point.prompt)
            for reuse in (False, True):
                if reuse and (point.setting == PLAIN or law.reading(lengths).head == Linear()):
                    continue
                texts = number_of_texts(settings, point.text + (0 if reuse else point.prompt), sharing=reuse)
                per_batch = min(texts, texts_per_batch(law, lengths, budget, reuse=reuse))
                found = methods.cost(name, lengths, reuse=reuse, texts=texts, per_batch=per_batch)
                once = found.computed_tokens < found.llm_tokens
                if once or not reuse:
                    # A beginning that is read once is a pass of its own, shared out.
                    passes = 1 / (1 / per_batch + (1 / texts if once else 0))
                    rows.append(_row(name, EMBED, point, reuse, found, methods.speed, passes))
            if point.text in growing:
                grown = append_cost(law, methods.shapes[name], lengths, MORE, encoder_ratio=methods.encoder_ratio)
                rows.append(_row(name, GROW, point, False, grown, methods.speed, 1.0))
    return pd.DataFrame(rows, columns=CURVES_COLUMNS)


def _row(
    method: str, what: str, point: Point, reuse: bool, found: Cost, speed: Speed | None, per_batch: float
) -> dict[str, Any]:
    return {
        "method": method,
        "what": what,
        "setting": point.setting,
        "reuse": READ_ONCE if reuse else READ_AGAIN,
        "text_tokens": point.text,
        "prompt_tokens": point.prompt,
        "llm_tokens": found.llm_tokens,
        "encoder_tokens": found.encoder_tokens,
        "computed_tokens": found.computed_tokens,
        "gflops_per_text": found.flops / 1e9,
        "ms_per_text": 1000 * speed.seconds(found.flops, per_batch) if speed else None,
    }


def points_of(fixed: Any) -> list[Point]:
    """Lengths of texts behind each prompt, and of examples behind the length that most of them were measured at."""
    found = [Point(PLAIN, text, 0.0) for text in _between(_measured_lengths(fixed))]
    prompted = fixed[fixed["prompt_tokens"] > 0]
    for setting in (INSTRUCTION, EXAMPLES):
        for prompt, rows in prompted[prompted["setting"] == setting].groupby("prompt_tokens"):
            found += [Point(setting, text, float(prompt)) for text in _between(_measured_lengths(rows))]
    shown = prompted[prompted["setting"] == EXAMPLES]
    if len(shown):
        most = int(shown.groupby("text_tokens")["prompt_tokens"].nunique().sort_index().idxmax())
        asked = prompted[prompted["setting"] == INSTRUCTION]
        least = float((asked if len(asked) else shown)["prompt_tokens"].min())
        step = (shown["prompt_tokens"].max() - least) / (PROMPT_LENGTHS - 1)
        found += [Point(EXAMPLES, most, round(least + k * step, 1)) for k in range(PROMPT_LENGTHS)]
    return list(dict.fromkeys(found))


def _measured_lengths(fixed: Any) -> list[int]:
    return sorted({int(text) for text in fixed["text_tokens"]})


def _between(lengths: Iterable[int]) -> list[int]:
    """The lengths, and some between the shortest and the longest."""
    known = sorted(lengths)
    found, length = set(known), float(known[0])
    while length < known[-1]:
        found.add(round(length))
        length *= 2 ** (1 / STEPS_PER_OCTAVE)
    return sorted(found)
