"""No secret in what is logged, shown or kept."""

from __future__ import annotations

import logging
import time
import types

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from causal2vec.runtime import secrets as masking
from causal2vec.runtime.secrets import MASK, MaskingFormatter, mask, mask_values


@pytest.fixture(autouse=True)
def secrets(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HF_TOKEN", "verysecretvalue")
    monkeypatch.setenv("SNAKEMAKE_STORAGE_S3_SECRET_KEY", "s3/with+signs=")
    monkeypatch.setenv("PIP_INDEX_URL", "https://joe:p%40ss-word@index.invalid/simple")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setenv("MAX_TOKENS", "100000")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "disabled")
    monkeypatch.setenv("SIGNING_PRIVATE_KEY", "-----BEGIN KEY-----\nMIIBVgIBADANBg\n-----END KEY-----")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxyuser:proxypass@proxy.invalid:3128")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("token verysecretvalue, 1 of 2", f"token {MASK}, 1 of 2"),
        ("key=s3/with+signs=;", f"key={MASK};"),
        ("key=s3%2Fwith%2Bsigns%3D;", f"key={MASK};"),
        ("the password is p@ss-word or p%40ss-word", f"the password is {MASK} or {MASK}"),
        ("via proxypass", f"via {MASK}"),
        (
            "see https://a:b@host.invalid/x and ftp://user@h/y",
            f"see https://{MASK}@host.invalid/x and ftp://{MASK}@h/y",
        ),
        ("git+ssh://git@host.invalid/x.git", "git+ssh://git@host.invalid/x.git"),
        ("mail joe@host.invalid, a://b/c@d", "mail joe@host.invalid, a://b/c@d"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {MASK}"),
        ("{'authorization': 'Basic dXNlcjpwYXNz'}", f"{{'authorization': 'Basic {MASK}'}}"),
        ("proxy-authorization=xyz", f"proxy-authorization={MASK}"),
        ("bearer 0123456789abcdefXYZ", f"bearer {MASK}"),
        ("h/x?a=1&X-Amz-Signature=abc&b=2", f"h/x?a=1&X-Amz-Signature={MASK}&b=2"),
        ("hf_abcdefghijklmnopqrstuvwx", MASK),
        ("256 tokens per text; the token budget = 3", "256 tokens per text; the token budget = 3"),
        ("100000 texts, tracking disabled", "100000 texts, tracking disabled"),
        ("KEY of a map; MIIBVgIBADANBg", f"KEY of a map; {MASK}"),
        ("", ""),
    ],
)
def test_what_is_masked_and_what_is_left(text, masked):
    assert mask(text) == masked


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.text(max_size=30), after=st.text(max_size=30))
def test_no_text_around_a_secret_brings_it_through_and_twice_is_once(before, after):
    once = mask(f"{before}verysecretvalue{after}")
    assert "verysecretvalue" not in once and mask(once) == once


def test_the_hubs_token_files_are_read_again_when_they_change(tmp_path):
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "token").write_text("firstsecret\n")
    (folder / "stored_tokens").write_text("[mine]\nhf_token = othersecret\n")
    assert mask("firstsecret othersecret mine") == f"{MASK} {MASK} mine"
    (folder / "token").write_text("a second secret")
    assert mask("firstsecret, a second secret") == f"firstsecret, {MASK}"


def test_a_path_is_no_secret_and_a_longer_secret_goes_first(monkeypatch, tmp_path):
    monkeypatch.setenv("MY_TOKEN_FILE", str(tmp_path))
    monkeypatch.setenv("A_TOKEN", "abcdef")
    monkeypatch.setenv("B_TOKEN", "abcdefghi")
    assert mask(f"{tmp_path} abcdefghi") == f"{tmp_path} {MASK}"


def test_nested_values_and_log_lines_with_their_traceback():
    nested = {"a": ["verysecretvalue", 1, None], "verysecretvalue": ("x",)}
    assert mask_values(nested) == {"a": [MASK, 1, None], MASK: ["x"]}
    try:
        raise RuntimeError("refused verysecretvalue")
    except RuntimeError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.INFO, "f", 1, "hello %s", ("verysecretvalue",), info)
    lines = MaskingFormatter("%(message)s").format(record)
    assert lines.startswith(f"hello {MASK}\nTraceback") and f"refused {MASK}" in lines and "verysecret" not in lines


def test_the_manifest_of_a_study_holds_no_secret(tmp_path):
    from causal2vec.runtime.manifest import write_manifest

    for name in ("train.parquet", "validation.parquet", "scores.csv"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "hardware.json").write_text('{"dtype": "float32", "note": "verysecretvalue"}')
    config = {"methods": {"echo": {}}, "models": {"m": {"path": "https://joe:p%40ss-word@h.invalid/verysecretvalue"}}}
    write_manifest(
        tmp_path / "manifest.json",
        config=config, models=[], sources=[], pairs=tmp_path, scores=tmp_path / "scores.csv",
        hardware=tmp_path / "hardware.json", benchmarks=tmp_path / "none",
    )  # fmt: skip
    text = (tmp_path / "manifest.json").read_text()
    assert f"https://{MASK}@h.invalid/{MASK}" in text and "verysecret" not in text and "p%40ss" not in text


def test_a_long_hostile_text_takes_no_long_time():
    """Every pattern is bounded, so that time grows with the text and not with its square."""
    for text in ("a" * 1_000_000, "://" * 300_000, "authorization " * 70_000, "?" + "token" * 200_000, "x?" * 500_000):
        begun = time.perf_counter()
        mask(text)
        assert time.perf_counter() - begun < 5


def test_a_jobs_log_and_last_words_are_masked(tmp_path, capsys):
    """Whatever ends a job, its log, which show-failed-logs prints, holds no secret."""
    from causal2vec.errors import UserError
    from causal2vec.runtime import job as workflow

    def job(name):
        return types.SimpleNamespace(
            log=[str(tmp_path / name)], resources={}, rule="some_rule", input=[], output=[str(tmp_path / "output")]
        )

    with pytest.raises(SystemExit), workflow.job(job("job.log")):
        logging.getLogger("x").info("begun with %s", "verysecretvalue")
        raise UserError("cannot reach https://joe:p%40ss-word@index.invalid/simple; check the network")
    with pytest.raises(SystemExit), workflow.job(job("b.log")):
        raise RuntimeError("verysecretvalue")
    said = capsys.readouterr().err + "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert MASK in said and "verysecret" not in said and "p%40ss" not in said
    assert masking.MASK in (tmp_path / "b.log").read_text()
