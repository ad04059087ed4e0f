"""``python -m causal2vec.plan``: what a study will cost, and how good the last plan was."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from causal2vec.config import add_config_option, load_config
from causal2vec.runtime.cli import run_cli
from causal2vec.runtime.folders import WORK, Folders, the_only


def main(arguments: list[str] | None = None) -> None:
    """Run one sub-command.

    Raises:
        UserError: As `causal2vec.plan.build.make_plan` and `causal2vec.plan.render.compare` say.
    """
    parser = argparse.ArgumentParser(prog="python -m causal2vec.plan", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="estimate a study")
    add_config_option(make, "the study")
    make.add_argument("--gpus", type=int, help="devices that work at once")
    make.add_argument("--accelerator", help="H100, A100, ... or calibrated")
    make.add_argument("--output", type=Path, metavar="DIR", help="default: work/STUDY/plan")
    compared = commands.add_parser("compare", help="predicted against measured time and memory")
    compared.add_argument("--plan", type=Path, metavar="FILE", help="default: the one study's in work/")
    compared.add_argument("--benchmarks", type=Path, metavar="DIR", help="default: the same study's")
    given = parser.parse_args(arguments)
    sys.stdout.write(_compare(given) if given.command == "compare" else _make(given))


def _make(given: argparse.Namespace) -> str:
    from causal2vec.config.prompts import study_prompts
    from causal2vec.plan.build import make_plan
    from causal2vec.plan.render import write_plan

    config = load_config(given.config)
    prompts = study_prompts(config)
    plan = make_plan(config, prompts, gpus=given.gpus, accelerator=given.accelerator)
    return write_plan(plan, given.output or Folders(config.study).plan)


def _compare(given: argparse.Namespace) -> str:
    from causal2vec.plan.render import compare, report

    plan = given.plan or the_only(WORK, "plan/plan.csv", "--plan") / "plan" / "plan.csv"
    return report(compare(plan, given.benchmarks or plan.parents[1] / "benchmarks"))


if __name__ == "__main__":
    run_cli(main)
