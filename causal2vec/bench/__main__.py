"""``python -m causal2vec.bench``: this suite beside what a user would pick instead, and beside the machine's limits.

Makes what it needs (base, pairs, tasks) as the configuration has it. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from causal2vec.bench.materials import FULL, SHORT, Effort, Materials, prepare, say
from causal2vec.config import add_config_option
from causal2vec.errors import UserError
from causal2vec.runtime.cli import run_cli
from causal2vec.runtime.folders import RESULTS, Folders

if TYPE_CHECKING:
    from causal2vec.bench.timing import Row

MINI_BATCH = 32
"""Pairs of a mini-batch of gradient caching: the library's default."""

TRAINING_TOKENS = 2048
"""Tokens at a time at which the matrix-multiply rate in training is measured."""


class Bench:
    """One run. Every section writes what it has found, so that a run that is stopped leaves that."""

    def __init__(self, materials: Materials, effort: Effort, output: Path) -> None:
        from causal2vec.bench.report import facts

        self.materials, self.effort, self.output = materials, effort, output
        self.about = facts(materials, effort)
        self.rows: list[Row] = []

    def encoding(self) -> None:
        """Embedding, beside the library's."""
        from causal2vec.bench.encoding import compare_encoding

        self._add(compare_encoding(self.materials, self.effort))

    def limits(self) -> None:
        """Each method's share of the matrix-multiply rate, and where the rest goes."""
        from causal2vec.bench.limits import base_rates, measure_limits
        from causal2vec.bench.report import write_limits, write_profile

        found, profiled = measure_limits(self.materials, self.effort)
        write_limits(found, base_rates(self.materials), self.about, self.output)
        write_profile(profiled, self.about, self.output)

    def training(self) -> None:
        """Contrastive training, beside the library's: a batch that fits, and one with gradient caching."""
        from causal2vec.bench.limits import base_layers
        from causal2vec.bench.training import LONGEST, compare_training
        from causal2vec.efficiency.machine import matmul_rate

        for batch, pairs, mini in zip(self.effort.batches, self.effort.pairs, (None, MINI_BATCH), strict=True):
            say(f"training: batch {batch}, {self.effort.repetitions} repetitions of {pairs} pairs")
            rate = matmul_rate(base_layers(self.materials), TRAINING_TOKENS, self.materials.dtype, seconds=0.1)
            self._add(
                compare_training(
                    self.materials,
                    pairs_count=pairs,
                    batch_size=batch,
                    mini_batch_size=mini,
                    repetitions=self.effort.repetitions,
                    matmul_gflops=rate,
                    max_length=self.effort.cached_length if mini else LONGEST,
                )
            )

    def evaluation(self) -> None:
        """Evaluating one model on tasks that share texts, beside mteb in a loop."""
        from causal2vec.bench.evaluation import compare_evaluation

        say("evaluation")
        materials = self.materials
        self._add(
            compare_evaluation(
                materials.base, materials.tasks, repetitions=self.effort.repetitions, threads=materials.threads
            )
        )

    def workflow(self) -> None:
        """Planning, and the share of a demo run that is computation."""
        from causal2vec.bench.workflow import compare_workflow

        say("workflow")
        self._add(compare_workflow(Folders(self.materials.config.study), repetitions=self.effort.repetitions))

    def scaling(self) -> None:
        """How cost grows with texts, lengths, batches and jobs."""
        from causal2vec.bench.curves import write_scaling
        from causal2vec.bench.scaling import measure_scaling

        points = measure_scaling(self.materials, self.effort)
        stamp = f"{self.about['Machine']}; {self.about['Date']}; {self.about['Commit']}"
        write_scaling(points, stamp, self.output)

    def _add(self, rows: list[Row]) -> None:
        from causal2vec.bench.report import write_rows

        self.rows += rows
        write_rows(self.rows, self.about, self.output)


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
    if options.gpu:
        _on_gpu(options)
        return
    chosen = list(SECTIONS) if options.only is None else [name.strip() for name in options.only.split(",")]
    if unknown := [name for name in chosen if name not in SECTIONS]:
        raise UserError(f"--only has '{unknown[0]}', which is no section; name some of {', '.join(SECTIONS)}")
    # Torch's profiler announces itself on the console; read when torch is imported.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    bench = Bench(prepare(options.config), SHORT if options.short else FULL, options.output or RESULTS / "bench")
    for name in chosen:
        getattr(bench, name)()
    say(f"done: {bench.output}")


def _on_gpu(options: argparse.Namespace) -> None:
    from causal2vec.bench.gpu import shapes
    from causal2vec.bench.gpu.report import publish
    from causal2vec.bench.gpu.run import measure

    if options.publish:
        publish(options.publish)
        return
    output = options.output or RESULTS / "gpu"
    size = shapes.TINY if options.tiny else shapes.SHORT if options.short else shapes.FULL
    measure(output, options.only, options.minutes, size=size)
    say(f"done: {output}")


if __name__ == "__main__":
    run_cli(main)
