"""Wrong ablations, and files that are no configuration."""

import copy
from pathlib import Path

import pytest
import yaml
from bad_cases import ROOT, Case, check, write

from causal2vec.config import load_config
from causal2vec.config.runs import runs_of

DEMO = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text(encoding="utf-8"))


def config(path, value):
    """The demo's configuration with one value changed, at a path of keys; ``...`` removes the key."""
    source = copy.deepcopy(DEMO)
    *above, key = path.split("/")
    section = source
    for name in above:
        section = section.setdefault(name, {})
    if value is ...:
        del section[key]
    else:
        section[key] = value
    return source


def slip(path, value, says):
    def run(folder: Path):
        runs_of(load_config(config(path, value)))

    return Case(f"{path}={value!r}", run, says)


def ablated(axis, values, says, **more):
    return slip("ablations", {"x": {"method": "causal2vec", "axis": axis, "values": values, **more}}, says)


def file(name, content, says):
    """A file that is no configuration."""

    def run(folder: Path):
        path = folder / "config.yaml"
        if content is None:
            path.mkdir()
        else:
            write(path, content)
        load_config(path)

    return Case(name, run, says)


CASES = [
    # ablations
    ablated(
        "settings",
        ["a", "b"],
        (
            "ablations.x.axis: 'settings' cannot be varied for one method alone; name a key of "
            "settings or budget, or encoder, or evaluation.max_length"
        ),
    ),
    ablated(
        "method",
        ["a", "b"],
        (
            "ablations.x.axis: 'method' cannot be varied for one method alone; name a key of "
            "settings or budget, or encoder, or evaluation.max_length"
        ),
    ),
    ablated("budget.steps.x", [None, 3], "ablations.x.axis: the configuration has no key 'budget.steps.x'; correct it"),
    ablated("settings.a.b", [None, 3], "ablations.x.axis: the configuration has no key 'settings.a.b'; correct it"),
    ablated("budget.stepps", [None, 3], "ablations.x.axis: the configuration has no key 'budget.stepps'; correct it"),
    ablated(
        "settings.pooling",
        ["concat"],
        ("the configuration: ablations.x.values: List should have at least 2 items, but is ['concat']; correct it"),
    ),
    ablated(
        "settings.pooling",
        ["concat", "eos", "eos"],
        "the configuration: ablations.x.values holds 'eos' twice; remove one",
    ),
    ablated(
        "settings.pooling",
        ["concat", "e/s", "e_s"],
        (
            "ablations: two different settings are both called 'causal2vec+pooling=e_s'; choose "
            "values whose letters and digits differ, or vary one key only"
        ),
    ),
    ablated(
        "settings.pooling",
        ["concat", "eos"],
        ("the configuration: unknown key 'ablations.x.metod' (did you mean 'method'?); remove it or correct its name"),
        metod="echo",
    ),
    # files
    file(
        "config: a folder",
        None,
        "{path}/config.yaml cannot be read (Is a directory); name a file such as config/demo.yaml",
    ),
    file(
        "config: no date",
        "title: 2026-02-31",
        (
            "{path}/config.yaml is not valid YAML (a value is not what its form says: day is out of "
            "range for month); correct it"
        ),
    ),
    file(
        "config: no number",
        "a: !!int many",
        (
            "{path}/config.yaml is not valid YAML (a value is not what its form says: invalid "
            "literal for int() with base 10: 'many'); correct it"
        ),
    ),
    file(
        "config: a tag that runs code",
        "a: !!python/object/apply:os.system [ls]",
        (
            "{path}/config.yaml is not valid YAML (line 1: could not determine a constructor for the "
            "tag 'tag:yaml.org,2002:python/object/apply:os.system'); correct it"
        ),
    ),
    file(
        "config: a control character",
        "a: \x07",
        "{path}/config.yaml is not valid YAML (character 4 is not allowed in YAML); correct it",
    ),
    file(
        "config: nested without end",
        "[" * 3000,
        "{path}/config.yaml is not valid YAML (it is nested too deeply); correct it",
    ),
    file(
        "config: not UTF-8",
        b"title: \xff",
        (
            "{path}/config.yaml is not valid YAML ('utf-8' codec can't decode byte 0xff in position "
            "7: invalid start byte); correct it"
        ),
    ),
    file(
        "config: twice the same anchor in itself",
        "a: &a [*a]",
        ("{path}/config.yaml is not valid YAML (it unfolds to more than 1,000,000 values, or to itself); correct it"),
    ),
    file("config: a list", "- a", "{path}/config.yaml must hold a mapping of settings; see config/demo.yaml for one"),
    file(
        "config: a key twice",
        "title: a\ntitle: b",
        ("{path}/config.yaml is not valid YAML (line 2: the key 'title' stands there twice); correct it"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_ablation_or_file_is_one_sentence(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
