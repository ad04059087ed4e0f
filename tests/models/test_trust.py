"""Code from a model folder runs only if it is this installation's own or the user says so; changes are found."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from conftest import METHODS, TEXTS, build

from causal2vec.errors import UserError
from causal2vec.models import trust
from causal2vec.models.folder import load_model, save_model

MANIFEST = {"method": "m", "base": "b", "seed": 0, "trained": False}


def save(tiny, folder: Path, method: str = "last_token") -> Path:
    save_model(build(method, tiny), folder, manifest=MANIFEST, records={})
    return folder


def with_new_revision(folder: Path) -> Path:
    """As somebody would who wants a changed folder to look whole."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["revision"] = trust.content_revision(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory) -> Path:
    return save(tiny, tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def model(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def test_the_code_of_all_own_methods_is_known(tiny, tmp_path):
    known = trust.known_code()
    for method in METHODS:
        folder = save(tiny, tmp_path / method, method)
        assert all(known[path.name] == path.read_bytes() for path in folder.glob("*.py"))
        assert trust.runs_code(folder, trusted=False)


def test_files_that_change_no_vector_leave_a_model_whole(model):
    revision = trust.content_revision(model)
    names = [
        "README.md", "LICENSE", "LICENCE.txt", "NOTICE", "CITATION.cff", ".gitattributes", ".git/config", ".DS_Store",
        "__pycache__/last_token.cpython-311.pyc", "llm/README.md", "validation.json", ".cache/huggingface/x.json",
        "docs/curve.png",
    ]  # fmt: skip
    for name in names:
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text("new")
    assert trust.content_revision(model) == revision
    assert load_model(str(model), "cpu", "float32").encode(TEXTS).shape[0] == len(TEXTS)


@pytest.mark.parametrize(
    "name", ["llm/chat_template.jinja", "license.py", "vocab.txt", "llm/notice.json", "x.safetensors"]
)
def test_files_that_may_change_vectors_count(name, model):
    (model / name).write_text("new")
    with pytest.raises(UserError, match=r"is not the model that its manifest\.json describes"):
        load_model(str(model), "cpu", "float32")


def test_planted_code_is_not_run(model, tmp_path):
    """The payload would write a file; the folder's revision was brought up to date by whoever planted it."""
    mark = tmp_path / "was here"
    path = model / "last_token.py"
    path.write_text(path.read_text() + f"\nopen({str(mark)!r}, 'w').close()\n")
    with_new_revision(model)
    with pytest.raises(UserError, match=r"last_token.py is not code of this installation .* say --trust-remote-code"):
        load_model(str(model), "cpu", "float32")
    assert not mark.exists()
    assert load_model(str(model), "cpu", "float32", trusted=True).encode(TEXTS).shape[0] == len(TEXTS)
    assert mark.exists(), "the payload works where it is asked for"


def edit_json(path: Path, change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


PLANTED = {
    "another file": lambda m: (m / "extra.py").write_text("import os"),
    "a file further down": lambda m: (m / "llm" / "embedder.py").write_text("import os"),
    "a class of the library": lambda m: edit_json(m / "modules.json", lambda v: v[0].update(type="subprocess.Popen")),
    "a class on the hub": lambda m: edit_json(m / "modules.json", lambda v: v[0].update(type="org/x--evil.Model")),
    "a deeper name": lambda m: edit_json(m / "modules.json", lambda v: v[0].update(type="llm.evil.Model")),
    "auto_map": lambda m: edit_json(m / "llm" / "config.json", lambda v: v.update(auto_map={"AutoModel": "o/x--e.M"})),
    "tokenizer auto_map": lambda m: edit_json(
        m / "llm" / "tokenizer_config.json", lambda v: v.update(auto_map={"AutoTokenizer": ["o/x--e.M", None]})
    ),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_every_way_to_bring_code_is_refused(plant, model):
    plant(model)
    with_new_revision(model)
    with pytest.raises(UserError, match=r"--trust-remote-code, else do not use model") as error:
        load_model(str(model), "cpu", "float32")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["llm/model.safetensors", "embedder.py", "llm/config.json", "modules.json"])
def test_a_folder_that_changed_since_it_was_saved_is_named(name, model):
    path = model / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"model is not the model that its manifest.json describes .* delete model and"):
        load_model(str(model), "cpu", "float32", trusted=True)


def test_records_may_change_and_other_models_need_no_manifest(model):
    (model / "README.md").write_text("a note")
    load_model(str(model), "cpu", "float32")
    (model / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match=r"manifest.json has no 'revision'; .*make the model again"):
        load_model(str(model), "cpu", "float32")
    (model / "manifest.json").unlink()
    load_model(str(model), "cpu", "float32")


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not valid JSON"), ('{"type": 1}', "does not list modules"), ("[1]", "does not list modules")],
)
def test_damaged_list_of_modules(text, words, tmp_path):
    (tmp_path / "modules.json").write_text(text)
    with pytest.raises(UserError, match=words):
        load_model(str(tmp_path), "cpu", "float32")


def test_a_model_without_code_runs_none(tmp_path):
    (tmp_path / "modules.json").write_text('[{"type": "sentence_transformers.models.Pooling"}]')
    (tmp_path / "stray.py").write_text("raise SystemExit")
    assert trust.runs_code(tmp_path, trusted=True) is False


def test_command_line_asks_before_it_runs_code_and_takes_the_commit_it_names(model, monkeypatch, tmp_path):
    from causal2vec.evaluation import __main__ as cli

    path = model / "last_token.py"
    path.write_text(path.read_text() + "\n# changed\n")
    with_new_revision(model)
    words = ["x", "--model", str(model), "--tasks", "STS12", "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(UserError, match=r"say --trust-remote-code"):
        cli.main()
    asked = {}

    class Opened:
        def __init__(self, path, **words):
            asked.update(words, path=path)
            raise ValueError("enough")

    monkeypatch.setattr("sentence_transformers.SentenceTransformer", Opened)
    monkeypatch.setattr(sys, "argv", [*words, "--trust-remote-code"])
    with pytest.raises(UserError, match="enough"):
        cli.main()
    assert asked["trust_remote_code"] is True and asked["revision"] is None
    commit = "d" * 40
    monkeypatch.setattr(sys, "argv", ["x", "--model", "org/m", *words[3:], "--revision", commit])
    with pytest.raises(UserError, match="enough"):
        cli.main()
    assert asked["trust_remote_code"] is False and asked["revision"] == commit
