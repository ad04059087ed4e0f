"""What is measured: conditions, the texts and what stands before them, and which models run at the same time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import pandas as pd

from causal2vec.config.prompts import Prompts
from causal2vec.config.settings import Efficiency
from causal2vec.data.pairs.files import read_pairs
from causal2vec.efficiency.names import EXAMPLES, INSTRUCTION, MIXED, PLAIN, TASK
from causal2vec.errors import UserError, one_line

EXAMPLE = "<instruct>{instruction}\n<query>{query}\n<response>{response}\n\n"
"""An in-context example, and what its beginning says before the text itself, as bge-en-icl has them
(arXiv 2409.15700)."""

ASKED = "<instruct>{instruction}\n<query>"

SHORTEST = 24
"""Tokens that an example has at least, roughly: with less room left no more are looked for."""


FEWEST, FEWEST_SHARING = 2, 8
"""Texts of a measurement at least, however long they are; and where they share a beginning that is read once."""

LATENCY_TEXTS = 2
"""Single texts that latency is the mean of, in every repetition."""


class Case(NamedTuple):
    """One kind of row. ``length`` is a number of tokens, `MIXED`, or `TASK` and a task's name.

    ``examples`` is how many tokens of examples are asked for; 0 in the other settings.
    """

    length: int | str
    setting: str
    reuse: bool
    examples: int = 0


class Workload(NamedTuple):
    """The texts of one `Case` and the prompt before each of them."""

    case: Case
    texts: list[str]
    prompt: str


def cases_of(settings: Efficiency) -> list[Case]:
    """All rows of one method; reading a beginning once is only asked for where a prompt makes one.

    Of several lengths of examples the first stands before texts of every length that has prompts, the others only
    before the first of these: they tell how costs grow with the examples.
    """
    corpora = [MIXED, *(TASK + name for name in settings.tasks)]
    chosen = settings.settings_lengths
    prompted = [*settings.lengths, *corpora] if chosen is None else chosen
    found = []
    for length in dict.fromkeys([*settings.lengths, *prompted, *corpora]):
        found.append(Case(length, PLAIN, reuse=False))
        if length in prompted:
            found += [Case(length, INSTRUCTION, reuse) for reuse in (False, True)]
            sizes = dict.fromkeys(settings.example_tokens if length == prompted[0] else settings.example_tokens[:1])
            found += [Case(length, EXAMPLES, reuse, size) for size in sizes for reuse in (False, True)]
    return found


def number_of_texts(settings: Efficiency, tokens: float, *, sharing: bool = False) -> int:
    """Texts of a measurement whose texts have so many tokens to compute each, but for a beginning that they share."""
    fit = settings.texts if settings.max_tokens is None else int(settings.max_tokens / max(tokens, 1))
    return min(settings.texts, max(FEWEST_SHARING if sharing else FEWEST, fit))


def make_workloads(pairs: Path, tokenizer: Path, settings: Efficiency, task_texts: Path | None) -> list[Workload]:
    """Real texts: cut to each nominal length, as they are, and those of evaluation tasks.

    Args:
        pairs: A parquet file of pairs: positives are the texts, whole pairs the in-context examples.
        tokenizer: The folder of the base whose tokens the nominal lengths count.
        settings: What is asked for.
        task_texts: Parquet file with the columns ``task`` and ``text``.

    Raises:
        UserError: There is too little text for the configured lengths, or none of a task.
    """
    from transformers import AutoTokenizer

    if not tokenizer.is_dir():
        raise UserError(f"{tokenizer} is no folder; name the model folder whose tokens count")
    try:
        reader = AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{tokenizer} holds no tokenizer ({one_line(error)}); name a model folder") from error
    frame = read_pairs(pairs).to_pandas()
    cases = cases_of(settings)
    prompts = _prompts(frame, reader, settings)
    before = {kind: len(_ids(reader, prompt)) for kind, prompt in prompts.items()}
    stock = {MIXED: frame["positive"].tolist(), **_of_tasks(settings.tasks, task_texts)}
    lengths = sorted({case.length for case in cases if isinstance(case.length, int)})
    stock |= _cut(stock[MIXED], reader, lengths, settings, pairs)
    means = {length: _mean_tokens(reader, texts, length) for length, texts in stock.items()}
    workloads = []
    for case in cases:
        kind = case.setting, case.examples
        tokens = means[case.length] + (0 if case.reuse else before[kind])
        texts = _spread(stock[case.length], number_of_texts(settings, tokens, sharing=case.reuse))
        workloads.append(Workload(case, texts, prompts[kind]))
    return workloads


def _prompts(frame: pd.DataFrame, reader: Any, settings: Efficiency) -> dict[tuple[str, int], str]:
    """The words before a text by setting and tokens of examples."""
    words = {"instruction": settings.instruction}
    asked = ASKED.format(**words)
    examples = {(EXAMPLES, size): _examples(frame, reader, settings, size) + asked for size in settings.example_tokens}
    return {(PLAIN, 0): "", (INSTRUCTION, 0): Prompts().template.format(**words), **examples}


def _examples(frame: pd.DataFrame, reader: Any, settings: Efficiency, room: int) -> str:
    """Pairs as examples, of about so many tokens in all."""
    chosen = ""
    for query, response in zip(frame["query"], frame["positive"], strict=True):
        example = EXAMPLE.format(instruction=settings.instruction, query=query, response=response)
        size = len(_ids(reader, example))
        if size <= room:
            room, chosen = room - size, chosen + example
        if room < SHORTEST:
            break
    return chosen


def _cut(
    texts: list[str], reader: Any, lengths: list[int], settings: Efficiency, pairs: Path
) -> dict[int | str, list[str]]:
    """Stretches of real text of each length in tokens."""
    ids = _ids(reader, " ".join(texts))
    counts = {length: number_of_texts(settings, length, sharing=True) for length in lengths}
    needed = max(length * count for length, count in counts.items())
    if len(ids) < needed or len(texts) < settings.texts:
        raise UserError(
            f"{pairs} holds {len(ids)} tokens in {len(texts)} texts, too few for efficiency.texts={settings.texts} of "
            f"efficiency.lengths up to {max(lengths)}; lower them, set efficiency.max_tokens or raise pairs.validation"
        )
    return {
        length: reader.batch_decode([ids[i * length : (i + 1) * length] for i in range(count)])
        for length, count in counts.items()
    }


def _of_tasks(names: list[str], file: Path | None) -> dict[int | str, list[str]]:
    if not names:
        return {}
    if file is None:
        raise UserError(f"efficiency.tasks names {', '.join(names)}, but no file of task texts is given; give one")
    frame = pd.read_parquet(file)
    known = set(frame["task"])
    if missing := [name for name in names if name not in known]:
        raise UserError(
            f"{file} has no texts of {missing[0]} (it has {', '.join(sorted(known))}); "
            "efficiency.tasks can only name tasks that are evaluated"
        )
    return {TASK + name: frame.loc[frame["task"] == name, "text"].tolist() for name in names}


def _mean_tokens(reader: Any, texts: list[str], length: int | str) -> float:
    if isinstance(length, int):
        return length
    return sum(map(len, reader(texts, add_special_tokens=False, verbose=False)["input_ids"])) / len(texts)


def _ids(reader: Any, text: str) -> list[int]:
    return reader(text, add_special_tokens=False, verbose=False)["input_ids"]


def _spread(texts: list[str], count: int) -> list[str]:
    """So many of the texts, from everywhere among them."""
    count = min(count, len(texts))
    return [texts[i * len(texts) // count] for i in range(count)]


class OnBase(Protocol):
    """Whatever stands for a model: it has a base."""

    @property
    def base(self) -> str:
        """The base's name."""
        ...


Model = TypeVar("Model", bound=OnBase)


def side_by_side(models: list[Model]) -> list[list[Model]]:
    """The models by base: a GPU may hold all methods on one large LLM, but not on three.

    A base that only one model has, such as a control's encoder, goes with the first group.
    """
    groups: dict[str, list[Model]] = {}
    for model in models:
        groups.setdefault(model.base, []).append(model)
    shared = [group for group in groups.values() if len(group) > 1] or [[]]
    alone = [group[0] for group in groups.values() if len(group) == 1]
    return [[*shared[0], *alone], *shared[1:]]
