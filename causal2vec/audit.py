"""``python -m causal2vec.audit``: is what is installed locked, whole, still offered, safe, and under which licence.

Asks the package index that pip is configured for, and pip-audit's vulnerability service where there is one. What could
not be asked is said to be unchecked; it is never taken for well.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from causal2vec.errors import UserError
from causal2vec.runtime.cli import run_cli
from causal2vec.runtime.manifest import LOCK, today
from causal2vec.runtime.secrets import mask

NOT_LOCKED = frozenset(("causal2vec-suite",))
"""Installed without being in the lock: this project."""

STRONG = re.compile(r"\bA?GPL|GNU (?:Affero )?General Public", re.IGNORECASE)
"""Licences that would bind a work that copies or includes such code; LGPL is another."""

REVIEWED = {
    "docutils": "its GPL part is an Emacs mode, which this project neither has nor uses",
}
"""Packages whose licence text names the GPL and that were looked at, with the reason why they are no finding."""


@dataclass
class Audit:
    """What was found. ``findings`` are faults, ``unchecked`` what could not be asked and why, ``passed`` the rest."""

    findings: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)


def main() -> None:
    """Parse the command line and audit; ends with status 1 if there is a finding."""
    parser = argparse.ArgumentParser(prog="python -m causal2vec.audit", description=__doc__)
    parser.add_argument("--lock", type=Path, default=LOCK, help="the lock file (default: the project's)")
    parser.add_argument("--no-index", action="store_true", help="ask no package index and no vulnerability service")
    options = parser.parse_args()
    lock = read_lock(options.lock)
    installed = {normal(d.metadata["Name"]): d for d in distributions() if d.metadata["Name"]}
    audit = Audit()
    check_versions(lock, {name: d.version for name, d in installed.items()}, audit)
    check_files(installed.values(), audit)
    check_requirements(audit)
    if options.no_index:
        audit.unchecked += ["versions on the package index: --no-index", "known vulnerabilities: --no-index"]
    else:
        check_index(options.lock, lock, audit)
        check_vulnerabilities(options.lock, lock, audit)
    rows = [(name, d.version, licence_of(d)) for name, d in sorted(installed.items()) if name not in NOT_LOCKED]
    check_licences(rows, audit)
    sys.stdout.write(render(audit, rows))
    if audit.findings:
        sys.exit(1)


def read_lock(path: Path) -> dict[str, str]:
    """The versions that a lock file pins on this platform, by normalised name.

    Raises:
        UserError: It is absent, or a line is not ``name==version``, with a marker behind ``;`` or not.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; name the lock file with --lock")
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            wanted = None
        pinned = re.fullmatch(r"==([A-Za-z0-9.!+_-]+)", str(wanted.specifier)) if wanted else None
        if wanted is None or pinned is None or wanted.extras or wanted.url:
            raise UserError(f"{path}:{number}: '{text[:80]}' is not of the form name==version; pin it exactly")
        if wanted.marker is None or wanted.marker.evaluate():
            found[normal(wanted.name)] = pinned[1]
    return found


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def check_versions(lock: dict[str, str], installed: dict[str, str], audit: Audit) -> None:
    """What is installed against what is locked; a local build such as ``2.0+cpu`` is version 2.0."""
    before = len(audit.findings)
    for name, version in sorted(lock.items()):
        if name not in installed:
            audit.findings.append(f"{name} {version} is locked but not installed; run 'make env'")
        elif version not in (installed[name], installed[name].partition("+")[0]):
            audit.findings.append(f"{name} {installed[name]} is installed, but {version} is locked; run 'make env'")
    for name in sorted(set(installed) - set(lock) - NOT_LOCKED):
        audit.findings.append(f"{name} {installed[name]} is installed but not locked; remove it, or lock it")
    if len(audit.findings) == before:
        audit.passed.append(f"all {len(lock)} locked packages are installed in their locked versions, and no others")


def check_files(packages: Iterable[Distribution], audit: Audit) -> None:
    """Every installed file against the SHA-256 that pip noted when it installed it."""
    files = faults = 0
    for package in packages:
        for path, kind, expected in _noted(package):
            files += 1
            if not path.is_file():
                fault = "is gone"
            elif _digest(path, kind) != expected:
                fault = "was changed since it was installed"
            else:
                continue
            faults += 1
            audit.findings.append(f"{package.metadata['Name']}: {path} {fault}; run 'make env' anew")
    if not faults:
        audit.passed.append(f"{files:,} installed files are as they were installed")


def _noted(package: Distribution) -> Iterator[tuple[Path, str, str]]:
    for entry in package.files or ():
        if entry.hash and entry.hash.mode in hashlib.algorithms_guaranteed and entry.suffix != ".pyc":
            yield Path(str(package.locate_file(entry))), entry.hash.mode, entry.hash.value


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, kind).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def check_requirements(audit: Audit) -> None:
    """Whether all packages have what they need (``pip check``)."""
    done = _run("pip", "check")
    if done.returncode == 0:
        audit.passed.append("every package has what it requires (pip check)")
    elif "No module named pip" in done.stderr:
        audit.unchecked.append("requirements of packages: this Python has no pip")
    else:
        audit.findings += [f"pip check: {line}" for line in done.stdout.splitlines() if line.strip()]


def check_index(path: Path, lock: dict[str, str], audit: Audit) -> None:
    """Whether the configured package index still offers every locked version, and has not yanked it."""
    with tempfile.TemporaryDirectory(prefix="audit-") as scratch:
        report = Path(scratch) / "report.json"
        words = ["install", "--dry-run", "--ignore-installed", "--no-deps", "--no-input", "--quiet"]
        done = _run("pip", *words, "--disable-pip-version-check", "--report", str(report), "--requirement", str(path))
        value = json.loads(report.read_text(encoding="utf-8")) if report.is_file() and not done.returncode else None
    read_index(value, done.stdout + done.stderr, lock, audit)


def read_index(report: Any, output: str, lock: dict[str, str], audit: Audit) -> None:
    """Read pip's installation report (None: it failed) and its words."""
    yanked = {normal(name) for name in re.findall(r"is a yanked version: '([^']+)'", output)}
    if report is None:
        missing = re.search(r"No matching distribution found for ([A-Za-z0-9._-]+)==", output)
        if missing and "none)" not in output:
            name = normal(missing[1])
            audit.findings.append(f"{name} {lock.get(name)} is no longer offered by the package index; lock another")
        else:
            last = (output.strip().splitlines() or ["pip said nothing"])[-1]
            audit.unchecked.append(f"versions on the package index: pip could not ask it ({mask(last)[:200]})")
        return
    says = False
    for entry in report["install"]:
        says |= "is_yanked" in entry
        if entry.get("is_yanked"):
            yanked.add(normal(entry["metadata"]["name"]))
    audit.findings += [
        f"{name} {lock.get(name)} was yanked from the package index; lock another" for name in sorted(yanked)
    ]
    offered = {normal(entry["metadata"]["name"]) for entry in report["install"]}
    if lacking := sorted(set(lock) - offered):
        audit.unchecked.append(f"versions on the package index: nothing was said of {', '.join(lacking)}")
    if not yanked:
        how = "" if says else ", as far as this pip, older than 23.3, says"
        audit.passed.append(f"the package index offers {len(offered)} locked versions and has yanked none{how}")


def check_vulnerabilities(path: Path, lock: dict[str, str], audit: Audit) -> None:
    """Known vulnerabilities of the locked versions, by pip-audit, where it is installed and reaches its service."""
    words = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--requirement", str(path)]
    program = shutil.which("pip-audit")  # with packages of its own, so it has no place in the locked environment
    if program is None:
        audit.unchecked.append("known vulnerabilities: pip-audit is not there ('pipx install pip-audit' makes it so)")
        return
    done = _call(program, *words)
    read_vulnerabilities(done.stdout, done.stderr, lock, audit)


def read_vulnerabilities(output: str, errors: str, lock: dict[str, str], audit: Audit) -> None:
    """Read pip-audit's JSON. A package that it passed over is unchecked, although its own verdict is "none found"."""
    try:
        entries = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (errors.strip().splitlines() or ["it said nothing"])[-1]
        audit.unchecked.append(f"known vulnerabilities: pip-audit reached no service ({mask(last)[:200]})")
        return
    checked = {normal(entry["name"]): entry["vulns"] for entry in entries if "vulns" in entry}
    for name, vulnerabilities in sorted(checked.items()):
        for fault in vulnerabilities:
            fixed = ", ".join(fault.get("fix_versions") or []) or "no version yet"
            audit.findings.append(
                f"{name} {lock.get(name)} has the known vulnerability {fault['id']}; fixed in {fixed}"
            )
    skipped = sorted(set(lock) - set(checked))
    reasons = sorted({str(entry["skip_reason"]).partition(":")[0] for entry in entries if entry.get("skip_reason")})
    if skipped:
        why = "; ".join(reasons) or "its service says nothing of them"
        what = "any package" if not checked else f"{len(skipped)} packages ({', '.join(skipped[:5])}, ...)"
        audit.unchecked.append(f"known vulnerabilities of {what}: {why}")
    if checked:
        audit.passed.append(f"{len(checked)} packages were compared with a list of known vulnerabilities")


def licence_of(package: Distribution) -> str:
    """A package's licence as it says itself: expression, field, classifiers, title of its licence file; or unknown."""
    meta: Any = package.metadata
    if expression := (meta.get("License-Expression") or "").strip():
        return expression
    classes = [c.rpartition(" :: ")[2] for c in meta.get_all("Classifier") or [] if c.startswith("License :: ")]
    classes = [c for c in classes if c != "OSI Approved"]
    text = " ".join((meta.get("License") or "").split())
    if text and len(text) <= 60 and text.upper() != "UNKNOWN":
        return text
    if classes:
        return "; ".join(classes)
    return f"{text[:57]}..." if text and text.upper() != "UNKNOWN" else _title_of_licence_file(package)


def _title_of_licence_file(package: Distribution) -> str:
    for entry in package.files or ():
        if re.match(r"(?i)(licen[cs]e|copying)", entry.name) and ".dist-info" in str(entry.parent):
            path = Path(str(package.locate_file(entry)))
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []
            title = next((line.strip() for line in lines if line.strip()), "")
            if 0 < len(title) <= 60:
                return f"{title} (by its licence file)"
    return "unknown"


def check_licences(rows: list[tuple[str, str, str]], audit: Audit) -> None:
    """Licences that would bind this project (it is under Apache-2.0 and copies no code), and unknown ones."""
    strong = [(name, licence) for name, _, licence in rows if STRONG.search(licence) and name not in REVIEWED]
    audit.findings += [
        f"{name} is under {licence}, a strong copyleft; use another, or review it" for name, licence in strong
    ]
    unknown = [name for name, _, licence in rows if licence == "unknown"]
    if unknown:
        audit.unchecked.append(f"the licence of {', '.join(unknown)}: the package names none")
    if not strong:
        audit.passed.append(f"none of {len(rows)} packages is under a strong copyleft, but for those reviewed")


def render(audit: Audit, rows: list[tuple[str, str, str]]) -> str:
    """The result as Markdown."""
    lines = [f"# Audit of the dependencies, {today()}", ""]
    for title, entries in (("Finding", audit.findings), ("NOT checked", audit.unchecked), ("Checked", audit.passed)):
        lines += [f"- {title}: {entry.replace('|', '/')}" for entry in entries]
    verdict = f"{len(audit.findings)} findings" if audit.findings else "no finding"
    lines += ["", f"Verdict: {verdict}, {len(audit.unchecked)} things not checked.", ""]
    lines += ["| package | version | licence |", "|---|---|---|"]
    for name, version, licence in rows:
        note = f" (reviewed: {REVIEWED[name]})" if name in REVIEWED and STRONG.search(licence) else ""
        lines.append(f"| {name} | {version} | {licence.replace('|', '/')}{note} |")
    return "\n".join(lines) + "\n"


def _run(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    return _call(sys.executable, "-m", module, *words)


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    run_cli(main)
