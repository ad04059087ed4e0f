"""``python -m causal2vec.training``: make one model, without Snakemake; also under ``torchrun -m``."""

from __future__ import annotations

import argparse
from pathlib import Path

from causal2vec.config import ZERO_SHOT, Config, Distributed, add_config_option, load_config
from causal2vec.config.runs import Run, runs_of
from causal2vec.errors import UserError, hint
from causal2vec.runtime.cli import run_cli
from causal2vec.runtime.folders import Folders


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m causal2vec.training", description=__doc__)
    add_config_option(parser)
    parser.add_argument("--method", required=True, help=f"a method of the config; NAME{ZERO_SHOT} for its twin")
    parser.add_argument("--base", help="a model of the config; default: the method's first")
    parser.add_argument("--seed", type=int, help="default: the config's first")
    parser.add_argument("--models", type=Path, help="prepared models, a folder each; default: the study's")
    parser.add_argument("--llm", type=Path, help="another folder for the LLM, for example a pre-trained one")
    parser.add_argument("--pairs", type=Path, help="folder with train.parquet; default: the study's")
    parser.add_argument("--output", type=Path, required=True, help="the model's folder")
    parser.add_argument("--state", type=Path, help="checkpoints; default: OUTPUT.state")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--processes", type=int, help="per node; default: the config's distributed.processes")
    parser.add_argument("--strategy", choices=["ddp", "fsdp"], help="default: the config's distributed.strategy")
    parser.add_argument("--validate", action="store_true", help="also measure retrieval on the validation pairs")
    options = parser.parse_args()
    config = load_config(options.config)
    train_from_command_line(config, _run(config, options), options)


def _run(config: Config, options: argparse.Namespace) -> Run:
    """The run that the options name.

    Raises:
        UserError: The config has no such run.
    """
    runs = runs_of(config)
    for run in runs:
        wanted = (options.method, options.base or run.base, run.seed if options.seed is None else options.seed)
        if wanted == (run.method, run.base, run.seed):
            return run
    where = " with ".join(map(str, options.config))
    methods = list(dict.fromkeys(run.method for run in runs))
    bases = [run.base for run in runs if run.method == options.method]
    if not bases:
        raise UserError(f"{where} has no method '{options.method}'{hint(options.method, methods)}; correct --method")
    if options.base not in (None, *bases):
        near = hint(options.base, list(dict.fromkeys(bases)))
        raise UserError(f"{where} has no {options.method} on '{options.base}'{near}; correct --base")
    seeds = ", ".join(map(str, config.seeds))
    raise UserError(f"{where} has no seed {options.seed} (known: {seeds}); correct --seed")


def train_from_command_line(config: Config, run: Run, options: argparse.Namespace) -> None:
    """What ``main`` does, for a parsed command line."""
    from causal2vec.config.prompts import prompts_of, study_prompts
    from causal2vec.runtime.machine import resolve_device
    from causal2vec.training import ranks
    from causal2vec.training.job import Job
    from causal2vec.training.launch import launch, perform

    work = Folders(config.study).work
    models = options.models or work / "models"
    base = options.llm or models / run.base
    is_llm = config.models[run.base].kind == "llm"
    folders = {"llm": base, "encoder": models / run.encoder} if is_llm else {"encoder": base}
    for part, folder in folders.items():
        if not (folder / "config.json").is_file():
            raise UserError(f"the {part} is not in {folder}; prepare it with 'snakemake --cores all {folder}'")
    job = Job(
        run=run.model_copy(update={"distributed": _distributed(run, options)}),
        folders=folders,
        pairs=options.pairs or work / "pairs",
        prompts=prompts_of(study_prompts(config), run.spec),
        output=options.output,
        state=options.state or options.output.with_name(f"{options.output.name}.state"),
        device=resolve_device(config.compute),
        dtype=options.dtype,
        attention=config.compute.attention,
        threads=config.compute.threads,
        validation=options.validate,
    )
    # Under torchrun this is one of the processes already.
    (perform if ranks.launched() else launch)(job)


def _distributed(run: Run, options: argparse.Namespace) -> Distributed:
    """The run's distribution, as far as the command line does not say otherwise."""
    given = {"processes": options.processes, "strategy": options.strategy}
    if options.processes is not None and options.processes < 1:
        raise UserError(f"--processes is {options.processes}; it must be at least 1")
    return run.distributed.model_copy(update={key: value for key, value in given.items() if value is not None})


if __name__ == "__main__":
    run_cli(main)
