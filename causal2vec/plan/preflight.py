"""What a plan can tell to be wrong before any job runs, without importing what would take seconds."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import yaml

from causal2vec.config import Config
from causal2vec.config.runs import Run
from causal2vec.errors import UserError, hint
from causal2vec.evaluation.tasks import PACKAGED_TASKS, get_tasks
from causal2vec.runtime.files import read_json
from causal2vec.runtime.fingerprint import file_of

_BENCHMARKS = Path(__file__).parents[1] / "reporting" / "read" / "benchmarks.yaml"


def check_names(config: Config) -> None:
    """Look for the methods' classes and the evaluation's tasks.

    Raises:
        UserError: A class is not in its file, a task or benchmark is unknown, or an own task is called as another.
    """
    for name, method in config.methods.items():
        module, _, wanted = method.module.rpartition(".")
        known = _names_in(file_of(module))
        if known and wanted not in known:
            raise UserError(
                f"methods.{name}.module: {module} has no class '{wanted}'{hint(wanted, sorted(known))}; correct it"
            )
    own, known_tasks = config.evaluation.own_tasks, _known_tasks()
    if taken := [name for name in own if name in known_tasks]:
        raise UserError(f"evaluation.own_tasks.{taken[0]}: a task is called so already; call yours otherwise")
    if doubtful := [name for name in config.evaluation.tasks if name not in known_tasks and name not in own]:
        try:
            get_tasks(doubtful)  # imports mteb, which knows them all
        except UserError as error:
            raise UserError(f"evaluation.tasks: {error}") from error


def check_measured(config: Config) -> None:
    """Look whether there will be texts to measure the costs on, which is done last.

    Raises:
        UserError: There are fewer validation pairs than texts to measure, or a task is named that is not evaluated.
    """
    if config.efficiency.texts > config.pairs.validation:
        raise UserError(
            f"efficiency.texts is {config.efficiency.texts}, but pairs.validation only {config.pairs.validation}; "
            "lower it or raise that, as validation pairs are measured"
        )
    tasks = {*PACKAGED_TASKS, *config.evaluation.own_tasks}
    if lacking := [name for name in config.efficiency.tasks if name in tasks and name not in config.evaluation.tasks]:
        raise UserError(
            f"efficiency.tasks: {lacking[0]} is not evaluated; name it in evaluation.tasks, too, or name another"
        )


def check_positions(runs: Iterable[Run], models: Path) -> None:
    """Look whether the LLMs that are prepared already can read as long texts as are to be read.

    Args:
        runs: The study's runs.
        models: The folder of prepared models.

    Raises:
        UserError: One has too few positions.
    """
    for run in runs:
        source = models / run.base / "source.json"
        found = read_json(source) if source.is_file() else {}
        longest = found.get("positions") if found.get("kind") == "llm" else None
        for key, length in (("evaluation", run.max_length), ("budget", run.budget.max_length)):
            if longest is not None and length > longest:
                raise UserError(
                    f"{key}.max_length is {length}, but {run.base} has positions for {longest} tokens; lower it"
                )


def _names_in(path: Path | None) -> set[str]:
    """What a file defines or imports under a name of its own; nothing where that cannot be told."""
    found: set[str] = set()
    try:
        tree = ast.parse(path.read_text(encoding="utf-8")) if path else ast.Module([], [])
    except (SyntaxError, ValueError):
        return set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.FunctionDef) and node.name == "__getattr__":
            found.add("*")
    return set() if "*" in found else found


def _known_tasks() -> set[str]:
    known = yaml.safe_load(_BENCHMARKS.read_text(encoding="utf-8"))
    benchmarks = {f"{name}/{task}" for name, tasks in known["benchmarks"].items() for task in tasks}
    return {
        *PACKAGED_TASKS,
        *known["benchmarks"],
        *benchmarks,
        *(t for tasks in known["types"].values() for t in tasks),
    }
