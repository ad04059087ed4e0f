"""One study, read from its result files: what tables, figures, claims and the report are made of.

A results folder describes itself: the manifest holds the configuration, and with it the order of the methods, the
compared bases, the ablations, and what is small-scale or assumed. Nothing here reads a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from pydantic import BaseModel, model_validator

from causal2vec.config.runs import variant_name
from causal2vec.errors import UserError, checked
from causal2vec.reporting.analysis.audits import ignored_tokens, read_audit
from causal2vec.reporting.analysis.compare import check_bases
from causal2vec.reporting.analysis.evidence import Evidence, read_evidence
from causal2vec.reporting.analysis.savings import plain_rows
from causal2vec.reporting.analysis.summary import Entry, Summary, summarise
from causal2vec.reporting.read.others import External, evaluated, kept_external, read_external
from causal2vec.reporting.read.schema import (
    LAW_COLUMNS,
    LAW_KEY,
    PUBLISHED_COLUMNS,
    PUBLISHED_KEY,
    Parser,
    read_efficiency,
    read_table,
    read_training,
)
from causal2vec.reporting.read.scores import read_scores
from causal2vec.reporting.read.types import listed
from causal2vec.runtime.files import read_json

Read = TypeVar("Read")


@dataclass(frozen=True)
class Ablation:
    """One axis of the configuration, varied for one method.

    Attributes:
        name: What the configuration calls it.
        method: The varied method.
        axis: The varied key, for example ``settings.pooling``.
        variants: Value, as text -> the method name under which its scores are filed; the method's own name for
            the value that it has anyway.
        assumed: Whether the configuration lists the axis among the method's assumed settings.
    """

    name: str
    method: str
    axis: str
    variants: dict[str, str]
    assumed: bool = False


@dataclass(frozen=True)
class Study:
    """Everything that reporting reads.

    Attributes:
        title: The study's name.
        summary: Main scores of all entries: methods, untrained twins, ablation variants.
        scores: ``scores.csv`` as it is.
        evidence: The statistics; empty where they were not computed.
        costs: ``efficiency.csv`` where nothing stands before the texts and every token is read, or None.
        conditions: The whole of ``efficiency.csv``: also with instruction, examples and reuse of what all texts
            share; None where no costs were measured.
        training: One row per trained model, with its losses, or None.
        audit: One row per trained model: whether its states are spread and its token is used; None where not audited.
        published: What causal2vec saves at the published conditions (`causal2vec.efficiency.published`), or None.
        law: What every method costs by the law of costs (`causal2vec.efficiency.published`), or None.
        external: Imported models, or None.
        order: Methods in display order.
        bases: The compared bases; None compares the entries on each base among themselves.
        ablations: The ablations of the configuration.
        notes: What stands under every table: small-scale, assumed values, manifest, date, seeds.
        stamp: The same in one short line, for figures.
        manifest: The manifest; empty where there is none.
    """

    title: str
    summary: Summary
    scores: pd.DataFrame
    evidence: Evidence = field(default_factory=Evidence)
    costs: pd.DataFrame | None = None
    conditions: pd.DataFrame | None = None
    training: pd.DataFrame | None = None
    audit: pd.DataFrame | None = None
    published: pd.DataFrame | None = None
    law: pd.DataFrame | None = None
    external: External | None = None
    order: list[str] = field(default_factory=list)
    bases: list[str] | None = None
    ablations: list[Ablation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stamp: str = ""
    manifest: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def ignored(self) -> dict[Entry, str]:
        """The entries whose LLM does not use its Contextual token, and what shows it."""
        return ignored_tokens(self.audit)


EXTERNAL = "external.json"
"""In a results folder: the imported results that its tables show."""

ELSEWHERE = "external_efficiency.csv"
"""In a results folder: the costs of another machine that its tables show."""


def load_study(
    folder: Path,
    statistics: Path | None = None,
    external: str | Path | None = None,
    external_efficiency: str | Path | None = None,
) -> Study:
    """Read a results folder: ``scores.csv``, and where they are there the other files.

    Args:
        folder: Holds ``scores.csv`` and, if they exist, ``efficiency.csv``, ``training.json``, ``audit.json``,
            ``efficiency_published.csv``, ``efficiency_law.csv``, ``manifest.json`` and ``statistics/``.
        statistics: The folder of the statistics, if it is another one.
        external: A folder in mteb's results layout whose models stand beside ours, or `EXTERNAL`, kept of one.
        external_efficiency: An ``efficiency.csv`` of another machine whose rows, on other bases, stand beside ours.

    Raises:
        UserError: A file does not hold what it should, or ``scores.csv`` is missing.
    """
    manifest = _if_there(folder / "manifest.json", _read_manifest) or {}
    config = manifest.get("config", {})
    ablations = _ablations_of(config)
    order = _method_order(manifest.get("order") or config.get("methods", {}), ablations)
    scores = read_scores(folder / "scores.csv")
    summary = summarise(scores, order)
    bases = config.get("bases")
    check_bases(summary.entries, bases)
    statistics = statistics or folder / "statistics"
    conditions = _if_there(folder / "efficiency.csv", read_efficiency)
    elsewhere: list[str] = []
    if external_efficiency:
        conditions, elsewhere = _with_rows_of(Path(external_efficiency), conditions)
    training = folder / "training.json"
    return Study(
        title=config.get("title", "Comparison of embedding methods"),
        summary=summary,
        scores=scores,
        evidence=read_evidence(statistics) if statistics.is_dir() else Evidence(),
        costs=None if conditions is None else plain_rows(conditions),
        conditions=conditions,
        # A study of untrained methods has an empty list, and no table of training.
        training=read_training(training) if training.is_file() and read_json(training) != [] else None,
        audit=_if_there(folder / "audit.json", read_audit),
        published=_predicted(folder / "efficiency_published.csv", PUBLISHED_COLUMNS, PUBLISHED_KEY),
        law=_predicted(folder / "efficiency_law.csv", LAW_COLUMNS, LAW_KEY),
        external=_external(Path(external), scores) if external else None,
        order=order,
        bases=[*bases, *elsewhere] if bases else bases,
        ablations=ablations,
        notes=[
            *(_closing_notes(manifest) if manifest else []),
            *(f"Costs on {base} were measured elsewhere and read from a file (docs/gpu.md)." for base in elsewhere),
        ],
        stamp=_figure_stamp(manifest) if manifest else "",
        manifest=manifest,
    )


def _external(path: Path, scores: pd.DataFrame) -> External:
    return kept_external(path) if path.is_file() else read_external(path, ours=evaluated(scores))


def _if_there(path: Path, read: Callable[[Path], Read]) -> Read | None:
    return read(path) if path.is_file() else None


def _predicted(path: Path, columns: dict[str, Parser], key: list[str]) -> pd.DataFrame | None:
    """A file of predicted costs; None where there is none, or nothing that could be predicted."""
    found = read_table(path, columns, key, empty=True) if path.is_file() else None
    return None if found is None or found.empty else found


def _with_rows_of(path: Path, own: pd.DataFrame | None) -> tuple[pd.DataFrame, list[str]]:
    """The rows of a file behind our own, and the bases that only it has.

    Raises:
        UserError: The file is none, or has rows on one of our bases, of which it would be unknown which machine they
            are from.
    """
    found = read_efficiency(path)
    bases = list(dict.fromkeys(found["base"]))
    if both := [base for base in bases if own is not None and base in set(own["base"])]:
        raise UserError(f"{path} has rows on {both[0]}, as this study has itself; remove them, or rename their base")
    return (found if own is None else pd.concat([own, found], ignore_index=True)), bases


class _AblationSpec(BaseModel):
    method: str
    axis: str
    values: list[Any]


class _Stage(BaseModel):
    steps: int


class _Config(BaseModel):
    """A configuration, as far as reporting needs it."""

    methods: dict[str, dict[str, Any]] = {}
    models: dict[str, dict[str, Any]] | None = None
    ablations: dict[str, _AblationSpec] | None = None
    mntp: _Stage | None = None
    simcse: _Stage | None = None
    alignment: _Stage | None = None

    @model_validator(mode="after")
    def _fits(self) -> _Config:
        for name, ablation in (self.ablations or {}).items():
            if ablation.method not in self.methods:
                raise ValueError(f"ablations.{name} varies a method that is not there")
        for stage in ("mntp", "simcse", "alignment"):
            if getattr(self, stage) is None and any(method.get(stage) for method in self.methods.values()):
                raise ValueError(f"a method has '{stage}', but {stage} has no steps")
        return self


class _Manifest(BaseModel):
    id: str
    config: _Config


def _read_manifest(path: Path) -> dict[str, Any]:
    """Read a results folder's manifest, checked as far as reporting needs it.

    Raises:
        UserError: It is no JSON, or lacks its id or a part of the configuration.
    """
    manifest = read_json(path)
    checked(_Manifest, manifest, path, "restore the file, or run the study again")
    return manifest  # type: ignore[no-any-return]


def _method_order(methods: Iterable[str], ablations: list[Ablation]) -> list[str]:
    """Methods in display order, each followed by its ablation variants."""
    variants = [name for ablation in ablations for name in ablation.variants.values()]
    return [name for method in methods for name in (method, *(v for v in variants if v.startswith(f"{method}+")))]


def _ablations_of(config: dict[str, Any]) -> list[Ablation]:
    """The ablations that a configuration (as plain data) asks for."""
    found = []
    for name, spec in (config.get("ablations") or {}).items():
        method, axis = spec["method"], spec["axis"].split(".")
        own: Any = config
        for key in ["methods", method, *axis] if axis[0] == "settings" else axis:
            own = own.get(key) if isinstance(own, dict) else None
        variants = {
            str(value): method if value == own else variant_name(method, spec["axis"], value)
            for value in spec["values"]
        }
        assumed = axis[-1] in config["methods"][method].get("assumed", [])
        found.append(Ablation(name, method, spec["axis"], variants, assumed))
    return found


_STAGES = {
    "mntp": "masked-next-token pre-training",
    "simcse": "unsupervised contrastive pre-training (SimCSE)",
    "alignment": "alignment of the Contextual token with the frozen LLM",
}
"""What a method may have of its own before the common training."""


def _closing_notes(manifest: dict[str, Any]) -> list[str]:
    """What stands under every table."""
    config = manifest["config"]
    methods = config.get("methods", {})
    assumed = [f"{name}: {listed(m['assumed'])}" for name, m in methods.items() if m.get("assumed")]
    notes = [config["scale_note"]] if config.get("scale_note") else []
    for stage, words in _STAGES.items():
        if found := [name for name, method in methods.items() if method.get(stage)]:
            notes.append(
                f"{listed(found)}: after {config[stage]['steps']} steps of {words}, which the cost of training does "
                "not count (see manifest.json)"
            )
    if assumed:
        notes.append(f"assumed, as the paper's recipe is not public: {'; '.join(assumed)}")
    return [*notes, f"{_identity(manifest)}."]


def _figure_stamp(manifest: dict[str, Any]) -> str:
    """One short line for every figure."""
    config = manifest["config"]
    words = [
        *(["small-scale, not comparable with published scores"] if config.get("scale_note") else []),
        *(["some settings assumed"] if any(m.get("assumed") for m in config.get("methods", {}).values()) else []),
        _identity(manifest),
    ]
    return "; ".join(words)


def _identity(manifest: dict[str, Any]) -> str:
    seeds = manifest["config"].get("seeds", [])
    count = f"{len(seeds)} seed{'s' if len(seeds) != 1 else ''} ({listed(seeds)})"
    return f"manifest {manifest['id']} of {manifest.get('created', 'unknown date')}, {count}"
