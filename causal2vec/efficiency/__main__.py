"""``python -m causal2vec.efficiency``: measure model folders side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from pydantic import ValidationError

from causal2vec.config import Efficiency
from causal2vec.efficiency.worker import Model
from causal2vec.errors import UserError, fault_sentence
from causal2vec.runtime.cli import run_cli
from causal2vec.runtime.files import read_json


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m causal2vec.efficiency", description=__doc__)
    parser.add_argument("--models", required=True, nargs="+", type=Path, help="model folders of this suite")
    parser.add_argument("--pairs", required=True, type=Path, help="parquet file whose positives are the texts")
    parser.add_argument("--tokenizer", required=True, type=Path, help="model folder whose tokens lengths count")
    parser.add_argument("--output", required=True, type=Path, help="the CSV file to write")
    parser.add_argument("--lengths", nargs="+", type=int, default=[32, 64, 128], help="text lengths in tokens")
    parser.add_argument("--settings-lengths", nargs="*", type=int, default=[], help="lengths also behind prompts")
    parser.add_argument("--tasks", nargs="*", default=[], help="evaluation tasks whose texts are measured")
    parser.add_argument("--task-texts", type=Path, help="parquet file of the tasks' texts (columns task, text)")
    parser.add_argument("--variants", nargs="*", default=[], help="METHOD+KEY=VALUE: a setting set otherwise")
    parser.add_argument("--texts", type=int, default=64, help="texts per measurement")
    parser.add_argument("--max-tokens", type=int, help="tokens per measurement: long texts are fewer")
    parser.add_argument("--repeats", type=int, default=3, help="timed repetitions, at least 2")
    parser.add_argument("--batch-tokens", type=int, help="tokens per batch")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that the models bring")
    options = parser.parse_args()
    if options.threads < 1:
        raise UserError(f"--threads is {options.threads}, but must be at least 1")
    wanted = {name: getattr(options, name) for name in Efficiency.model_fields if hasattr(options, name)}
    try:
        settings = Efficiency(**wanted)
    except ValidationError as error:
        fault = error.errors()[0]
        option = str(fault["loc"][0]).replace("_", "-")
        raise UserError(fault_sentence(fault, f"--{option}", [])) from error
    from causal2vec.efficiency.measure import Machine, measure_efficiency

    measure_efficiency(
        [describe(folder, trusted=options.trust_remote_code) for folder in options.models],
        options.pairs,
        options.tokenizer,
        settings,
        options.output,
        Machine(options.dtype, options.device, options.threads),
        task_texts=options.task_texts,
    )


def describe(folder: Path, *, trusted: bool = False) -> Model:
    """A model folder as the measurement names it; ``trusted`` is that of `causal2vec.models.folder.load_model`."""
    from causal2vec.models.trust import read_manifest

    manifest = read_manifest(folder, "method", "base")
    path = folder / "training.json"
    record = read_json(path) if path.is_file() else {"trainable_parameters": 0}
    trainable = record.get("trainable_parameters") if isinstance(record, dict) else None
    if not isinstance(trainable, int):
        raise UserError(f"{path} has no 'trainable_parameters'; train this model again")
    return Model(manifest["method"], manifest["base"], str(folder), trainable, trusted=trusted)


if __name__ == "__main__":
    run_cli(main)
