"""Whatever a file of settings holds: what comes back is settings, or a `UserError` in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from any_data import any_text, any_value, changes_of
from conftest import ROOT
from hypothesis import example, given, settings
from hypothesis import strategies as st

from causal2vec.config import Config, load_config
from causal2vec.config.prompts import load_examples, load_prompts
from causal2vec.config.runs import Run, runs_of
from causal2vec.errors import UserError
from causal2vec.reporting.analysis.claims.schema import load_claims
from causal2vec.reporting.show.tables.layout import load_layout
from causal2vec.runtime.files import json_value, yaml_value

FILES: dict[str, Callable[[Path], Any]] = {
    "demo": load_config,
    "tables": load_layout,
    "claims": load_claims,
    "prompts": load_prompts,
    "examples": load_examples,
}
DEMO, TABLES, CLAIMS, PROMPTS, EXAMPLES = (
    yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text(encoding="utf-8")) for name in FILES
)


def settings_or_sentence(load: Callable[[], Any]) -> Any:
    """What was loaded, or None where it was refused in one line."""
    try:
        return load()
    except UserError as error:
        assert "\n" not in str(error) and str(error).strip() == str(error)
        return None


@settings(max_examples=250)
@given(changes_of(DEMO))
def test_any_change_of_the_demo_is_a_study_or_refused(source: Any) -> None:
    found = settings_or_sentence(lambda: load_config(source))
    if found is None:
        return
    assert isinstance(found, Config)
    runs = settings_or_sentence(lambda: runs_of(found))
    if runs is not None:
        assert all(isinstance(run, Run) for run in runs)
        assert len({run.path for run in runs}) == len({repr(run) for run in runs}), "two runs share a folder"


@settings(max_examples=60)
@given(any_value)
@example({"title": "\ud800"})
def test_any_value_is_no_study(source: Any) -> None:
    assert settings_or_sentence(lambda: load_config(source)) is None


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=30)
@given(value=any_value)
def test_any_file_of_yaml_is_settings_or_refused(
    name: str, value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any-{name}.yaml"
    path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8", errors="replace")
    settings_or_sentence(lambda: FILES[name](path))


@pytest.mark.parametrize(
    ("name", "source"),
    [("tables", TABLES), ("claims", CLAIMS), ("prompts", PROMPTS), ("examples", EXAMPLES)],
    ids=["tables", "claims", "prompts", "examples"],
)
@settings(max_examples=25)
@given(data=st.data())
def test_any_change_of_a_file_is_settings_or_refused(
    name: str, source: Any, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"changed-{name}.yaml"
    path.write_text(
        yaml.safe_dump(data.draw(changes_of(source)), allow_unicode=True), encoding="utf-8", errors="replace"
    )
    settings_or_sentence(lambda: FILES[name](path))


@settings(max_examples=150)
@given(any_text | st.text("[]{}:,-&*a!|>'\"\\#%@`?\n 01._", max_size=30))
@example("a: 2026-02-31")
@example("!!timestamp x")
@example("!!int ''")
@example("0b_")
@example("!!float x")
@example("!!bool 3")
@example("!!binary é")
@example("? [a]\n: b")
@example("? {a: b}\n: c")
@example("&a [*a, *a]")
@example("<<: 3")
@example('"\\ud800"')
@example('"\\UFFFFFFFF"')
@example("1:99999999999999999999.0")
@example("- 1e999999999")
def test_any_text_is_a_yaml_value_or_a_value_error(text: str) -> None:
    try:
        yaml_value(text)
    except ValueError as error:
        assert "\n" not in str(error)


@settings(max_examples=100)
@given(any_text | st.text('[]{}:,"\\0123eE+-.nulltrue ', max_size=30))
@example("[" * 100_000)
@example("9" * 5000)
@example('{"a":' * 50_000)
def test_any_text_is_a_json_value_or_a_value_error(text: str) -> None:
    try:
        json_value(text)
    except ValueError as error:
        assert "\n" not in str(error)
