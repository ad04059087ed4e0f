"""What is the same for several studies, made once: data packages, prepared models, downloads, evaluation data, pairs.

It lies in ``work/shared/RULE/KEY``, where the key is the SHA-256 of all that decides it: the rule's parameters, with
the fingerprint of its code, and the content of its inputs. So two studies that mean different things by one name never
see each other's files. A study's own copy is a folder of hard links, which takes no room; only that copy is an output
of its DAG. So no study's Snakemake removes, touches or locks what another one reads, and ``work/shared`` may be deleted
at any time.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from causal2vec.runtime import seals
from causal2vec.runtime.files import atomic_file, atomic_folder, sha256_json
from causal2vec.runtime.folders import SHARED
from causal2vec.runtime.locks import alone

logger = logging.getLogger(__name__)


def shared(snakemake: Any, make: Callable[[Path], object], *others: Path | str) -> None:
    """Give a job its output: what the same rule made of the same before, for whichever study, or else a new one.

    Two studies that want the same at once make it once: the second waits.

    Args:
        snakemake: The job.
        make: Makes the output at a path, whole or not at all.
        others: What decides the output besides parameters and inputs: folders and files by their content, words.
    """
    inputs, output = [Path(path) for path in snakemake.input], Path(snakemake.output[0])
    identity = [
        dict(snakemake.params.items()),
        [[path.name, seals.content(path)] for path in inputs],
        [seals.content(other) if isinstance(other, Path) else other for other in others],
    ]
    place = SHARED / snakemake.rule / sha256_json(identity)[:16] / output.name
    with alone(place.with_name(".lock"), lambda: _say_waiting(place)):
        if place.exists() and (not seals.is_sealed(place) or seals.damage(place)):
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        if place.exists():
            logger.info("%s was made before and is taken from there", place)
        else:
            make(place)
            seals.seal(place)
        _bring(place, output)


def _say_waiting(place: Path) -> None:
    sys.stderr.write(f"another study is making {place}; waiting for it to end\n")


def _bring(place: Path, output: Path) -> None:
    if place.is_dir():
        with atomic_folder(output) as draft:
            shutil.copytree(place, draft, copy_function=_link, dirs_exist_ok=True)
        seals.seal_copy(output, place)
    else:  # no link, as Snakemake may touch a file
        with atomic_file(output) as draft:
            shutil.copyfile(place, draft)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
