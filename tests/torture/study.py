"""A tiny study that goes through every stage: random models, real packages, real mteb tasks."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import yaml
from conftest import ROOT, STUDY
from support.studies import command, prepared, snakemake

STEPS = 12
SAVE_STEPS = 3
CORES = ("--cores", "2")


def configuration(tiny: dict[str, Path]) -> dict:
    """Two trained methods, one of them behind a pre-training stage, and an untrained one; two shards of two tasks."""
    return {
        "title": "tortured",
        "study": STUDY,
        "scale_note": "random tiny models: these scores mean nothing",
        "models": {
            "tiny-llm": {"kind": "llm", "source": "local", "path": str(tiny["llm"])},
            "tiny-encoder": {"kind": "encoder", "source": "local", "path": str(tiny["encoder"])},
        },
        "bases": ["tiny-llm"],
        "encoder": "tiny-encoder",
        "methods": {
            "causal2vec": {"module": "causal2vec.modeling_causal2vec.Causal2Vec"},
            "bidirectional": {"module": "baselines.bidirectional.Bidirectional", "mntp": True},
        },
        "pairs": {"sources": {"recipe_title": 300, "hpo_synonym": 300}, "validation": 60},
        "budget": {
            "steps": STEPS, "save_steps": SAVE_STEPS, "batch_size": 8, "max_length": 64,
            "lora": {"rank": 2, "alpha": 4},
        },
        "mntp": {"steps": 4, "batch_size": 4, "max_length": 32},
        "evaluation": {
            "tasks": ["HPOSynonymPairClassification", "WordSim353STS", "AWSOperationReranking"],
            "max_length": 64, "shards": 2, "prompts": str(ROOT / "config" / "prompts.yaml"),
        },
        "statistics": {"resamples": 200},
        "reporting": {name: str(ROOT / "config" / f"{name}.yaml") for name in ("tables", "claims")},
        "efficiency": {"lengths": [8], "texts": 4, "repeats": 2},
        "compute": {"threads": 1, "dtype": "float32", "device": "cpu"},
    }  # fmt: skip


def prepare(folder: Path, config: dict, packages: Path | None) -> Path:
    """A folder to run in; the data packages are copied, or downloaded by the run itself."""
    if packages is not None:
        return prepared(folder, config, packages)
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    return folder


def start(folder: Path, *words: str, log: Path | None = None, **environment: str) -> subprocess.Popen:
    """Start a run in a process group of its own."""
    output = log.open("ab") if log else subprocess.DEVNULL
    return subprocess.Popen(
        command(folder, *(words or CORES)), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        env={**os.environ, **environment}, preexec_fn=_hear_ctrl_c,
    )  # fmt: skip


def _hear_ctrl_c() -> None:
    """As from a terminal: what a script has put into the background ignores SIGINT, and its children do."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(folder: Path, *words: str, **options) -> subprocess.CompletedProcess:
    """Run to the end."""
    environment = {**os.environ, **options.pop("environment", {})}
    return snakemake(folder, *(words or CORES), env=environment, **options)
