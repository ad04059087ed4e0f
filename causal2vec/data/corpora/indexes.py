"""One exact archive from a package index, by pip: tried again, checked, with an end to every wait."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from causal2vec.errors import UserError
from causal2vec.fetch.retry import Patience, TransientError, retrying
from causal2vec.runtime.files import sha256_file
from causal2vec.runtime.secrets import mask
from causal2vec.runtime.signals import ends_with_us

_BROKEN = re.compile(
    "NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|Read timed out|[Cc]onnection broken|ProxyError"
    "|Connection (?:reset|aborted)|connection error|IncompleteRead|incomplete-download|Download failed after"
)
_BUSY = re.compile(
    r"\b(408|429|5\d\d) (?:Client|Server) Error|too many (429|5\d\d) error responses|HTTP error (429|5\d\d)"
)
_REFUSED = re.compile(r"\b(401|403) Client Error|HTTP error (401|403)")


class _WrongBytesError(Exception):
    """The archive has another checksum than was pinned; the argument is what was found."""


def download_archive(requirement: str, sha256: str, folder: Path, *, wheel: bool, platform: str | None) -> Path:
    """The archive of ``requirement``, in the empty ``folder``, with the given SHA-256.

    An index that is busy, stalls or breaks off is asked again, see `Patience`; pip >= 25.1 resumes what broke off.
    Wrong bytes are fetched once more, past pip's cache; a second time the same are reported.

    Raises:
        UserError: The requirement is not exact, or pip cannot get the archive, or it is another.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", requirement):
        raise UserError(f"requirement {requirement!r} is not exact; write it as name==version")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise UserError(f"sha256 {sha256!r} of {requirement} is not 64 hex digits; correct it")
    patience = Patience.from_environment()
    selection = _selection(wheel, platform)
    seen: list[str] = []

    def attempt() -> Path:
        try:
            return _pip_download(requirement, sha256, folder, selection, patience, cache=not seen)
        except _WrongBytesError as error:
            found = str(error)
            if found in seen:
                raise UserError(_wrong_hash(requirement, sha256, found)) from error
            seen.append(found)
            raise TransientError(f"the archive has sha256 {found[:12]}… where {sha256[:12]}… is expected") from error

    try:
        return retrying(requirement, attempt, patience)
    except TransientError as error:
        if seen:
            raise UserError(_wrong_hash(requirement, sha256, seen[-1])) from error
        raise UserError(
            f"pip cannot reach a package index to fetch {requirement}; check the network and try again ({error})"
        ) from error


def _pip_download(
    requirement: str, sha256: str, folder: Path, selection: list[str], patience: Patience, *, cache: bool
) -> Path:
    """One run of pip."""
    # Only at -vv pip says that an index was busy; else it says that the index lacks the package.
    listing = folder / "requirements.txt"
    listing.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    downloads, scratch = folder / "archives", folder / "scratch"
    scratch.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "-vv", "--no-deps", "--require-hashes", "--retries", "1"]
    command += ["--timeout", f"{patience.timeout:g}", "--disable-pip-version-check", "--progress-bar", "off"]
    command += ["--no-input", "--dest", str(downloads), "--requirement", str(listing), *selection]
    command += [] if cache else ["--no-cache-dir"]
    code, output = run_watched(command, scratch, folder / "pip.log", quiet_for=patience.obeyed)
    if code is None:
        raise TransientError(f"nothing came for {patience.obeyed:g} s")
    if code != 0:
        if got := re.search(r"\bGot\s+([0-9a-f]{64})", output):
            raise _WrongBytesError(got[1])
        if words := _transient_words(output):
            raise TransientError(words)
        raise UserError(explain_pip(requirement, output))
    archives = sorted(downloads.iterdir())
    if len(archives) != 1:
        raise UserError(f"pip brought {len(archives)} archives for {requirement} instead of one; try again")
    if (found := sha256_file(archives[0])) != sha256:  # pip's word is not the only one
        archives[0].unlink()
        raise _WrongBytesError(found)
    return archives[0]


def run_watched(command: list[str], scratch: Path, log: Path, *, quiet_for: float) -> tuple[int | None, str]:
    """Run pip and stop it when neither its output nor its temporary files have grown for ``quiet_for`` seconds.

    pip obeys a server that asks it to wait for a day; this is what ends that.

    Returns:
        (exit status, output); the status is None if pip was stopped.
    """
    # An older pip passes over what it does not know, such as PIP_RESUME_RETRIES.
    more = {"PIP_NO_COLOR": "1", "PIP_RESUME_RETRIES": "5", "LC_ALL": "C.UTF-8", "TMPDIR": str(scratch)}
    with log.open("wb") as sink:
        streams = {"stdin": subprocess.DEVNULL, "stdout": sink, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(  # type: ignore[call-overload]
            command, env={**os.environ, **more}, preexec_fn=ends_with_us, **streams
        )
        try:
            size, since = -1, time.monotonic()
            while process.poll() is None:
                if (now := _bytes_below(scratch) + log.stat().st_size) != size:
                    size, since = now, time.monotonic()
                if time.monotonic() - since > quiet_for:
                    break
                time.sleep(0.05)
            code = process.poll()
        finally:
            process.kill()
            process.wait()
    return code, log.read_text(encoding="utf-8", errors="replace")


def _bytes_below(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # gone meanwhile
                total += (Path(where) / name).stat().st_size
    return total


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


def _transient_words(output: str) -> str | None:
    """What is wrong, if it may be gone in a moment."""
    if found := _BUSY.search(output):
        return f"the index answers with status {next(group for group in found.groups() if group)}"
    if _BROKEN.search(output):
        return "the connection fails or breaks off"
    return None


def _wrong_hash(requirement: str, expected: str, found: str) -> str:
    return (
        f"the archive of {requirement} has sha256 {found} where {expected} is expected; it was cut short on its way, "
        "somebody replaced it, or the pinned hash is wrong, so do not use it before you know why"
    )


def explain_pip(requirement: str, output: str) -> str:
    """One sentence for what pip wrote when it failed to download ``requirement``, with no secret in it."""
    if "No module named pip" in output:
        return f"this Python has no pip to fetch {requirement} with; install it with `python -m ensurepip`"
    if refused := _REFUSED.search(output):
        status = refused[1] or refused[2]
        return f"the package index refuses {requirement} (status {status}); check user and password in PIP_INDEX_URL"
    if "No matching distribution found" in output or "Could not find a version" in output:
        return (
            f"no package index offers {requirement} in the wanted form; check its name, version and format, and that "
            "no login page stands before the index"
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR:", "error:"))] or lines or ["no message"]
    return f"pip could not download {requirement} ({mask(errors[-1])}); try again or run `pip download` by hand"
