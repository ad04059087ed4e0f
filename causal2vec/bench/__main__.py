"""``python -m causal2vec.bench``: this suite beside what a user would pick instead, and beside the machine's limits.

Makes what it needs (base, pairs, tasks) as the configuration has it. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import logging
import os
import warnings
from pathlib import Path

from causal2vec.config import add_config_option
from causal2vec.errors import UserError
from causal2vec.runtime.cli import run_cli
from causal2vec.runtime.folders import RESULTS

SECTIONS = ("encoding", "limits", "training", "evaluation", "workflow", "scaling")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m causal2vec.bench", description=__doc__)
    parser.add_argument("--output", type=Path, help="folder for tables and figures (results/bench, or results/gpu)")
    add_config_option(parser, "whose base, pairs, tasks, methods")
    parser.add_argument("--only", help=f"sections, separated by commas: {', '.join(SECTIONS)}; of --gpu its stages")
    parser.add_argument("--short", action="store_true", help="a trial: hardly any texts, one repetition")
    gpu = parser.add_argument_group("on a GPU (docs/gpu.md)")
    gpu.add_argument("--gpu", action="store_true", help="check and measure all that needs a GPU, with random weights")
    gpu.add_argument("--minutes", type=float, default=8.0, help="for all stages of --gpu together")
    gpu.add_argument("--tiny", action="store_true", help="the same with small shapes on the processor, in seconds")
    gpu.add_argument("--publish", type=Path, metavar="FOLDER", help="put a run into docs/gpu.md and the plan's rates")
    options = parser.parse_args()
    (_on_gpu if options.gpu else _on_cpu)(options)


def _on_cpu(options: argparse.Namespace) -> None:
    """Measure section by section; each writes what it has found, so that a run that is stopped leaves that."""
    chosen = list(SECTIONS) if options.only is None else [name.strip() for name in options.only.split(",")]
    if unknown := [name for name in chosen if name not in SECTIONS]:
        raise UserError(f"--only has '{unknown[0]}', which is no section; name some of {', '.join(SECTIONS)}")
    os.environ |= {"TOKENIZERS_PARALLELISM": "true", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    warnings.simplefilter("ignore")  # of mteb, datasets and scikit-learn, hundreds
    logging.disable(logging.WARNING)
    from causal2vec.bench import encoding, limits, scaling, training, workflow
    from causal2vec.bench.comparison import Pages, Row, facts
    from causal2vec.bench.materials import FULL, SHORT, prepare, say

    materials, effort = prepare(options.config), SHORT if options.short else FULL
    pages = Pages(facts(materials, effort), options.output or RESULTS / "bench")
    compare = {
        "encoding": encoding.compare_encoding,
        "training": training.compare_training,
        "evaluation": encoding.compare_evaluation,
        "workflow": workflow.compare_workflow,
    }
    measure = {"limits": limits.measure_limits, "scaling": scaling.measure_scaling}
    rows: list[Row] = []
    for name in chosen:
        if name in measure:
            measure[name](materials, effort, pages)
        else:
            rows += compare[name](materials, effort)
            pages.write_rows(rows)
    say(f"done: {pages.folder}")


def _on_gpu(options: argparse.Namespace) -> None:
    from causal2vec.bench.gpu import shapes
    from causal2vec.bench.gpu.report import publish
    from causal2vec.bench.gpu.run import measure
    from causal2vec.bench.materials import say

    if options.publish:
        publish(options.publish)
        return
    output = options.output or RESULTS / "gpu"
    size = shapes.TINY if options.tiny else shapes.SHORT if options.short else shapes.FULL
    measure(output, options.only, options.minutes, size=size)
    say(f"done: {output}")


if __name__ == "__main__":
    run_cli(main)
