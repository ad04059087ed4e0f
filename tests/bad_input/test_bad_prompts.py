"""Wrong prompts and examples, and results of others that cannot be imported."""

import json
from pathlib import Path

import pytest
from bad_cases import Case, check, write

from causal2vec.config.prompts import load_examples, load_prompts
from causal2vec.reporting.read.others import read_external

PART = {"hf_subset": "default", "languages": ["eng-Latn"]}
RESULT = {
    "task_name": "STS12", "mteb_version": "2.26.24", "dataset_revision": "r", "evaluation_time": 1.0,
    "scores": {"test": [{"main_score": 0.5} | PART]},
}  # fmt: skip


def yaml_file(kind, load, name, text, says):
    return Case(f"{kind}: {name}", lambda folder: load(write(folder / f"{kind}.yaml", text)), says)


def prompts(name, text, says):
    return yaml_file("prompts", load_prompts, name, text, says)


def examples(name, says, **changes):
    content = {"template": "<instruct>{instruction}", "example": "<instruct>{instruction}{query}{response}"} | changes
    return yaml_file("examples", load_examples, name, json.dumps(content), says)


def external(name, content, says, file="o__m/r/STS12.json"):
    def run(folder: Path):
        write(folder / file, content if isinstance(content, str | bytes) else json.dumps(content))
        read_external(folder)

    return Case(f"external: {name}", run, says)


def result(**entry):
    return RESULT | {"scores": {"test": [entry | PART]}}


CASES = [
    prompts(
        "a slip",
        "tusks: {}",
        (
            "{path}/prompts.yaml is no prompts file: unknown key 'tusks' (did you mean 'tasks'?); "
            "remove it or correct its name"
        ),
    ),
    prompts(
        "a list",
        "- a",
        ("{path}/prompts.yaml is no prompts file: it must hold a mapping; see config/prompts.yaml for one"),
    ),
    prompts(
        "a number as instruction",
        "tasks: {SciFact: 3}",
        ("{path}/prompts.yaml is no prompts file: tasks.SciFact: Input should be a valid string, but is 3; correct it"),
    ),
    prompts(
        "a template without its field",
        "template: 'Query: '",
        ("{path}/prompts.yaml is no prompts file: template: it must hold {instruction} and no other field; correct it"),
    ),
    prompts(
        "a template with another field",
        "template: '{instructoin}'",
        ("{path}/prompts.yaml is no prompts file: template: it must hold {instruction} and no other field; correct it"),
    ),
    prompts(
        "a template with half a brace",
        "template: '{instruction'",
        ("{path}/prompts.yaml is no prompts file: template: it must hold {instruction} and no other field; correct it"),
    ),
    prompts(
        "not UTF-8",
        b"template: \xff",
        (
            "{path}/prompts.yaml is not valid YAML ('utf-8' codec can't decode byte 0xff in position "
            "10: invalid start byte); correct it"
        ),
    ),
    Case(
        "prompts: absent",
        lambda f: load_prompts(f / "prompts.yaml"),
        "{path}/prompts.yaml does not exist; set evaluation.prompts to a file of prompts",
    ),
    Case(
        "prompts: no instruction",
        lambda f: load_prompts(write(f / "p.yaml", "sources: {bible: x}")).for_training("b"),
        (
            "evaluation.prompts names a file without an instruction for the training source 'b'; add "
            "it there under sources (known: bible), or for files of your own as pairs.files.b.instruction, as an "
            "empty text if it shall have none"
        ),
    ),
    examples(
        "a template without its field",
        (
            "{path}/examples.yaml is no examples file: template: it must hold {instruction} and no "
            "other field; correct it"
        ),
        template="<instruct>",
    ),
    examples(
        "an example without its field",
        (
            "{path}/examples.yaml is no examples file: example: it must hold {instruction}, {query}, "
            "{response} and no other field; correct it"
        ),
        example="<instruct>{query}",
    ),
    examples(
        "another beginning",
        "{path}/examples.yaml is no examples file: template: it must begin with <instruct>",
        template="{instruction}",
    ),
    examples(
        "an empty query",
        (
            "{path}/examples.yaml is no examples file: tasks.A.0.query: String should have at least "
            "1 character, but is ''; correct it"
        ),
        tasks={"A": [{"query": "", "response": "x"}]},
    ),
    examples(
        "no answer",
        "{path}/examples.yaml is no examples file: key 'types.STS.0.response' is missing; add it",
        types={"STS": [{"query": "x"}]},
    ),
    examples(
        "a slip",
        (
            "{path}/examples.yaml is no examples file: unknown key 'seperator' (did you mean "
            "'separator'?); remove it or correct its name"
        ),
        seperator=" ",
    ),
    external(
        "no JSON",
        "{",
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json is "
            "no result as mteb writes it …); name another folder"
        ),
    ),
    external(
        "a list",
        [],
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json is "
            "no result as mteb writes it …); name another folder"
        ),
    ),
    external(
        "no scores",
        {"mteb_version": "1"},
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json is "
            "no result as mteb writes it …); name another folder"
        ),
    ),
    external(
        "no main score",
        result(accuracy=0.5),
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json is "
            "no result as mteb writes it …); name another folder"
        ),
    ),
    external(
        "a score that is a word",
        result(main_score="0.5"),
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json has no "
            "usable main score for test/default); name another folder"
        ),
    ),
    external(
        "a score that is true",
        result(main_score=True),
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json has no "
            "usable main score for test/default); name another folder"
        ),
    ),
    external(
        "a score of 1000",
        result(main_score=1000),
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json has no "
            "usable main score for test/default); name another folder"
        ),
    ),
    external(
        "not a number",
        result(main_score=float("nan")),
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json has no "
            "usable main score for test/default); name another folder"
        ),
    ),
    external(
        "another split",
        RESULT | {"scores": {"train": [{"main_score": 0.5} | PART]}},
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json has no "
            "usable main score for test/default); name another folder"
        ),
    ),
    external(
        "two scores",
        RESULT | {"scores": {"test": [{"main_score": 0.5} | PART, {"main_score": 0.6} | PART]}},
        (
            "{path}: no usable score in 1 model folder(s) (for example, o__m/r/STS12.json gives two "
            "main scores for the same split and subset); name another folder"
        ),
    ),
    external(
        "another layout",
        RESULT,
        ("{path} is not in mteb's layout, results/<org>__<model>/<revision>/<Task>.json; name another folder"),
        file="STS12.txt",
    ),
    Case(
        "external: absent",
        lambda f: read_external(f / "results"),
        "{path}/results is not a readable folder (No such file or directory); name another folder",
    ),
    Case(
        "external: a file",
        lambda f: read_external(write(f / "results", "x")),
        "{path}/results is not a readable folder (Not a directory); name another folder",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_wrong_prompts_or_results_are_one_sentence(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
