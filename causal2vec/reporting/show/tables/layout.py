"""Which tables there are and what they show, as data: ``config/tables.yaml``, checked.

A table's ``kind`` says what its rows are; its columns are named in the file, so that a table or a column is added
there and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from causal2vec.config.settings import Number, Whole
from causal2vec.errors import UserError, fault_sentence, hint
from causal2vec.reporting.read.benchmarks import load_benchmarks
from causal2vec.reporting.show.tables.grid import Better, Cell, Column, RowGroup, Spread, Table, number_cell
from causal2vec.runtime.files import read_yaml

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Rows = Literal["trained", "untrained", "variants", "imported", "published"]


class Section(BaseModel):
    """A block of the file; an unknown key is an error, never silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _known_benchmark(name: str) -> str:
    if name not in load_benchmarks():
        raise ValueError(f"no benchmark is called '{name}'{hint(name, list(load_benchmarks()))}")
    return name


Benchmark = Annotated[str, AfterValidator(_known_benchmark)]


class TaskColumn(Section):
    """A column of scores averaged over tasks of one's own choice, or over a benchmark's."""

    title: str
    tasks: list[str] | None = Field(None, min_length=1)
    benchmark: Benchmark | None = None

    @model_validator(mode="after")
    def _one(self) -> TaskColumn:
        if (self.tasks is None) == (self.benchmark is None):
            raise ValueError(f"the column '{self.title}' needs either 'tasks' or 'benchmark'")
        return self


class NumberColumn(Section):
    """A column of one named number; its other keys are those of `causal2vec.reporting.show.tables.grid.Column`."""

    key: str = Field(description="the number, and its heading in the CSV file")
    title: str
    group: str = ""
    number: Annotated[str, Field(pattern=r"^(\+?,?\.[0-9]f|sig3|p)$")] = ",.1f"
    better: Better | None = None
    spread: Spread = ""
    scale: Number = Field(1.0, gt=0, description="what the number is multiplied by, 100 for instance")
    ratio_of: str | None = Field(None, description="efficiency: show this cost relative to the reference method's")

    @property
    def source(self) -> str:
        """The number that is looked up."""
        return self.ratio_of or self.key

    def column(self) -> Column:
        """The column of the table."""
        return Column(self.title, self.key, self.group, self.number, self.better, spread=self.spread)

    def cell(self, value: float | None, low: float | None = None, high: float | None = None) -> Cell:
        """A cell of the column; its range only where the column shows one."""
        return number_cell(value, low, high, self.scale) if self.spread else number_cell(value, scale=self.scale)

    @model_validator(mode="after")
    def _rankable(self) -> NumberColumn:
        if self.number == "p" and self.better:
            raise ValueError(f"the column '{self.title}' shows p-values, which are not ranked; remove 'better'")
        return self


def _form(value: Any) -> str:
    return "mapping" if isinstance(value, dict | TaskColumn) else "name"


# Told apart by hand, so that a fault is reported for the form that was meant and not for both.
ScoreColumn = Annotated[Annotated[str, Tag("name")] | Annotated[TaskColumn, Tag("mapping")], Discriminator(_form)]
ScoreColumns = Annotated[list[ScoreColumn], Field(min_length=1)]
NumberColumns = Annotated[list[NumberColumn], Field(min_length=1)]


class TableSpec(Section):
    """What all kinds of tables have."""

    title: str
    decimals: Annotated[Whole, Field(ge=0, le=6)] = 1
    notes: list[str] = Field(default_factory=list, description="sentences of one's own below the table")


class ScoresSpec(TableSpec):
    """One row per method, one column per task type, task or own choice of tasks."""

    kind: Literal["scores"]
    rows: list[Rows] = Field(min_length=1)
    columns: ScoreColumns


class TasksSpec(TableSpec):
    """One row per task, one column per method."""

    kind: Literal["tasks"]
    columns: list[Rows] = Field(min_length=1)


class BenchmarkSpec(TableSpec):
    """A known benchmark, published scores beside ours.

    Only written where a method of ours has all its tasks, unless it asks for no rows of ours.
    """

    kind: Literal["benchmark"]
    benchmark: Benchmark
    rows: list[Rows] = Field(min_length=1)
    settings: list[Literal["zero-shot", "supervised", "full-data", "other"]] = Field(
        ["zero-shot", "supervised", "full-data", "other"], min_length=1, description="which published rows"
    )
    columns: ScoreColumns

    @property
    def foreign(self) -> bool:
        """Whether it asks for no rows of ours."""
        return set(self.rows) <= {"published", "imported"}


class AblationsSpec(TableSpec):
    """One group of rows per ablation, one row per value."""

    kind: Literal["ablations"]
    columns: ScoreColumns


class NumbersSpec(TableSpec):
    """A table whose columns are named numbers, which are all in `KNOWN`."""

    KNOWN: ClassVar[Sequence[str]] = ()

    columns: NumberColumns

    @model_validator(mode="after")
    def _keys(self) -> NumbersSpec:
        for column in self.columns:
            if column.source not in self.KNOWN:
                raise ValueError(f"no number is called '{column.source}'{hint(column.source, list(self.KNOWN))}")
        keys = [column.key for column in self.columns]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice:
            raise ValueError(f"two columns have the key '{twice}'; rename one of them")
        return self

    def table(
        self, heads: Sequence[Column], columns: list[NumberColumn], groups: list[RowGroup], notes: list[str]
    ) -> Table:
        """A table of the columns ``heads`` and the number columns ``columns``."""
        return Table("", self.title, [*heads, *(column.column() for column in columns)], groups, notes)


class _Costs(NumbersSpec):
    """A table of what embedding costs."""

    KNOWN = (
        *("llm_tokens", "encoder_tokens", "prompt_tokens", "computed_tokens", "trainable_parameters"),
        *("texts_per_second", "seconds_per_1000_texts", "latency_ms", "peak_memory_mb", "total_parameters"),
        *("gflops_per_text", "measured_gflops_per_text", "joules_per_text", "matmul_gflops"),
        *("machine_share", "counted_share", "time_surplus"),
    )

    reference: str = Field("causal2vec", description="the method that ratios refer to")


class EfficiencySpec(_Costs):
    """Cost of embedding, by text length."""

    kind: Literal["efficiency"]


class ConditionsSpec(_Costs):
    """The same by what stands before the texts, too, and by how often it is read."""

    kind: Literal["conditions"]
    plain: bool = Field(True, description="also the texts with nothing before them, of which nothing is read once")


class SavingsSpec(NumbersSpec):
    """What one method saves against each other, under every condition, in per cent."""

    KNOWN = ("shorter", "leaner", "faster")

    kind: Literal["savings"]
    reference: str = Field("causal2vec", description="the method that saves")
    claimed: dict[Annotated[str, Field(pattern="^(shorter|leaner|faster)$")], Number] = Field(
        default_factory=dict, description="column -> per cent from which it is marked"
    )


_SAVED = ("tokens", "flops", "time")


class PublishedSavingsSpec(NumbersSpec):
    """What one method saves at the published conditions, by the law of costs, over the tasks of a benchmark."""

    KNOWN = [f"{saved}_{what}" for saved in _SAVED for what in ("median", "most", "reached")]

    kind: Literal["published_savings"]
    claimed: dict[Annotated[str, Field(pattern="^(tokens|flops|time)$")], Number] = Field(
        default_factory=dict, description="measure -> per cent that was claimed"
    )


class PublishedTasksSpec(NumbersSpec):
    """The same task by task."""

    KNOWN = [
        *("text_tokens", "example_tokens"),
        *(f"{part}_{saved}" for part in ("queries", "documents", "whole") for saved in _SAVED),
    ]

    kind: Literal["published_tasks"]


class AppendCostSpec(NumbersSpec):
    """What must be computed anew when a text grows at its end, by the law of costs."""

    KNOWN = ("llm_tokens", "computed_tokens", "tokens_share", "gflops_per_text", "ms_per_text")

    kind: Literal["append_cost"]


class TrainingSpec(NumbersSpec):
    """Cost of training."""

    KNOWN = ("steps", "pairs", "seconds", "trainable_parameters", "peak_memory_mb", "final_loss")

    kind: Literal["training"]


_PARTS = ("whole", "contextual", "eos")


class AuditSpec(NumbersSpec):
    """Whether kept states are spread, and the Contextual token is used (`causal2vec.reporting.analysis.audits`)."""

    KNOWN = [
        *(f"mrr_{swap}_{part}" for swap in ("own", "mean", "other") for part in _PARTS),
        *(f"moved_{swap}_{part}" for swap in ("mean", "other") for part in _PARTS),
        *(f"{name}_{part}" for name in ("cosine", "effective_rank", "top3", "norm") for part in _PARTS),
        *("loss_points", "loss_low", "loss_high", "attention_eos", "attention_text"),
    ]

    kind: Literal["audit"]


class StatisticsSpec(NumbersSpec):
    """How methods stand over all tasks."""

    KNOWN = ("average", "seed_sd", "iqm", "win_rate", "borda", "borda_rank", "mean_rank")

    kind: Literal["statistics"]
    rows: list[Literal["trained", "untrained"]] = Field(min_length=1)


class DifferencesSpec(NumbersSpec):
    """Every pair of methods, compared over all tasks."""

    KNOWN = ("difference", "p", "win_rate", "improvement", "seeds", "seeds_above", "seed_sd")

    kind: Literal["differences"]
    rows: list[Literal["trained", "untrained"]] = Field(min_length=1)


Spec = (
    ScoresSpec
    | TasksSpec
    | BenchmarkSpec
    | AblationsSpec
    | EfficiencySpec
    | ConditionsSpec
    | SavingsSpec
    | PublishedSavingsSpec
    | PublishedTasksSpec
    | AppendCostSpec
    | TrainingSpec
    | AuditSpec
    | StatisticsSpec
    | DifferencesSpec
)


class Layout(Section):
    """All tables, in their order."""

    tables: dict[Name, Annotated[Spec, Field(discriminator="kind")]] = Field(min_length=1)


def load_layout(path: Path) -> Layout:
    """Read and check ``tables.yaml``.

    Raises:
        UserError: One sentence with the file and, for each fault, its key.
    """
    source = read_yaml(path, "name a file such as config/tables.yaml")
    if not isinstance(source, dict):
        raise UserError(f"{path} must hold a mapping with the key 'tables'; see config/tables.yaml for one")
    try:
        return Layout.model_validate(source)
    except ValidationError as error:
        faults = "; ".join(_sentence(fault) for fault in error.errors())
        raise UserError(f"{path}: {faults}") from error


_KINDS: dict[str, type[TableSpec]] = {spec.model_fields["kind"].annotation.__args__[0]: spec for spec in Spec.__args__}  # type: ignore[union-attr]


def _sentence(fault: Any) -> str:
    """One fault as 'key: what is wrong', with the nearest valid key for a typing slip."""
    place = fault["loc"]
    # Without the kinds and forms that pydantic puts between the keys.
    key = ".".join(str(p) for i, p in enumerate(place) if not (i == 2 or (i == 5 and p in ("name", "mapping"))))
    if fault["type"] == "union_tag_not_found":
        return f"key '{key}.kind' is missing; add it (known: {', '.join(_KINDS)})"
    if fault["type"] == "union_tag_invalid":
        tag = str(fault["ctx"]["tag"])
        return f"{key}.kind: no kind of table is called '{tag}'{hint(tag, list(_KINDS))}"
    section: type[Section] = Layout
    if "columns" in place[:-1]:
        section = TaskColumn if "mapping" in place else NumberColumn
    elif len(place) > 3:
        section = _KINDS[str(place[2])]
    return fault_sentence(fault, key, list(section.model_fields))
