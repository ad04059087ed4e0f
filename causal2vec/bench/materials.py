"""What the bench works on: the base, encoder, pairs and tasks of a configuration, and how much of them it takes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from causal2vec.config import Config, load_config
from causal2vec.config.runs import Run, runs_of
from causal2vec.errors import UserError
from causal2vec.runtime.files import read_json
from causal2vec.runtime.folders import Folders
from causal2vec.runtime.signals import ends_with_us

BEGINNING = 80
"""Characters that tell texts apart, also once they are cut to the shortest length of the training comparison."""

SHORTEST, LONGEST = 8, 400
"""Tokens of the texts that are embedded."""


class Epoch(NamedTuple):
    """An epoch of training that is compared: pairs, pairs of a step and of a mini-batch of gradient caching (None: no
    caching), and tokens of a text at most, BOS and EOS included."""

    pairs: int
    batch: int
    mini: int | None
    length: int


class Effort(NamedTuple):
    """How much is measured. What the whole bench takes is in docs/speed.md."""

    repetitions: int = 5
    texts: int = 10_000
    """Texts drawn; see `causal2vec.bench.encoding.slices` for which of them are timed."""
    stretches: int = 10
    """Stretches of neighbouring texts that one repetition of the encoding takes."""
    shipped: int = 96
    """Texts of a repetition of the comparison without a goal."""
    epochs: tuple[Epoch, ...] = (Epoch(128, 64, None, 128), Epoch(512, 512, 32, 32))
    """The second has short texts, so that five repetitions of all end in minutes."""
    counts: tuple[int, ...] = (1_000, 10_000, 100_000)
    lengths: tuple[int, ...] = (16, 32, 64, 128, 256, 512, 1024)
    cached: tuple[int, ...] = (64, 128, 256, 512)
    """Batch sizes at which the memory of training with gradient caching is measured."""
    plain: tuple[int, ...] = (64, 128)
    """The same without it."""


FULL = Effort()
SHORT = Effort(
    repetitions=1,
    texts=400,
    stretches=2,
    shipped=16,
    epochs=(Epoch(64, 64, None, 128), Epoch(64, 64, 32, 32)),
    counts=(100, 1_000),
    lengths=(16, 64),
    cached=(32, 64),
    plain=(32,),
)


class Materials(NamedTuple):
    """Folders and settings, as `prepare` gives them."""

    config: Config
    base: Path
    encoder: Path
    pairs: Path
    tasks: Path
    hardware: Path

    @property
    def dtype(self) -> str:
        """The number format that this machine was measured to compute faster in."""
        return str(read_json(self.hardware)["dtype"])

    @property
    def threads(self) -> int:
        """Processor threads of both sides: as many as the efficiency study has, which is alone on the machine, too."""
        return self.config.efficiency.threads or self.config.compute.threads

    @property
    def work(self) -> Path:
        """The study's folder, in which all of these lie."""
        return self.pairs.parent

    def run(self, method: str) -> Run:
        """A method's trained run of the first seed.

        Raises:
            UserError: The configuration does not have the method.
        """
        for run in runs_of(self.config):
            if run.method == method:
                return run
        raise UserError(f"the bench needs the method {method}, which the configuration lacks; use config/demo.yaml")

    def folders(self, run: Run) -> dict[str, Path]:
        """The model folder of each part that a run is built from."""
        if self.config.models[run.base].kind == "encoder":
            return {"encoder": self.work / "models" / run.base}
        return {"llm": self.work / "models" / run.base, "encoder": self.work / "models" / run.encoder}


def prepare(config: list[Path]) -> Materials:
    """Read a configuration, and let Snakemake make in the study's folder whatever of its inputs is not there yet.

    Args:
        config: Its files, each laid over those before it.

    Raises:
        UserError: The configuration is faulty, or something cannot be made.
    """
    settings = load_config(config)
    work = Folders(settings.study).work
    found = Materials(
        settings,
        base=work / "models" / settings.bases[0],
        encoder=work / "models" / settings.encoder,
        pairs=work / "pairs",
        tasks=work / "tasks",
        hardware=work / "hardware.json",
    )
    missing = [str(path) for path in found[1:] if not path.exists()]
    if missing:
        say(f"making {', '.join(missing)}")
        words = ["--cores", "all", "--configfile", *map(str, config), "--quiet", "--", *missing]
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *words], stdout=sys.stderr, check=False, preexec_fn=ends_with_us
        )
        if done.returncode:
            raise UserError(f"Snakemake could not make {', '.join(missing)}; its message stands above")
    return found


def draw_texts(pairs: Path, tokenizer: Any, count: int) -> list[str]:
    """Distinct queries and positives of `SHORTEST` to `LONGEST` tokens, shuffled.

    Raises:
        UserError: There are too few.
    """
    texts = list(_shuffled(pairs).stack().drop_duplicates())
    chosen: list[str] = []
    for start in range(0, len(texts), count):
        some = texts[start : start + count]
        ids = tokenizer(some, add_special_tokens=False, verbose=False)["input_ids"]
        chosen += [text for text, own in zip(some, ids, strict=True) if SHORTEST <= len(own) <= LONGEST]
        if len(chosen) >= count:
            return chosen[:count]
    raise UserError(
        f"{pairs}/train.parquet holds only {len(chosen)} distinct texts of {SHORTEST} to {LONGEST} tokens, but the "
        f"bench needs {count}; prepare the demo's pairs, or use --short"
    )


def draw_pairs(pairs: Path, count: int) -> tuple[list[str], list[str]]:
    """Queries and positives of some pairs of all sources, no two of which begin alike: a batch takes no text twice.

    Raises:
        UserError: There are too few.
    """
    rows = _shuffled(pairs)
    seen = rows.map(lambda text: text[:BEGINNING]).stack().duplicated().unstack()
    rows = rows[~seen.any(axis=1)][:count]
    if len(rows) < count:
        raise UserError(
            f"{pairs}/train.parquet holds {len(rows)} distinct pairs, but the bench needs {count}; prepare the demo's"
        )
    return list(rows["query"]), list(rows["positive"])


def _shuffled(pairs: Path) -> pd.DataFrame:
    rows = pd.read_parquet(pairs / "train.parquet", columns=["query", "positive"])
    return rows.sample(frac=1, random_state=0, ignore_index=True)


def say(text: str) -> None:
    """One line of progress."""
    sys.stderr.write(f"[{time.strftime('%H:%M:%S')}] bench: {text}\n")
    sys.stderr.flush()
