"""The audit of the dependencies: what it finds, what it admits not to have checked, and that it never confuses them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
from conftest import ROOT
from faulty_server import Fault, serving

from causal2vec import audit as module
from causal2vec.audit import Audit, read_lock
from causal2vec.errors import UserError

LOCK = {"a": "1.0", "b-c": "2.0"}


def installed(folder: Path, name: str = "made-up", **metadata: str) -> Path:
    """A package with one file, as pip installs it."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    lines = [f"{key.replace('_', '-')}: {value}" for key, value in metadata.items()]
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines]))
    (folder / "made_up.py").write_text("VALUE = 1\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"VALUE = 1\n").digest()).decode().rstrip("=")
    (info / "RECORD").write_text(f"made_up.py,sha256={digest},10\n{info.name}/METADATA,,\n__pycache__/made_up.pyc,,\n")
    return folder


def test_the_projects_lock_is_read_and_a_loose_one_is_refused(tmp_path):
    lock = read_lock(ROOT / "requirements.lock")
    assert lock["torch"] and lock["huggingface-hub"] and len(lock) > 100
    (tmp_path / "lock").write_text('a==1 # why\nb==2; python_version > "3"\nc==3; python_version < "3"\n')
    assert read_lock(tmp_path / "lock") == {"a": "1", "b": "2"}
    (tmp_path / "lock").write_text("a==1 # why\n\nb>=2\n")
    with pytest.raises(UserError, match=r"lock:3: 'b>=2' is not of the form name==version"):
        read_lock(tmp_path / "lock")
    with pytest.raises(UserError, match="does not exist"):
        read_lock(tmp_path / "absent")


def test_versions_that_differ_lack_or_are_not_locked(tmp_path):
    audit = Audit()
    module.check_versions(LOCK, {"a": "1.0+cpu", "b-c": "2.0", "causal2vec-suite": "99"}, audit)
    assert not audit.findings and len(audit.passed) == 1
    module.check_versions(LOCK, {"b-c": "3.0", "x": "1"}, audit)
    assert audit.findings == [
        "a 1.0 is locked but not installed; run 'make env'",
        "b-c 3.0 is installed, but 2.0 is locked; run 'make env'",
        "x 1 is installed but not locked; remove it, or lock it",
    ]


@pytest.mark.parametrize("harm", ["none", "change", "remove"])
def test_a_tampered_file_is_found(harm, tmp_path):
    folder = installed(tmp_path)
    if harm == "change":
        (folder / "made_up.py").write_text("VALUE = 2\n")
    if harm == "remove":
        (folder / "made_up.py").unlink()
    audit = Audit()
    module.check_files(distributions(path=[str(folder)]), audit)
    assert [finding.partition(";")[0].split()[-2:] for finding in audit.findings] == {
        "none": [], "change": [["was", "installed"]], "remove": [["is", "gone"]],
    }[harm]  # fmt: skip
    assert audit.passed == (["1 installed files are as they were installed"] if harm == "none" else [])


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ({"License_Expression": "MIT", "License": "other"}, "MIT"),
        ({"License": "Apache-2.0"}, "Apache-2.0"),
        ({"License": "x" * 200, "Classifier": "License :: OSI Approved :: BSD License"}, "BSD License"),
        ({"License": "y" * 200}, "y" * 57 + "..."),
        ({"License": "UNKNOWN", "Classifier": "License :: OSI Approved"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_licence_as_a_package_says_it(metadata, licence, tmp_path):
    [package] = distributions(path=[str(installed(tmp_path, **metadata))])
    assert module.licence_of(package) == licence


def test_licence_by_its_file(tmp_path):
    folder = installed(tmp_path)
    info = folder / "made_up-1.0.dist-info"
    (info / "LICENSE").write_text("\n  MIT License\n\nCopyright")
    (info / "RECORD").write_text((info / "RECORD").read_text() + f"{info.name}/LICENSE,,\n")
    [package] = distributions(path=[str(folder)])
    assert module.licence_of(package) == "MIT License (by its licence file)"


@pytest.mark.parametrize(
    ("licence", "strong"),
    [
        ("GPL-3.0-or-later", True), ("AGPL-3.0", True), ("GNU General Public License v2 (GPLv2)", True),
        ("GNU Affero General Public License v3", True), ("LGPL-2.1", False), ("MIT OR GPL-2.0", True),
        ("GNU Lesser General Public License v3 (LGPLv3)", False), ("MPL-2.0", False), ("unknown", False),
    ],
)  # fmt: skip
def test_strong_copyleft_is_a_finding_and_an_unknown_licence_is_said(licence, strong):
    audit = Audit()
    module.check_licences([("a", "1", licence), ("docutils", "1", "GPL")], audit)
    assert bool(audit.findings) is strong
    assert bool(audit.unchecked) is (licence == "unknown")


def entry(name: str, **more: object) -> dict[str, object]:
    return {"metadata": {"name": name}, **more}


def test_index_that_yanked_lacks_or_cannot_be_asked(monkeypatch):
    monkeypatch.setenv("INDEX_PASSWORD", "pa55word")
    cases = {
        "good": ({"install": [entry("A", is_yanked=False), entry("b_c", is_yanked=False)]}, ""),
        "old pip": ({"install": [entry("a"), entry("b-c")]}, ""),
        "yanked": ({"install": [entry("a", is_yanked=True), entry("b-c", is_yanked=False)]}, ""),
        "yanked, old pip": (
            {"install": [entry("a"), entry("b-c")]},
            "WARNING: The candidate selected for install is a yanked version: 'a' candidate (version 1.0 at",
        ),
        "silent": ({"install": [entry("a", is_yanked=False)]}, ""),
        "gone": (None, "(from versions: 2.0, 3.0)\nERROR: No matching distribution found for a==1.0"),
        "no network": (None, "(from versions: none)\nERROR: No matching distribution found for a==1.0 pa55word"),
        "nothing": (None, ""),
    }  # fmt: skip
    found = {}
    for name, (report, output) in cases.items():
        audit = Audit()
        module.read_index(report, output, LOCK, audit)
        found[name] = (audit.findings, audit.unchecked, audit.passed)
    assert found["good"] == ([], [], ["the package index offers 2 locked versions and has yanked none"])
    assert "as far as this pip" in found["old pip"][2][0]
    for name in ("yanked", "yanked, old pip"):
        assert found[name] == (["a 1.0 was yanked from the package index; lock another"], [], [])
    assert found["silent"][1] == ["versions on the package index: nothing was said of b-c"]
    assert found["gone"][0] == ["a 1.0 is no longer offered by the package index; lock another"]
    for name in ("no network", "nothing"):
        assert found[name][0] == [] and "pip could not ask it" in found[name][1][0] and found[name][2] == []
    assert "pa55word" not in str(found)


def test_vulnerabilities_that_were_not_looked_up_are_not_called_none():
    bad = {"name": "A", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
    good = {"name": "b_c", "version": "2.0", "vulns": []}
    passed_over = {
        "name": "b_c",
        "skip_reason": "Dependency not found on the index and could not be audited: b-c (2.0)",
    }
    cases = {
        "both": [bad, good],
        "half": [{**bad, "vulns": []}, passed_over],
        "none": [{**passed_over, "name": "a"}, passed_over],
        "no service": None,
    }
    found = {}
    for name, entries in cases.items():
        audit = Audit()
        output = json.dumps({"dependencies": entries}) if entries else "Traceback"
        module.read_vulnerabilities(output, "ConnectionError: no such host", LOCK, audit)
        found[name] = (audit.findings, audit.unchecked, audit.passed)
    assert found["both"][0] == ["a 1.0 has the known vulnerability PYSEC-1; fixed in 1.1"] and not found["both"][1]
    assert "1 packages (b-c, ...)" in found["half"][1][0] and "1 packages were compared" in found["half"][2][0]
    assert found["none"][1:] == (
        ["known vulnerabilities of any package: Dependency not found on the index and could not be audited"], [],
    )  # fmt: skip
    assert found["no service"][1:] == (
        ["known vulnerabilities: pip-audit reached no service (ConnectionError: no such host)"], [],
    )  # fmt: skip


def test_a_real_index_is_asked_by_pip(tmp_path, monkeypatch):
    wheels = tmp_path / "root" / "wheels"
    wheels.mkdir(parents=True)
    info = "made_up-1.0.dist-info"
    with zipfile.ZipFile(wheels / "made_up-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    (tmp_path / "lock").write_text("made-up==1.0\n")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    good, bad = Audit(), Audit()
    with serving(tmp_path / "root") as server:
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.address}/simple/")
        module.check_index(tmp_path / "lock", {"made-up": "1.0"}, good)
        server.faults.append(Fault("status", ".*", status=500))
        module.check_index(tmp_path / "lock", {"made-up": "1.0"}, bad)
    assert not good.findings and not good.unchecked and "offers 1 locked versions" in good.passed[0]
    assert not bad.findings and not bad.passed and "pip could not ask it" in bad.unchecked[0]


def test_command_ends_with_status_1_on_a_finding_only(tmp_path, monkeypatch, capsys):
    package = installed(tmp_path / "site", License="GPL|3")
    monkeypatch.setattr(module, "distributions", lambda: distributions(path=[str(package)]))
    monkeypatch.setattr(module, "_run", lambda *words: module._call(sys.executable, "-c", ""))
    (tmp_path / "lock").write_text("made-up==1.0\n")
    monkeypatch.setattr(sys, "argv", ["x", "--no-index", "--lock", str(tmp_path / "lock")])
    with pytest.raises(SystemExit) as ended:
        module.main()
    said = capsys.readouterr().out
    assert ended.value.code == 1 and "- Finding: made-up is under GPL/3, a strong copyleft" in said
    assert "- NOT checked: known vulnerabilities: --no-index" in said and "| made-up | 1.0 | GPL/3 |" in said
    monkeypatch.setattr(module, "REVIEWED", {"made-up": "only made up"})
    module.main()
    assert "(reviewed: only made up)" in (said := capsys.readouterr().out) and "Verdict: no finding, 2 things" in said
