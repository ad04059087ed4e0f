"""Studies that tests start: what one is of, what it is started with, and the data packages that it need not fetch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from conftest import METHODS, ROOT, STUDY, work_of


def configuration(tiny: dict[str, Path]) -> dict:
    def method(name: str, **more) -> dict:
        path, settings = METHODS[name]
        return {"module": path, "settings": settings, **more}

    return {
        "title": "tiny",
        "study": STUDY,
        "scale_note": "random tiny models: these scores mean nothing",
        "models": {
            "tiny-llm": {"kind": "llm", "source": "local", "path": str(tiny["llm"]), "keep_layers": 1},
            "tiny-encoder": {"kind": "encoder", "source": "local", "path": str(tiny["encoder"])},
        },
        "bases": ["tiny-llm"],
        "encoder": "tiny-encoder",
        "methods": {
            "causal2vec": {"module": METHODS["causal2vec"][0], "settings": {"place": "after_bos", "pooling": "concat"}},
            "bidirectional": method("bidirectional", mntp=True),
            "encoder_only": method("encoder_only", bases=["tiny-encoder"], zero_shot=True),
        },
        "pairs": {"sources": {"recipe_title": 300, "hpo_synonym": 300}, "validation": 60},
        "budget": {"steps": 3, "batch_size": 8, "max_length": 128, "lora": {"rank": 2, "alpha": 4}},
        "mntp": {"steps": 2, "batch_size": 4, "max_length": 32},
        "evaluation": {
            "tasks": ["HPOSynonymPairClassification", "WordSim353STS", "AWSOperationReranking"],
            "max_length": 128, "batch_size": 32, "prompts": str(ROOT / "config" / "prompts.yaml"),
        },
        "ablations": {"pooling": {"method": "causal2vec", "axis": "settings.pooling", "values": ["concat", "eos"]}},
        "statistics": {"resamples": 200},
        "reporting": {name: str(ROOT / "config" / f"{name}.yaml") for name in ("tables", "claims")},
        "efficiency": {"lengths": [8, 16], "texts": 4, "repeats": 2},
        "compute": {"threads": 1, "dtype": "float32", "device": "cpu"},
    }  # fmt: skip


def command(folder: Path, *words: str) -> list[str]:
    """What a user types in the project's root, for another folder."""
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder),
        "--configfile", str(folder / "tiny.yaml"), "--workflow-profile", str(ROOT / "profiles" / "default"), *words,
    ]  # fmt: skip


def snakemake(folder: Path, *words: str, **options) -> subprocess.CompletedProcess:
    """Run a study to its end."""
    return subprocess.run(command(folder, *words), cwd=ROOT, capture_output=True, text=True, check=False, **options)


def bring_packages(packages: Path, folder: Path, study: str = STUDY) -> None:
    """Copy the data packages as if fetched now: Snakemake fetches anew what is older than the script that fetches."""
    for package in shutil.copytree(packages, work_of(folder, study) / "packages").iterdir():
        package.touch()


def prepared(folder: Path, config: dict, packages: Path) -> Path:
    """A folder to run a study in, which has the data packages."""
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    bring_packages(packages, folder)
    return folder
