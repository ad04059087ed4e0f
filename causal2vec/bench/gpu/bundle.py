"""``python -m causal2vec.bench.gpu.bundle``: what a machine without a network needs for ``make gpu``, in one folder.

The machine has Python 3.12, torch with CUDA, transformers, sentence-transformers, peft, accelerate, pandas and pyarrow;
what this suite needs beside them comes as wheels.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from causal2vec.bench.gpu.report import COMMIT, commit
from causal2vec.errors import UserError
from causal2vec.runtime.cli import run_cli
from causal2vec.runtime.files import write_text
from causal2vec.runtime.manifest import LOCK, ROOT
from causal2vec.runtime.signals import ends_with_us

PYTHON = "3.12"
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 17)] + ["manylinux2014_x86_64"]
PACKAGES = (
    "datasets", "dill", "multiprocess", "pydantic", "pydantic_core", "annotated-types", "typing-inspection",
    "nvidia-ml-py",
)  # fmt: skip
SOURCES = ("causal2vec", "baselines", "config", "pyproject.toml", "LICENSE")
MOST_MB = 60

RUN = f"""#!/bin/sh
# Installs what this machine lacks into a folder of its own and measures; arguments go on: ./run.sh --minutes 3
# Needs Python {PYTHON} as python3, with torch and CUDA (docs/gpu.md). Nothing outside this folder is changed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ ! -f "$here/packages/.done" ]; then
    python3 -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --upgrade \\
        --target "$here/packages" "$here"/wheels/*.whl
    touch "$here/packages/.done"
fi
export PYTHONSAFEPATH=1 # another checkout in the current folder would stand in front of these sources
export PYTHONPATH="$here/source:$here/packages${{PYTHONPATH:+:$PYTHONPATH}}"
exec python3 -m causal2vec.bench --gpu "$@"
"""


def make_bundle(folder: Path) -> Path:
    """Sources, wheels and ``run.sh`` in a folder, and the same as ``.tar.gz`` beside it.

    Raises:
        UserError: A wheel cannot be had, or all together are too large.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "source").mkdir(parents=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / "source" / name)
    write_text(folder / "source" / COMMIT, commit() + "\n")
    download(folder / "wheels")
    write_text(folder / "run.sh", RUN)
    (folder / "run.sh").chmod(0o755)
    archive = folder.with_name(f"{folder.name}.tar.gz")
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, folder.name)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    if size > MOST_MB:
        raise UserError(f"{folder} takes {size:.0f} MB, more than {MOST_MB}; leave packages out of {__name__}.PACKAGES")
    return archive


def download(folder: Path) -> None:
    """The wheels, in the lock's versions.

    Raises:
        UserError: pip cannot get one.
    """
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder]
    words += ["--python-version", PYTHON, "--implementation", "cp"]
    words += [word for platform in PLATFORMS for word in ("--platform", platform)]
    done = subprocess.run(
        [*map(str, words), *pins()], capture_output=True, text=True, check=False, preexec_fn=ends_with_us
    )
    if done.returncode:
        reason = " ".join(line for line in done.stderr.splitlines() if line.startswith("ERROR"))[:300]
        raise UserError(f"pip could not download the wheels for Python {PYTHON} ({reason}); try again with a network")


def pins() -> list[str]:
    """`PACKAGES` as requirements of the lock.

    Raises:
        UserError: The lock lacks one.
    """
    locked = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK.read_text(encoding="utf-8"), flags=re.MULTILINE))
    versions = {_plain(name): version for name, version in locked.items()}
    if lacking := [name for name in PACKAGES if _plain(name) not in versions]:
        raise UserError(f"{LOCK} lacks {lacking[0]}; add it to pyproject.toml's dependencies and lock again")
    return [f"{name}=={versions[_plain(name)]}" for name in PACKAGES]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Parse the command line and make the bundle."""
    parser = argparse.ArgumentParser(prog="python -m causal2vec.bench.gpu.bundle", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("dist/gpu-bundle"), help="the folder")
    archive = make_bundle(parser.parse_args().output)
    sys.stderr.write(f"{archive} ({archive.stat().st_size / 1e6:.1f} MB): unpack it there and start run.sh\n")


if __name__ == "__main__":
    run_cli(main)
