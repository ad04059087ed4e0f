"""Downloads for machines without a network: what comes is checked, what fails is one sentence."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import SHARED, TEXTS, mirrored, results_of, work_of
from support.studies import configuration, prepared, snakemake

from causal2vec.config import ModelSource
from causal2vec.errors import UserError
from causal2vec.models.prepare import prepare_model
from causal2vec.runtime.files import read_json

REVISION = "a" * 40
CODE = """
import json, shutil, sys
from pathlib import Path
from causal2vec.config import ModelSource
from causal2vec.runtime.cli import run_cli
from causal2vec.fetch import hub, models
kind, repository, output = sys.argv[1:4]
if len(sys.argv) > 4:
    shutil.disk_usage = lambda folder: type("Usage", (), {"free": int(sys.argv[4])})
source = dict(kind="llm", source="hub", repository=repository, revision="a" * 40)
def go():
    if kind == "model":
        models.fetch_model("m", ModelSource(**source), Path(output))
    else:
        hub.download(repository, "a" * 40, kind="dataset", where="mntp.texts", allow=["*.jsonl"])
run_cli(go)
"""


def fetch(kind: str, repository: str, output: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", CODE, kind, repository, str(output), *words]
    env = {**os.environ, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "", "CAUSAL2VEC_FETCH_PAUSE": "0.01", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def sentence(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr[-2000:]
    return done.stderr.strip().splitlines()[-1]


def local(path: Path, kind: str = "llm", **more) -> ModelSource:
    return ModelSource(kind=kind, source="local", path=str(path), **more)


@pytest.fixture(scope="module")
def model_hub(tiny, tmp_path_factory) -> Path:
    """Made-up repositories: as most models are, with only a .bin file, and with no weights at all."""
    import torch
    from transformers import LlamaForCausalLM

    root = tmp_path_factory.mktemp("hub")
    for name in ("whole", "bin", "empty"):
        shutil.copytree(tiny["llm"], root / "models" / "org" / name)
    for name in ("bin", "empty"):
        (root / "models" / "org" / name / "model.safetensors").unlink()
    half = LlamaForCausalLM.from_pretrained(tiny["llm"]).half()
    torch.save(half.state_dict(), root / "models" / "org" / "bin" / "pytorch_model.bin")
    config = root / "models" / "org" / "bin" / "config.json"
    config.write_text(json.dumps({**read_json(config), "dtype": "float16"}))
    extra = root / "models" / "org" / "whole"
    (extra / "pytorch_model.bin").write_bytes(b"not wanted")
    (extra / "onnx").mkdir()
    (extra / "onnx" / "model.onnx").write_bytes(b"not wanted")
    shutil.copytree(tiny["encoder"], root / "models" / "org" / "encoder")
    (root / "datasets").mkdir()
    return root


class Refusing(BaseHTTPRequestHandler):
    """Answers as the hub does when it refuses: the reason is in a header, chosen by the repository's name."""

    answers = {
        "gone": (404, "RevisionNotFound"), "gated": (403, "GatedRepo"), "private": (401, "RepoNotFound"),
    }  # fmt: skip

    def do_GET(self) -> None:
        status, code = next(value for name, value in self.answers.items() if f"/org/{name}/" in self.path)
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *words) -> None:
        pass


@pytest.fixture(scope="module")
def refusing():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    ("repository", "token", "words"),
    [
        ("org/gone", "", "the model is there, but has no such revision; correct the revision"),
        ("org/gated", "", "is gated; accept the licence on the model's page and set HF_TOKEN"),
        ("org/gated", "hf_x", "is gated, and your token has no access; accept the licence"),
        ("org/private", "", "there is no such model, or it is private; correct the name, or set HF_TOKEN"),
    ],
)
def test_refusal_of_the_hub_is_one_sentence(repository, token, words, refusing, tmp_path):
    done = fetch("model", repository, tmp_path / "m.json", HF_ENDPOINT=refusing, HF_HOME=str(tmp_path), HF_TOKEN=token)
    said = sentence(done)
    assert said.startswith(f"error: models.m: {repository}@{REVISION} ") and words in said
    assert not (tmp_path / "m.json").exists()


def test_no_network_and_offline_are_told_apart(tmp_path):
    home = {"HF_HOME": str(tmp_path)}
    offline = sentence(fetch("model", "org/m", tmp_path / "m.json", HF_HUB_OFFLINE="1", **home))
    assert "HF_HUB_OFFLINE is set; run `snakemake fetch` where there is a network" in offline
    nowhere = sentence(fetch("dataset", "org/m", tmp_path / "m.json", HF_ENDPOINT="http://127.0.0.1:9", **home))
    assert "error: mntp.texts: org/m" in nowhere and "no answer from http://127.0.0.1:9" in nowhere


def test_too_small_a_disk_is_named_before_the_download(model_hub, tmp_path):
    with mirrored(model_hub, tmp_path / "home") as env:
        said = sentence(fetch("model", "org/whole", tmp_path / "m.json", "1000", **env))
    assert "has no room for " in said and "set HF_HOME to a folder on a larger disk" in said
    assert not list((tmp_path / "home").rglob("*.safetensors"))


def test_disk_that_fills_during_the_download_is_named(monkeypatch, tmp_path):
    import huggingface_hub

    from causal2vec.fetch import hub

    def full(*args, **kwargs):
        raise RuntimeError("write failed") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub, "_check_room", lambda *args: True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(UserError, match=r"x: a/b@main does not fit on the disk .* goes on from where it stopped"):
        hub.download("a/b", "main", kind="model", where="x")


def test_model_is_downloaded_once_with_checksums_and_prepared_without_a_network(model_hub, tmp_path, monkeypatch):
    """Only the wanted files; then converted from the cache by linking; then a damaged file is found."""
    home = tmp_path / "home"
    with mirrored(model_hub, home) as env:
        assert fetch("model", "org/whole", tmp_path / "whole.json", **env).returncode == 0
        assert fetch("model", "org/bin", tmp_path / "bin.json", **env).returncode == 0
        assert "has neither model*.safetensors nor pytorch_model*.bin" in sentence(
            fetch("model", "org/empty", tmp_path / "empty.json", **env)
        )
        assert "no such model" in sentence(fetch("model", "org/absent", tmp_path / "absent.json", **env))
        assert "has no file like *.jsonl" in sentence(
            fetch("dataset", "org/x", tmp_path / "x", **_with_data(model_hub, env))
        )
    known = read_json(tmp_path / "whole.json")
    assert known["commit"] == REVISION
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(known["files"])
    assert not {name for name in known["files"] if "bin" in name or "onnx" in name}
    original = model_hub / "models" / "org" / "whole" / "model.safetensors"
    digest = hashlib.sha256(original.read_bytes()).hexdigest()
    assert known["files"]["model.safetensors"] == {"size": original.stat().st_size, "sha256": digest}

    def prepare(name: str) -> subprocess.CompletedProcess:
        code = (
            "import sys; from pathlib import Path; from causal2vec.models.prepare import prepare_model;"
            "from causal2vec.config import ModelSource; from causal2vec.runtime.cli import run_cli;"
            "s = ModelSource(kind='llm', source='hub', repository='org/'+sys.argv[1], revision='a'*40);"
            "run_cli(lambda: prepare_model('m', s, Path(sys.argv[2]), Path(sys.argv[3])))"
        )
        command = [sys.executable, "-c", code, name, tmp_path / "made" / name, tmp_path / f"{name}.json"]
        env = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
        return subprocess.run(command, capture_output=True, text=True, env=env, check=False)

    for name in ("whole", "bin"):
        assert (done := prepare(name)).returncode == 0, done.stderr[-2000:]
    made = tmp_path / "made"
    [blob] = [path for path in home.rglob("model.safetensors") if "--whole" in str(path)]
    assert (made / "whole" / "model.safetensors").samefile(blob), "linked, not loaded"
    assert read_json(made / "whole" / "source.json")["weights"]["how"] == "taken as they are"
    assert read_json(made / "bin" / "source.json")["weights"] == {
        "files": "pytorch_model*.bin", "how": "loaded with weights_only",
    }  # fmt: skip
    from safetensors.torch import load_file

    assert {str(t.dtype) for t in load_file(made / "bin" / "model.safetensors").values()} == {"torch.float16"}

    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.resolve().write_bytes(data)
    shutil.rmtree(made)
    said = sentence(prepare("whole"))
    assert "model.safetensors of org/whole) is damaged" in said and "delete that file" in said
    assert not (made / "whole").exists()


def _with_data(root: Path, env: dict[str, str]) -> dict[str, str]:
    (root / "datasets" / "org" / "x").mkdir(parents=True, exist_ok=True)
    (root / "datasets" / "org" / "x" / "README.md").write_text("no lines here")
    return env


@pytest.mark.parametrize(
    ("part", "kind", "words"),
    [
        ("encoder", "llm", "kind is llm, but .* holds a bert model, which is no decoder LLM"),
        ("llm", "encoder", "kind is encoder, but .* holds a llama model, which is a decoder LLM"),
    ],
)
def test_model_of_the_wrong_kind_is_named(part, kind, words, tiny, tmp_path):
    with pytest.raises(UserError, match=words):
        prepare_model("m", local(tiny[part], kind), tmp_path / "m")


def test_weights_that_lack_a_layer_are_not_made_up(tiny, tmp_path):
    """transformers would fill the gap with random numbers and a warning that nobody reads."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny["llm"], tmp_path / "broken")
    path = tmp_path / "broken" / "model.safetensors"
    whole = load_file(path)
    save_file({k: v for k, v in whole.items() if "layers.1.mlp" not in k}, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lack model.layers.1.mlp.*no whole llm"):
        prepare_model("m", local(tmp_path / "broken"), tmp_path / "m")


def test_cut_short_weights_are_one_sentence(tiny, tmp_path):
    shutil.copytree(tiny["llm"], tmp_path / "cut")
    path = tmp_path / "cut" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"models.m: .* cannot be read as a llm"):
        prepare_model("m", local(tmp_path / "cut"), tmp_path / "m")


def test_model_taken_as_it_is_computes_as_a_loaded_one(tiny, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    prepare_model("m", local(tiny["llm"]), tmp_path / "m")
    states = []
    for folder in (tiny["llm"], tmp_path / "m"):
        inputs = AutoTokenizer.from_pretrained(folder)(TEXTS[0], return_tensors="pt")
        states.append(AutoModelForCausalLM.from_pretrained(folder)(**inputs).logits)
    assert torch.equal(*states)
    assert not (tmp_path / "m" / "model.safetensors").samefile(tiny["llm"] / "model.safetensors"), "a user's own file"


@pytest.mark.parametrize("family", ["Gemma3TextConfig", "Qwen2Config", "SmolLM3Config"])
def test_cut_model_with_kinds_of_layers_stays_loadable(family, tiny, tmp_path):
    import torch
    import transformers

    more = {"use_sliding_window": True, "max_window_layers": 2} if family == "Qwen2Config" else {}
    config = getattr(transformers, family)(
        vocab_size=600, hidden_size=32, intermediate_size=48, num_hidden_layers=6, num_attention_heads=4, head_dim=8,
        num_key_value_heads=2, sliding_window=4, max_position_embeddings=64, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, **more,
    )  # fmt: skip
    torch.manual_seed(0)
    whole = transformers.AutoModelForCausalLM.from_config(config).eval()
    whole.save_pretrained(tmp_path / "whole")
    for path in tiny["llm"].glob("tokenizer*"):
        shutil.copy(path, tmp_path / "whole")
    prepare_model("m", local(tmp_path / "whole", keep_layers=4), tmp_path / "m")
    cut = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    assert cut.config.layer_types == config.layer_types[:4]
    ids = torch.arange(20)[None]
    both = [model(ids, output_hidden_states=True).hidden_states for model in (whole, cut)]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(both[0][:4], both[1][:4], strict=True))


@pytest.mark.timeout(1500)
def test_experiment_runs_offline_after_fetch(tiny, packages_folder, tmp_path, monkeypatch):
    """Official MTEB tasks and a hub model: the first fetch breaks off, the second finishes, then the hub is gone."""
    if not (SHARED / "hub" / "datasets").is_dir():
        pytest.skip("no mirror of the model hub here")
    root = tmp_path / "hub"
    (root / "datasets" / "mteb").mkdir(parents=True)
    for name in ("stsbenchmark-sts", "sts12-sts"):
        shutil.copytree(SHARED / "hub" / "datasets" / "mteb" / name, root / "datasets" / "mteb" / name)
    for part in ("llm", "encoder"):
        shutil.copytree(tiny[part], root / "models" / "org" / part)
    folder = prepared(tmp_path / "run", _official(tiny), packages_folder)
    hidden = root / "datasets" / "mteb" / "sts12-sts"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    with mirrored(root, tmp_path / "home") as env:
        monkeypatch.setenv("HF_ENDPOINT", env["HF_ENDPOINT"])
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        hidden.rename(tmp_path / "away")
        broken = snakemake(folder, "--cores", "1", "--retries", "0", "fetch")
        assert broken.returncode == 1
        assert "error: evaluation.tasks: STS12: mteb/sts12-sts@" in broken.stdout + broken.stderr
        assert len(list((work_of(folder) / "state/fetch_tasks").glob("STSBenchmark_*.json"))) == 1, "is remembered"
        (tmp_path / "away").rename(hidden)
        done = snakemake(folder, "--cores", "1", "fetch")
        assert done.returncode == 0, done.stderr[-4000:]
    manifest = read_json(work_of(folder) / "fetched/manifest.json")
    assert set(manifest["models"]) == {"tiny-llm", "tiny-encoder"}
    assert set(manifest["tasks"]) == {"STSBenchmark", "STS12"}
    part = manifest["tasks"]["STS12"]["STS12"]
    assert part["commit"] == part["revision"] and len(part["files"]["test.jsonl.gz"]["sha256"]) == 64
    assert manifest["total"]["bytes"] > 100_000
    (tmp_path / "home").rename(tmp_path / "moved")  # what the records say does not depend on where the cache lies
    monkeypatch.setenv("HF_HOME", str(tmp_path / "moved"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    done = snakemake(folder, "--cores", "2", "results/tiny/scores.csv")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    import pandas as pd

    scores = pd.read_csv(results_of(folder) / "scores.csv")
    assert set(scores.task) == {"STSBenchmark", "STS12", "WordSim353STS"}
    [record] = (work_of(folder) / "evaluation/encoder_only").rglob("shard0/record.json")
    record = json.loads(record.read_text())
    assert record["tasks"] and record["attention"]


def _official(tiny) -> dict:
    config = configuration(tiny)
    for name, part in (("tiny-llm", "llm"), ("tiny-encoder", "encoder")):
        config["models"][name] = {
            "kind": part, "source": "hub", "repository": f"org/{part}", "revision": REVISION,
        }  # fmt: skip
    config["methods"] = {"encoder_only": {**config["methods"]["encoder_only"], "zero_shot": False}}
    config["evaluation"] |= {"tasks": ["STSBenchmark", "WordSim353STS", "STS12"], "shards": 2}
    config.pop("ablations")
    config.pop("mntp")
    return config


def test_tasks_with_a_way_of_their_own_to_load_are_told_from_the_others():
    """Their repository may not be all that they load."""
    import mteb

    from causal2vec.evaluation.tasks.download import _loads_itself, parts_of

    assert not _loads_itself(mteb.get_task("SciFact"))
    assert not any(map(_loads_itself, parts_of(mteb.get_task("CQADupstackRetrieval"))))
    assert _loads_itself(mteb.get_task("ColDeRReranking"))
