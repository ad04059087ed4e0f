"""``python -m causal2vec.efficiency``: measure model folders side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from causal2vec.config import Efficiency
from causal2vec.efficiency.worker import Model
from causal2vec.errors import UserError, run_cli
from causal2vec.files import read_json


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m causal2vec.efficiency", description=__doc__)
    parser.add_argument("--models", required=True, nargs="+", type=Path, help="model folders of this suite")
    parser.add_argument("--pairs", required=True, type=Path, help="parquet file whose positives are the texts")
    parser.add_argument("--tokenizer", required=True, type=Path, help="model folder whose tokens lengths count")
    parser.add_argument("--output", required=True, type=Path, help="the CSV file to write")
    parser.add_argument("--lengths", nargs="+", type=int, default=[32, 64, 128], help="text lengths in tokens")
    parser.add_argument("--texts", type=int, default=64, help="texts per measurement")
    parser.add_argument("--repeats", type=int, default=3, help="timed repetitions, at least 2")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.repeats < 2 or options.texts < 1 or min(options.lengths) < 1:
        raise UserError("--repeats must be at least 2, and --texts and --lengths at least 1")
    from causal2vec.efficiency.measure import measure_efficiency

    measure_efficiency(
        [describe(folder) for folder in options.models],
        options.pairs,
        options.tokenizer,
        Efficiency(
            lengths=options.lengths,
            texts=options.texts,
            repeats=options.repeats,
            batch_size=options.batch_size,
        ),
        options.output,
        device=options.device,
        dtype=options.dtype,
        threads=options.threads,
    )


def describe(folder: Path) -> Model:
    """A model folder as the measurement names it."""
    manifest = read_json(folder / "manifest.json")
    record = folder / "training.json"
    trainable = read_json(record)["trainable_parameters"] if record.is_file() else 0
    return Model(manifest["method"], manifest["base"], str(folder), trainable)


if __name__ == "__main__":
    run_cli(main)
