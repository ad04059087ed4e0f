"""Which models are measured at the same time."""

from __future__ import annotations

from typing import Protocol, TypeVar


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
