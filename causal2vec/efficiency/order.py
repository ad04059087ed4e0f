"""What is measured, without the texts: conditions, variants, and which models run at the same time."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar

from causal2vec.config.settings import Efficiency
from causal2vec.efficiency.names import (
    EXAMPLES,
    INSTRUCTION,
    MIXED,
    PLAIN,
    TASK,
)

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


class OnBase(Protocol):
    """Whatever stands for a model: it has a base."""

    @property
    def base(self) -> str:
        """The base's name."""
        ...


Model = TypeVar("Model", bound=OnBase)


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
