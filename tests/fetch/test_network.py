"""Downloads from a hub that stalls, breaks off, is busy or lies: tried again, resumed, checked, then one sentence."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
import types

import pytest
from faulty_server import COMMIT, Fault, serving

from causal2vec.config import ModelSource
from causal2vec.errors import UserError
from causal2vec.fetch import hub
from causal2vec.fetch.models import fetch_model
from causal2vec.fetch.retry import Patience, TransientError, retrying
from causal2vec.models.prepare import prepare_model
from causal2vec.runtime.files import read_json

WEIGHTS = bytes(range(256)) * 4000
CONFIG = b'{"model_type": "made-up"}'
CHUNK = 1 << 14
LISTING = r"GET /api/(models|datasets)/.*"
BLOB = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A repository of two files; the hub's client, in this process, that asks for it, with little patience."""
    from huggingface_hub import constants, file_download

    folder = tmp_path / "root" / "models" / "org" / "m"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "config.json").write_bytes(CONFIG)
    for name, value in {"TRIES": "4", "PAUSE": "0.02", "TIMEOUT": "0.4", "OBEYED": "3"}.items():
        monkeypatch.setenv(f"CAUSAL2VEC_FETCH_{name}", value)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.4)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)  # what a break costs at most; 10 MB outside a test
    quick = types.SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    monkeypatch.setattr(file_download, "time", quick)  # its pause of a second before it resumes
    return tmp_path / "root"


@pytest.fixture
def pointed(monkeypatch):
    """Points the hub's client at a server."""

    def point(address: str) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    return point


def obtain(repository: str = "org/m"):
    return hub.obtain(repository, COMMIT, kind="model", where="models.m")


def assert_whole(folder, facts) -> None:
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (folder / "config.json").read_bytes() == CONFIG
    assert facts["files"]["model.safetensors"]["sha256"] == BLOB and len(facts["files"]) == 2
    assert not list(folder.parents[1].rglob("*.incomplete"))


def sentence(error) -> str:
    text = str(error.value)
    assert "\n" not in text and text.startswith(f"models.m: org/m@{COMMIT} "), text
    return text


PASSING = {
    "the listing stalls": [Fault("stall", LISTING, 2)],
    "the listing is dropped": [Fault("drop", LISTING, 2)],
    "busy listing": [Fault("status", LISTING, 2, 503)],
    "metadata fails": [Fault("status", r"HEAD .*config\.json", 1, 500)],
    "metadata stalls": [Fault("stall", r"HEAD .*config\.json", 1)],
    "a file fails": [Fault("status", times=2, status=500), Fault("status", times=1, status=503)],
    "a file stalls": [Fault("stall", times=2)],
    "a file is of another length": [Fault("length", times=2)],
    "a file is a login page": [Fault("page", times=2)],
    "wrong bytes once": [Fault("bytes", times=1)],
    "wrong bytes in a small file once": [Fault("bytes", r"GET .*config\.json", 1)],
    "all at once": [Fault("drop", LISTING, 1), Fault("cut", times=2), Fault("status", ".*json", 1, 502)],
}  # fmt: skip


@pytest.mark.parametrize("faults", PASSING.values(), ids=PASSING)
def test_what_passes_is_waited_for(faults, root, pointed):
    with serving(root, *faults) as server:
        pointed(server.address)
        assert_whole(*obtain())
    assert all(fault.times == 0 for fault in faults), "every fault was met"


@pytest.mark.parametrize("kind", ["cut", "stall_half"])
def test_a_file_that_breaks_off_is_resumed_where_the_server_allows_it(kind, root, pointed):
    with serving(root, Fault(kind, times=3)) as server:
        pointed(server.address)
        assert_whole(*obtain())
        twice = server.bytes_of("model.safetensors") - len(WEIGHTS)
        assert 0 <= twice < 3 * CHUNK, "nothing but the chunks that broke was sent twice"
        assert sum("GET" in asked and "safetensors" in asked for asked in server.asked) == 4


def test_a_file_that_breaks_off_is_begun_again_where_the_server_cannot_resume(root, pointed):
    with serving(root, Fault("cut", times=3), ranges=False) as server:
        pointed(server.address)
        assert_whole(*obtain())
        assert server.asked.count("GET /org/m/resolve/" + COMMIT + "/model.safetensors") == 5


FINAL = {
    "stall": ([Fault("stall", LISTING)], r"no answer from http://127.0.0.1:\d+ in time .*\(tried 4 times\)"),
    "500": ([Fault("status")], r"the server answers with status 500 \(tried 4 times\); run the same command"),
    "503": ([Fault("status", ".*", status=503)], r"status 503 \(tried 4 times\)"),
    "429": ([Fault("status", ".*", status=429)], r"429, too many requests \(tried 4 times\); wait .* HF_TOKEN"),
    "429 for an hour": (
        [Fault("status", LISTING, status=429, headers={"Retry-After": "3600"})],
        r"429, too many requests and asks to wait 3600 s, longer than the 3 s obeyed; wait some minutes",
    ),
    "gone": ([Fault("status", "GET .*safetensors", status=404)], r"answers with status 404 .*; try again later"),
    "login page": ([Fault("page", ".*")], r"answers with a page instead of data, .*; log in to the network"),
    "metadata page": ([Fault("page", "HEAD .*")], r"answers with a page instead of data"),
    "cut without end": ([Fault("cut")], r"(broke off|another length).* \(tried 4 times\)"),
    "half a length": ([Fault("length")], r"a file came with another length than .* \(tried 4 times\); run the same"),
}  # fmt: skip


@pytest.mark.parametrize(("faults", "words"), FINAL.values(), ids=FINAL)
def test_what_does_not_pass_is_one_sentence_after_a_known_time(faults, words, root, pointed):
    begun = time.monotonic()
    with serving(root, *faults) as server:
        pointed(server.address)
        with pytest.raises(UserError, match=words) as error:
            obtain()
    sentence(error)
    assert time.monotonic() - begun < 8
    assert not list(root.parent.rglob("*.incomplete"))


def test_wrong_bytes_are_fetched_once_more_and_then_reported(root, pointed):
    with serving(root, Fault("bytes")) as server:
        pointed(server.address)
        with pytest.raises(UserError, match=r"org/m\) is damaged: its sha256 is .* it came so twice"):
            obtain()
        assert server.bytes_of("model.safetensors") == 2 * len(WEIGHTS)


def test_a_refused_connection_is_one_sentence_and_a_whole_cache_needs_no_server(root, pointed):
    with serving(root) as server:
        pointed(server.address)
        with pytest.raises(UserError, match="no such model"):
            obtain("org/absent")
        assert_whole(*obtain())
    assert_whole(*obtain())  # nobody answers any more, but all is there
    with pytest.raises(UserError, match=r"no answer from http://127.0.0.1:\d+ \(ConnectError\).*; check the network"):
        obtain("org/other")


def test_the_log_says_which_try_it_is_and_retry_after_is_obeyed(root, pointed, caplog):
    busy = Fault("status", LISTING, 1, 429, {"Retry-After": "1"})
    with serving(root, busy, Fault("status", LISTING, 1, 500)) as server, caplog.at_level(logging.WARNING):
        pointed(server.address)
        begun = time.monotonic()
        assert_whole(*obtain())
        assert time.monotonic() - begun >= 1
    said = [record.message for record in caplog.records if record.name == "causal2vec.fetch.retry"]
    assert said == [
        f"models.m: org/m@{COMMIT}: the server answers 429, too many requests; try 2 of 4 in 1 s",
        f"models.m: org/m@{COMMIT}: the server answers with status 500; try 3 of 4 in 0.04 s",
    ]


def test_a_damaged_file_of_the_cache_is_fetched_again_from_the_record(root, pointed, tmp_path, monkeypatch):
    from huggingface_hub import constants

    with serving(root) as server:
        pointed(server.address)
        folder, facts = obtain()
        kept = tmp_path / "second name"
        os.link((folder / "model.safetensors").resolve(), kept)
        (folder / "model.safetensors").resolve().write_bytes(WEIGHTS[:-1] + b"x")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(UserError, match=r"is damaged: .*; delete that file and run the same command"):
            hub.from_cache(facts, kind="model", where="models.m")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        assert_whole(hub.from_cache(facts, kind="model", where="models.m"), facts)
        assert kept.read_bytes() != WEIGHTS, "the damaged bytes were replaced, not written over"


def test_half_files_of_killed_downloads_are_swept_and_those_in_progress_are_not(root, pointed):
    with serving(root) as server:
        pointed(server.address)
        folder, _ = obtain()
        blobs = folder.parents[1] / "blobs"
        for name, age in (("old", 7200), ("young", 60)):
            (blobs / f"{name}.incomplete").write_bytes(b"half")
            os.utime(blobs / f"{name}.incomplete", (time.time() - age,) * 2)
        obtain()
    assert [path.name for path in blobs.glob("*.incomplete")] == ["young.incomplete"]


def test_the_hubs_own_warnings_are_masked(root, pointed, monkeypatch):
    import io

    from huggingface_hub.utils import logging as hub_logging

    hub_logging.set_verbosity_warning()
    with serving(root) as server:
        pointed(server.address)
        obtain()
    [handler] = logging.getLogger("huggingface_hub").handlers
    monkeypatch.setattr(handler, "stream", io.StringIO())
    hub_logging.get_logger("huggingface_hub.file_download").warning("from https://h.invalid/x?X-Amz-Signature=abc")
    assert handler.stream.getvalue() == "from https://h.invalid/x?X-Amz-Signature=***\n"


def test_the_hubs_client_is_itself_again_afterwards(root, pointed):
    import huggingface_hub

    with serving(root) as server:
        pointed(server.address)
        obtain()
    assert huggingface_hub.get_session().event_hooks["response"] == []


@pytest.mark.parametrize(("tries", "asked", "pauses"), [(4, None, [2, 4, 8]), (3, 7.0, [7, 7]), (1, None, [])])
def test_pauses_grow_and_end(tries, asked, pauses, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("causal2vec.fetch.retry.time", types.SimpleNamespace(sleep=slept.append))

    def fail() -> None:
        raise TransientError("no", asked)

    with pytest.raises(TransientError, match=r"no \(tried"):
        retrying("x", fail, Patience(tries=tries))
    assert slept == pauses


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "nan", "inf"])
def test_patience_is_checked(value, monkeypatch):
    monkeypatch.setenv("CAUSAL2VEC_FETCH_TRIES", value)
    with pytest.raises(UserError, match=f"CAUSAL2VEC_FETCH_TRIES is '{value}', but must be a whole number above 0"):
        Patience.from_environment()


def test_the_worst_case_is_what_the_documentation_says():
    patience = Patience()
    assert (patience.tries, patience.timeout, patience.obeyed) == (5, 30, 300)
    pauses = [patience.pause_before(number, None) for number in range(2, patience.tries + 1)]
    assert pauses == [2, 4, 8, 16]


def test_a_plan_asks_a_hub_that_stalls_once(root, pointed):
    from transformers import AutoConfig

    from causal2vec.efficiency.architecture import _from_hub

    assert AutoConfig  # imported before the clock starts
    source = ModelSource(kind="llm", source="hub", repository="org/m", revision=COMMIT)
    begun = time.monotonic()
    with serving(root, Fault("stall", ".*")) as server:
        pointed(server.address)
        assert _from_hub(source) is None
        assert [asked.split()[0] for asked in server.asked if "config.json" in asked] == ["HEAD"]
    assert time.monotonic() - begun < 20, "not the 6 minutes of the hub's client"


def test_a_branch_is_resolved_when_it_is_fetched_and_the_commit_recorded(root, pointed, tiny, tmp_path):
    folder = root / "models" / "org" / "m"
    shutil.rmtree(folder)
    shutil.copytree(tiny["llm"], folder)
    source = ModelSource(kind="llm", source="hub", repository="org/m", revision="main")
    with serving(root) as server:
        pointed(server.address)
        fetch_model("m", source, tmp_path / "m.json")
    assert read_json(tmp_path / "m.json")["commit"] == COMMIT
    prepare_model("m", source, tmp_path / "out", tmp_path / "m.json")  # without a network
    written = read_json(tmp_path / "out" / "source.json")
    assert (written["revision"], written["asked_for"]) == (COMMIT, "main")
    prepare_model("m", source.model_copy(update={"revision": COMMIT}), tmp_path / "pinned", tmp_path / "m.json")
    pinned = read_json(tmp_path / "pinned" / "source.json")
    assert pinned == {key: value for key, value in written.items() if key != "asked_for"}


def test_a_branch_that_is_not_there_is_named(root, pointed, tmp_path):
    source = ModelSource(kind="llm", source="hub", repository="org/m", revision="mian")
    with serving(root, Fault("status", ".*", status=404, headers={"X-Error-Code": "RevisionNotFound"})) as server:
        pointed(server.address)
        with pytest.raises(UserError, match=r"models\.m: org/m@mian .*revision"):
            fetch_model("m", source, tmp_path / "m.json")


def test_a_task_that_loads_itself_fails_in_one_sentence():
    from causal2vec.evaluation.tasks.download import _load_once

    def load() -> None:
        raise ConnectionError("no route\nto anything")

    with pytest.raises(UserError, match=r"x: a/b@1 cannot be downloaded \(ConnectionError: no route\); run the same"):
        _load_once(types.SimpleNamespace(load_data=load), "x: a/b@1")
