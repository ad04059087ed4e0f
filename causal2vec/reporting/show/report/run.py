"""How a study was run and how to cite it, as the report tells it: from the manifest and the citation file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from causal2vec.errors import UserError
from causal2vec.reporting.read.types import listed

LIBRARIES = ("mteb", "torch", "transformers", "sentence-transformers", "peft", "accelerate", "snakemake", "numpy")
"""The libraries whose versions decide the scores."""

PAPER = "Causal2Vec. arXiv:2507.23386. https://arxiv.org/abs/2507.23386"
"""The paper whose method is reproduced."""


@dataclass(frozen=True)
class Run:
    """How a study was run.

    Attributes:
        facts: Name and value, the most important first.
        stages: Stage, number of jobs, their time together; the longest first.
        total: The time of all jobs together.
        documents: Title and text of what is long: configuration, versions, hashes.
    """

    facts: list[tuple[str, str]]
    stages: list[tuple[str, int, str]]
    total: str
    documents: list[tuple[str, str]]


def describe_run(manifest: Mapping[str, Any], statistics: Sequence[str] = ()) -> Run:
    """What the report says of how a study was run.

    Args:
        manifest: As `causal2vec.runtime.manifest.write_manifest` writes it; whatever it lacks is left out.
        statistics: How the statistics were computed, in sentences.
    """
    parts = (manifest.get(key) or {} for key in ("config", "versions", "hardware", "seconds"))
    config, versions, hardware, jobs = parts
    facts = {
        "Manifest": manifest.get("id"),
        "Date": manifest.get("created"),
        "Commit": _commit(manifest.get("git") or {}),
        "Seeds": listed(config.get("seeds") or []),
        "Bases": listed(config.get("bases") or []),
        "Hardware": _hardware(hardware),
        "Number format": manifest.get("dtype") or hardware.get("dtype"),
        "Python": manifest.get("python"),
        "Main libraries": listed([f"{name} {versions[name]}" for name in LIBRARIES if name in versions]),
        "Lock file (SHA-256)": manifest.get("lock_sha256"),
        "Scores (SHA-256)": manifest.get("scores_sha256"),
    }
    hashes = {name: manifest[name] for name in ("pairs", "sources", "models") if manifest.get(name)}
    documents = {
        "How the statistics were computed": "\n".join(statistics),
        "Configuration, as it was checked": _yaml(config),
        "Hashes of pairs, sources and models": _yaml(hashes),
        "All installed versions": "\n".join(f"{name} {version}" for name, version in versions.items()),
        "Time of every job, in seconds": _yaml(jobs),
    }
    stages: dict[str, list[float]] = {}
    for job, seconds in jobs.items():
        stages.setdefault(job.partition("/")[0], []).append(seconds)
    ranked = sorted(stages.items(), key=lambda item: (-sum(item[1]), item[0]))
    return Run(
        [(name, str(value)) for name, value in facts.items() if value],
        [(stage, len(times), duration(sum(times))) for stage, times in ranked],
        duration(sum(jobs.values())),
        [(title, text) for title, text in documents.items() if text],
    )


def _commit(git: Mapping[str, Any]) -> str:
    if not git.get("commit"):
        return "not from a repository"
    dirty = git.get("dirty")
    state = "" if dirty is None else ", with changes that are not committed" if dirty else ", without other changes"
    return f"{git['commit']}{state}"


def _hardware(hardware: Mapping[str, Any]) -> str:
    if "device_name" not in hardware:
        return listed([f"{name} {value}" for name, value in hardware.items() if isinstance(value, str | int | float)])
    words = [f"{hardware['device_name']} ({hardware.get('device', 'unknown device')})"]
    words += [f"{hardware['cores']} cores"] if "cores" in hardware else []
    words += [f"{hardware['memory_gib']} GiB memory"] if "memory_gib" in hardware else []
    return listed(words)


def duration(seconds: float) -> str:
    """A time in the two largest units that it has."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours:,} h {left:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _yaml(value: Any) -> str:
    if not value:
        return ""
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)).rstrip()


def citations(path: Path) -> list[str]:
    """How to cite: the project and its references by the citation file, or else the paper alone.

    Raises:
        UserError: The file is not in the Citation File Format.
    """
    if not path.is_file():
        return [PAPER]
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        lines = [_reference(data), *(_reference(reference) for reference in data.get("references") or [])]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a citation file; it needs 'title' and 'authors' (cff-version 1.2.0)") from error
    return lines if any("2507.23386" in line for line in lines) else [*lines, PAPER]


def _reference(item: Mapping[str, Any]) -> str:
    """One line: authors (year). Title. Version. DOI, address or note."""
    authors = [_author(author) for author in item["authors"]]
    year = str(item.get("year") or item.get("date-released") or "")[:4]
    version = f"Version {item['version']}" if item.get("version") else ""
    where = [item.get("doi"), item.get("repository-code") or item.get("url"), item.get("notes")]
    words = [f"{'; '.join(authors)}{f' ({year})' if year else ''}", item["title"], version, *where]
    return ". ".join(str(word).rstrip(".") for word in words if word) + "."


def _author(author: Mapping[str, Any]) -> str:
    names = [author.get("family-names"), author.get("given-names")]
    return str(author["name"]) if "name" in author else ", ".join(str(name) for name in names if name)
