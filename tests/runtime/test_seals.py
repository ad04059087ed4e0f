"""Checksums of artefacts: any flipped, cut or missing byte is found; what is damaged is moved aside and made anew."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from causal2vec.runtime import seals
from causal2vec.runtime.folders import Folders


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def artefact(chance: random.Random) -> Path:
    folder = Path("work/tiny/things/one")
    for name in ("a.bin", "deep/er/b.json", "empty"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty" else chance.randbytes(chance.randint(1, 300)))
    return folder


def keep_times(path: Path, content: bytes) -> None:
    """As a failing disk does it: other bytes, the same size and time."""
    facts = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_every_flipped_bit_is_found(here):
    chance = random.Random(0)
    folder = artefact(chance)
    seals.seal(folder)
    assert seals.damage(folder) is None and list(seals.sealed(Folders("tiny"))) == [folder]
    for path in (folder / "a.bin", folder / "deep/er/b.json"):
        whole = path.read_bytes()
        for place in range(len(whole)):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << chance.randrange(8)
            keep_times(path, bytes(flipped))
            problem = seals.damage(folder)
            assert problem and path.relative_to(folder).as_posix() in problem and "SHA-256" in problem
            keep_times(path, whole)
    assert seals.damage(folder) is None


@pytest.mark.parametrize("thorough", [True, False])
@pytest.mark.parametrize("harm", ["cut", "longer", "gone", "rewritten"])
def test_harm_that_leaves_a_trace_is_found_without_reading_everything(harm, thorough, here):
    folder = artefact(random.Random(1))
    seals.seal(folder)
    path = folder / "a.bin"
    whole = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": whole[:-1], "longer": whole + b"x", "rewritten": whole[::-1]}[harm])
        os.utime(path, ns=(1, 1))
    problem = seals.damage(folder, thorough=thorough)
    assert problem and "a.bin" in problem


def test_touched_or_copied_is_not_damaged(here):
    folder = artefact(random.Random(2))
    seals.seal(folder)
    os.utime(folder / "a.bin", ns=(1, 1))
    assert seals.damage(folder, thorough=False) is None
    (folder / ".snakemake_timestamp").touch()
    (folder / "of the user").write_text("x")
    assert seals.damage(folder) is None


def test_damaged_seal_is_no_proof(here):
    Path("results/tiny").mkdir(parents=True)
    Path("results/tiny/scores.csv").write_text("a\n")
    seals.seal(Path("results/tiny/scores.csv"))
    [place] = Folders("tiny").seals.rglob("*.seal")
    content = place.read_bytes()
    for place_of_byte in range(len(content)):
        flipped = bytearray(content)
        flipped[place_of_byte] ^= 1
        place.write_bytes(bytes(flipped))
        assert seals.damage(Path("results/tiny/scores.csv")) is not None or flipped.isspace()
    place.write_bytes(content)
    assert seals.damage(Path("results/tiny/scores.csv")) is None


def test_set_aside_keeps_the_damaged_bytes_and_forgets_the_seal(here):
    folder = artefact(random.Random(3))
    seals.seal(folder)
    for _ in range(2):  # a second time it takes the first one's place
        aside = seals.set_aside(folder)
        assert aside == Path("work/tiny/damaged/work__tiny__things__one") and (aside / "a.bin").is_file()
        assert not folder.exists() and not seals.is_sealed(folder) and seals.damage(folder) is None
        artefact(random.Random(4))
