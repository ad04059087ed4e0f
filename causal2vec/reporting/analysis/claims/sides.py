"""Who and what a claim is about in a given study: entries, best rivals, scores on a group of tasks, what is missing."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

from causal2vec.errors import hint
from causal2vec.reporting.analysis.claims.schema import Claim, Variant
from causal2vec.reporting.analysis.compare import Panel
from causal2vec.reporting.analysis.evidence import Group
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, is_untrained, is_variant
from causal2vec.reporting.read.benchmarks import load_benchmarks, task_types
from causal2vec.reporting.read.types import listed

_NAMED = 3
"""How many missing tasks are named; the rest are counted."""


class NotRunError(Exception):
    """The study cannot speak on a claim; the message says what is missing."""


def entries_of(study: Study, side: Variant | str, panel: Panel) -> list[Entry]:
    """The entries that a side of a claim names: the one on the panel's base, or else all controls of that name.

    Raises:
        NotRunError: There is none.
    """
    method = side if isinstance(side, str) else _variant(study, side)
    found = [entry for entry in panel.entries if entry[0] == method]
    if not found:
        raise NotRunError(f"{method} was not run on {panel.base}")
    return [entry for entry in found if entry[1] == panel.base] or found


def _variant(study: Study, side: Variant) -> str:
    value = str(side.value)
    for ablation in study.ablations:
        if ablation.method == side.method and side.ablation in (ablation.name, ablation.axis.rpartition(".")[2]):
            if value in ablation.variants:
                return ablation.variants[value]
            raise NotRunError(f"the ablation {ablation.name} has no value {value}, only {listed([*ablation.variants])}")
    raise NotRunError(f"the study has no ablation {side.ablation} of {side.method}")


def best_rivals(study: Study, first: Entry, group: Group, panel: Panel) -> list[Entry]:
    """The highest-scoring rival on the same base, then those that the paired test cannot tell from it.

    Rivals are the other methods on the panel's base, trained if ``first`` is and untrained if it is not; neither
    ablation variants nor controls.

    Raises:
        NotRunError: There is no rival, or one lacks a task, so that it is unknown which is best.
    """
    own = first[0].partition("+")[0]
    rivals = [
        entry
        for entry in panel.entries
        if entry[1] == panel.base
        and entry[0] != own
        and not is_variant(entry[0])
        and is_untrained(entry[0]) == is_untrained(first[0])
    ]
    if not rivals:
        raise NotRunError(f"no rival of {own} was run on {panel.base}")
    try:
        scores = [score_of(study, rival, group) for rival in rivals]
    except NotRunError as error:
        raise NotRunError(f"which rival is best is unknown, as {error}") from error
    best = rivals[scores.index(max(scores))]
    tied = []
    for rival in rivals:
        difference = study.evidence.difference(best, rival, group)
        if rival != best and difference and not math.isnan(difference.low) and not difference.significant:
            tied.append(rival)
    return [best, *tied]


def score_of(study: Study, entry: Entry, group: Group) -> float:
    """An entry's score (0 to 1) on a group of tasks.

    Raises:
        NotRunError: A task of the group is missing.
    """
    estimate = study.evidence.estimate(entry, group)
    if estimate is not None:
        return estimate.score
    tasks = _tasks_of(study, group)
    average = study.summary.average(entry, tasks)
    if average is None:
        lacking = [task for task in tasks if study.summary.score(entry, task) is None]
        raise NotRunError(f"{entry[0]} on {entry[1]} has no complete score on {_some(lacking)}")
    return average


def _tasks_of(study: Study, group: Group) -> list[str]:
    """The tasks of a group, all of them evaluated by the study."""
    scope, name = group
    types = study.summary.types
    if scope == "all":
        return study.summary.tasks
    if scope == "type":
        if name not in types:
            raise NotRunError(f"the study has no task of type {name}{hint(name, list(types))}")
        return types[name]
    wanted = [name] if scope == "task" else _benchmark_tasks(name)
    lacking = [task for task in wanted if task not in study.summary.tasks]
    if lacking:
        raise NotRunError(
            f"the study lacks the task {name}"
            if scope == "task"
            else f"the study lacks {len(lacking)} of the {len(wanted)} tasks of {name} ({_some(lacking)})"
        )
    return wanted


def _benchmark_tasks(name: str) -> list[str]:
    benchmark, _, kind = name.partition(": ")
    known = load_benchmarks()
    if benchmark not in known:
        raise NotRunError(f"no benchmark {benchmark} is known{hint(benchmark, list(known))}")
    tasks = [task for task in known[benchmark] if not kind or task_types()[task] == kind]
    if not tasks:
        raise NotRunError(f"{benchmark} has no task of type {kind}")
    return tasks


def _some(tasks: list[str]) -> str:
    more = len(tasks) - _NAMED
    return listed(tasks[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def other_base(study: Study, claim: Claim, base: str) -> str:
    """Why a claim is not about a base, in words; empty if it is."""
    if claim.bases is None:
        return ""
    if not any(fnmatchcase(base.lower(), pattern.lower()) for pattern in claim.bases):
        return f"the claim is about {listed([pattern.strip('*') for pattern in claim.bases])}, not {base}"
    source = study.manifest.get("config", {}).get("models", {}).get(base, {})
    if source.get("keep_layers"):
        return f"{base} keeps only its first {source['keep_layers']} layers here, so it is not the model of the claim"
    return ""


def short(entry: Entry, panel: Panel) -> str:
    """The method's name, with its base where that is not the panel's."""
    return entry[0] if entry[1] == panel.base else f"{entry[0]} ({entry[1]})"
