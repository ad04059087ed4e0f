"""What a claim is, as checked data, and what a verdict on it is.

A claims file (``config/claims.yaml``) holds what papers say about the compared methods, one entry per claim, in a form
that a study can be held against. Nothing here looks at a score.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from causal2vec.config import Section
from causal2vec.config.settings import Number, Whole
from causal2vec.errors import UserError, fault_sentence, hint
from causal2vec.reporting.analysis.evidence import ALL, Group
from causal2vec.runtime.files import read_yaml

BEST_RIVAL = "best_rival"
"""Stands for the method with the highest score among those that the claim's first method is compared with."""

Confidence = Literal["confirmed", "third-hand", "inference"]
"""Read in the source itself; somebody else's account of it; our own reading, which the source does not spell out."""

Word = Literal[
    "supported", "indicated", "contradicted", "indicated against", "reached", "not reached", "inconclusive", "void",
    "not run",
]  # fmt: skip
"""*Reached* and *not reached* are verdicts on "up to": whether there is a condition under which it holds."""
Text = Annotated[str, Field(min_length=1)]


class Variant(Section):
    """One value of an ablation: ``{ablation: pooling, value: eos}``."""

    ablation: Text = Field(description="the ablation's name in the configuration, or the last part of its axis")
    value: str | bool | int | float
    method: Text = Field("causal2vec", description="the varied method")

    def __str__(self) -> str:
        return f"{self.method} with {self.ablation} {self.value}"


def _kind_of_side(value: Any) -> str:
    return "#variant" if isinstance(value, dict | Variant) else "#method"


Side = Annotated[
    Annotated[Variant, Tag("#variant")] | Annotated[Text, Tag("#method")],
    Discriminator(_kind_of_side),
]
"""What is compared: a method's name, an ablation's value, or `BEST_RIVAL`."""

Unit = Literal["points", "%", "score"]


class Scope(Section):
    """What scores are averaged over; nothing set means all tasks of the study."""

    benchmark: Text | None = None
    type: Text | None = Field(default=None, description="a task type of MTEB, alone or within the benchmark")
    task: Text | None = None

    @model_validator(mode="after")
    def _one_scope(self) -> Scope:
        if self.task and (self.benchmark or self.type):
            raise ValueError("'task' stands alone; remove 'benchmark' and 'type', or 'task'")
        return self

    @property
    def group(self) -> Group:
        """The same as the statistics name it."""
        if self.task:
            return "task", self.task
        if self.benchmark and self.type:
            return "benchmark_type", f"{self.benchmark}: {self.type}"
        if self.benchmark:
            return "benchmark", self.benchmark
        return ("type", self.type) if self.type else ALL

    @property
    def words(self) -> str:
        """The same in words."""
        scope, name = self.group
        if self.group == ALL:
            return "over all tasks"
        return {"task": "on", "type": "over all tasks of type"}.get(scope, "over") + f" {name}"


class Claim(Section):
    """What all kinds of claims share."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: Annotated[str, Field(min_length=1, max_length=60)] = Field(description="a few words, for tables")
    statement: Text = Field(description="one sentence, in our own words")
    paper: Text
    source: Text = Field(description="where it is said: arXiv id and table, or the abstract")
    confidence: Confidence
    published: str = Field("", description="the published numbers, as they would be printed beside ours")
    bases: list[Text] | None = Field(
        None, min_length=1, description="patterns (* and ?, any case) of the bases it is about; null: every base"
    )
    unit: ClassVar[Unit] = "points"

    @property
    @abstractmethod
    def expected(self) -> str:
        """What the claim lets one expect."""


class Comparison(Claim):
    """``first`` scores higher than ``second``."""

    kind: Literal["comparison"]
    first: Side
    second: Side
    over: Scope = Scope()

    @model_validator(mode="after")
    def _two_sides(self) -> Comparison:
        _check_sides(self.first, self.second)
        return self

    @property
    def expected(self) -> str:
        """What the claim lets one expect."""
        return f"{_named(self.first)} above {_named(self.second)} {self.over.words}"


class Reduction(Claim):
    """``first`` needs up to ``value`` per cent less of a cost than ``second``."""

    unit = "%"
    kind: Literal["reduction"]
    first: Side
    second: Side
    cost: Literal["length", "time"] = Field(
        description="tokens that the LLM reads per text, or seconds per 1,000 texts"
    )
    value: Annotated[Number, Field(gt=0, lt=100)]
    tolerance: Annotated[Number, Field(ge=0)] = 1.0
    at: Annotated[Whole, Field(gt=0)] | Literal["mixed"] | None = Field(
        None, description="a text length in tokens, or mixed; null: the largest over all measured lengths"
    )

    @model_validator(mode="after")
    def _two_sides(self) -> Reduction:
        _check_sides(self.first, self.second)
        if self.tolerance >= self.value:
            raise ValueError(f"'tolerance' {self.tolerance:g} is not below 'value' {self.value:g}; any result would do")
        return self

    @property
    def expected(self) -> str:
        """What the claim lets one expect."""
        cost = "fewer tokens into the LLM" if self.cost == "length" else "less time"
        at = "" if self.at is None else f" at text length {self.at}"
        amount = f"up to {self.value:g} % (tolerance {self.tolerance:g}) {cost}"
        return f"{_named(self.first)}: {amount} than {_named(self.second)}{at}"


class Value(Claim):
    """A method scores ``value`` (0 to 100) on a benchmark and a base."""

    unit = "score"
    kind: Literal["value"]
    method: Side
    over: Scope
    value: Annotated[Number, Field(ge=0, le=100)]
    tolerance: Annotated[Number, Field(gt=0)] = 0.5

    @model_validator(mode="after")
    def _complete(self) -> Value:
        if not (self.over.benchmark or self.over.task):
            raise ValueError("a 'value' claim needs the benchmark or the task it was measured on; add it to 'over'")
        if self.bases is None:
            raise ValueError("a 'value' claim needs the base it was measured on; add 'bases'")
        if self.method == BEST_RIVAL:
            raise ValueError(f"'{BEST_RIVAL}' has no published value; name a method")
        return self

    @property
    def expected(self) -> str:
        """What the claim lets one expect."""
        return f"{_named(self.method)} at {self.value:.2f} ± {self.tolerance:g} {self.over.words}"


def _named(side: Variant | str) -> str:
    return "the best rival" if side == BEST_RIVAL else str(side)


def _check_sides(first: Variant | str, second: Variant | str) -> None:
    if first == BEST_RIVAL:
        raise ValueError(f"'first' is '{BEST_RIVAL}', but only 'second' may be; exchange the two")
    if first == second:
        raise ValueError(f"'first' and 'second' are both '{first}'; a claim compares two different things")


KINDS: dict[str, type[Claim]] = {"comparison": Comparison, "reduction": Reduction, "value": Value}
"""The kinds of claims by the word in the file."""


@dataclass(frozen=True)
class Verdict:
    """What a study says about a claim on one base.

    What it shares with the `Claim` means the same.

    Attributes:
        base: The compared base that the verdict is on.
        evidence: One or two sentences with the numbers, or with what is missing.
        expected: What the claim lets one expect.
        measured: A difference in points, a reduction in per cent or a score (0 to 100), by ``unit``; None if not run.
        low: Lower end of the 95 % interval, or for time of the range over repeats; None without one.
        high: Upper end.
        unit: ``points``, ``%`` or ``score``.
    """

    claim_id: str
    title: str
    statement: str
    paper: str
    source: str
    confidence: Confidence
    base: str
    verdict: Word
    evidence: str
    expected: str
    published: str = ""
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    unit: Unit = "points"


def load_claims(path: Path) -> list[Claim]:
    """Read and check a claims file: a YAML mapping whose only key, ``claims``, holds a list.

    Raises:
        UserError: One sentence that names the file, the claim and the key that is unknown, missing or impossible.
    """
    content = read_yaml(path, "name a file such as config/claims.yaml")
    if not isinstance(content, dict) or set(content) != {"claims"} or not isinstance(content["claims"], list):
        raise UserError(f"{path} must hold one key, 'claims', with a list of claims; see config/claims.yaml for one")
    claims = [_claim(path, number, raw) for number, raw in enumerate(content["claims"], start=1)]
    twice = [name for name, count in Counter(claim.id for claim in claims).items() if count > 1]
    if twice:
        raise UserError(f"{path}: the id '{twice[0]}' is given to two claims; rename one of them")
    return claims


def _claim(path: Path, number: int, raw: Any) -> Claim:
    if not isinstance(raw, dict):
        raise UserError(f"{path}, claim {number}: must be a mapping with an id, a kind and so on; see the others")
    where = f"{path}, claim {repr(raw['id']) if 'id' in raw else number}"
    kind = raw.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        near = hint(str(kind), list(KINDS))
        raise UserError(f"{where}: 'kind' is {kind!r}, not one of {', '.join(KINDS)}{near}; correct it")
    try:
        return KINDS[kind].model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{where}: {'; '.join(_sentence(fault, KINDS[kind]) for fault in error.errors())}") from error


def _sentence(fault: Any, model: type[Section]) -> str:
    # A tag says which form of a side was tried and is no key of the file.
    place = [str(part) for part in fault["loc"] if not str(part).startswith("#")]
    inner = model if len(place) <= 1 else Scope if place[0] == "over" else Variant
    return fault_sentence(fault, ".".join(place), list(inner.model_fields))
