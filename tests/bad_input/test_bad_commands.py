"""Wrong command lines: one line on stderr and exit status 2, before anything is computed."""

from pathlib import Path

import pytest
from bad_cases import ROOT, Case, check, command, write
from fixtures_reporting import score_rows

from causal2vec.bench.__main__ import main as bench
from causal2vec.efficiency.__main__ import main as efficiency
from causal2vec.evaluation.__main__ import main as evaluation
from causal2vec.plan.__main__ import main as plan
from causal2vec.reporting.__main__ import main as reporting
from causal2vec.training.__main__ import main as training

DEMO = "config/demo.yaml"


def line(name, main, words, says, **files):
    """A command line; ``{path}`` in its words is the folder of the case, ``files`` are made there first."""

    def run(folder: Path):
        for file, content in files.items():
            write(folder / file.replace("__", "."), content)
        command(main, *(word.replace("{path}", str(folder)) for word in words.split()))

    return Case(f"{main.__module__.split('.')[1]}: {name}", run, says)


def train(name, words, says, **files):
    return line(
        name, training, f"--config {DEMO} --output {{path}}/out --models {{path}}/models {words}", says, **files
    )


def evaluate(name, words, says, **files):
    return line(name, evaluation, f"--output {{path}}/out {words}", says, **files)


def measure(name, words, says, **files):
    given = "--models {path}/model --pairs {path}/train.parquet --tokenizer {path}/llm --output {path}/out.csv"
    return line(name, efficiency, f"{given} {words}", says, **files)


def report(name, words, says, **files):
    return line(name, reporting, words, says, **files)


SCORED = {"scores__csv": score_rows({("echo", "b"): [0.1, 0.2, 0.3]}).to_csv(index=False)}
CASES = [
    line("nothing", training, "", "the following arguments are required: --method, --output"),
    train("an unknown option", "--method echo --epochs 3", "unrecognized arguments: --epochs 3"),
    train("a seed in words", "--method echo --seed zero", "argument --seed: invalid int value: 'zero'"),
    train(
        "an unknown method",
        "--method ecko",
        "config/demo.yaml has no method 'ecko' (did you mean 'echo'?); correct --method",
    ),
    train(
        "a twin that is not configured",
        "--method causal2vec-zero_shot",
        ("config/demo.yaml has no method 'causal2vec-zero_shot' (did you mean 'echo-zero_shot'?); correct --method"),
    ),
    train(
        "a base that it does not run on",
        "--method encoder_only --base SmolLM2-135M-Instruct",
        (
            "config/demo.yaml has no encoder_only on 'SmolLM2-135M-Instruct' (known: "
            "all-MiniLM-L6-v2-2-layers); correct --base"
        ),
    ),
    train(
        "a seed that is not configured",
        "--method echo --seed 7",
        "config/demo.yaml has no seed 7 (known: 0); correct --seed",
    ),
    train(
        "no models",
        "--method echo",
        (
            "the llm is not in {path}/models/SmolLM2-135M-Instruct; prepare it with 'snakemake "
            "--cores all {path}/models/SmolLM2-135M-Instruct'"
        ),
    ),
    train(
        "no processes",
        "--method echo --processes 0 --llm {path}/llm",
        "--processes is 0; it must be at least 1",
        **{"llm/config__json": "{}", "models/all-MiniLM-L6-v2-2-layers/config__json": "{}"},
    ),
    line(
        "no configuration",
        training,
        "--config {path}/c.yaml --method echo --output {path}/out",
        "{path}/c.yaml does not exist; name a file such as config/demo.yaml",
    ),
    line(
        "a configuration that is none",
        training,
        "--config {path}/c.yaml --method echo --output {path}/out",
        (
            "{path}/c.yaml lacks title, models, bases, encoder, pairs, budget, evaluation; if it only changes a "
            "study, name that before it: config/demo.yaml {path}/c.yaml (both, behind one --configfile of snakemake "
            "or one --config)"
        ),
        c__yaml="methods: {mine: {module: baselines.echo.Echo}}",
    ),
    line("nothing", evaluation, "", "the following arguments are required: --model, --tasks, --output"),
    evaluate(
        "no texts at a time", "--model {path} --tasks STS12 --batch-size 0", "--batch-size is 0, but must be at least 1"
    ),
    evaluate(
        "no tokens at a time",
        "--model {path} --tasks STS12 --batch-tokens 0",
        "--batch-tokens is 0, but must be at least 1",
    ),
    evaluate(
        "no tokens of a text",
        "--model {path} --tasks STS12 --max-length 0",
        "--max-length is 0, but must be at least 1",
    ),
    evaluate("no threads", "--model {path} --tasks STS12 --threads 0", "--threads is 0, but must be at least 1"),
    evaluate(
        "no tasks", "--model {path} --tasks ,", "--tasks is ',' and names no task; name some, separated by commas"
    ),
    evaluate(
        "an unknown task",
        "--model {path} --tasks STS1222",
        "there is no task or benchmark 'STS1222'; did you mean 'STS22' or 'STS12' or 'STS22.v2'?",
    ),
    evaluate(
        "a cache for the hub",
        "--model org/name --tasks STS12 --cache {path}/cache",
        "--cache keeps vectors of model folders only, as org/name may change on the hub",
    ),
    evaluate(
        "examples without prompts",
        "--model {path} --tasks STS12 --examples {path}/e.yaml",
        "--examples needs --prompts too: the instructions that the examples go before",
    ),
    evaluate(
        "absent prompts",
        "--model {path} --tasks STS12 --prompts {path}/p.yaml",
        "{path}/p.yaml does not exist; set evaluation.prompts to a file of prompts",
    ),
    evaluate(
        "no model",
        "--model {path} --tasks STS12",
        "{path} is no sentence-transformers model (it has no modules.json); name a model folder",
    ),
    evaluate(
        "a revision that is a branch",
        "--model org/name --tasks STS12 --revision main",
        "--revision is 'main', no commit of 40 hexadecimal digits; look it up on the hub",
    ),
    evaluate(
        "a revision of a folder",
        f"--model {{path}} --tasks STS12 --revision {'0' * 40}",
        "--revision is for models on the hub, but {path} is a folder; leave it out",
    ),
    evaluate(
        "a GPU where there is none",
        "--model {path} --tasks STS12 --device cuda",
        "compute.device is cuda, but torch finds no GPU here; set it to auto or cpu",
    ),
    line("nothing", efficiency, "", "the following arguments are required: --models, --pairs, --tokenizer, --output"),
    measure("a length of nothing", "--lengths 0", "--lengths: Input should be greater than 0, but is 0; correct it"),
    measure(
        "one repetition", "--repeats 1", "--repeats: Input should be greater than or equal to 2, but is 1; correct it"
    ),
    measure("no texts", "--texts 0", "--texts: Input should be greater than 0, but is 0; correct it"),
    measure(
        "a variant without a value",
        "--variants echo+pooling",
        (
            "--variants: 'echo+pooling' is no variant in the form METHOD+KEY=VALUE, such as "
            "causal2vec+place=after_instruction; correct it"
        ),
    ),
    measure("no threads", "--threads 0", "--threads is 0, but must be at least 1"),
    measure("no model", "", "{path}/model/manifest.json does not exist; make it first or name another file"),
    measure(
        "a record that is none",
        "",
        ("{path}/model/manifest.json has no 'method'; name a model folder of this suite, or make the model again"),
        **{"model/manifest__json": "[]"},
    ),
    measure(
        "no tokenizer",
        "",
        ("{path}/llm is no folder; name the model folder whose tokens count"),
        **{"model/manifest__json": '{"method": "m", "base": "b"}'},
    ),
    report("nothing", "", "the following arguments are required: command"),
    report(
        "no scores",
        "tables --results {path} --output {path}/out",
        "{path}/scores.csv does not exist; make it first or name another file",
    ),
    report(
        "no layout",
        "tables --results {path} --output {path}/out --layout {path}/t.yaml",
        "{path}/t.yaml does not exist; name a file such as config/tables.yaml",
        **SCORED,
    ),
    report(
        "no claims",
        "claims --results {path} --output {path}/out --claims {path}/c.yaml",
        "{path}/c.yaml does not exist; name a file such as config/claims.yaml",
        **SCORED,
    ),
    report(
        "no results of others",
        "tables --results {path} --output {path}/out --external {path}/o",
        "{path}/o is not a readable folder (No such file or directory); name another folder",
        **SCORED,
    ),
    report("no jobs", "scores --output {path}/out --jobs", "argument --jobs: expected at least one argument"),
    report(
        "a job without a record",
        "scores --jobs {path} --output {path}/out",
        "{path}/record.json does not exist; make it first or name another file",
    ),
    report(
        "too few resamples",
        "statistics --results {path} --resamples 10",
        "10 resamples are too few for a 95 % interval; ask for 100 or more, usually 2000",
        **SCORED,
    ),
    report(
        "a seed below zero",
        "statistics --results {path} --seed -1",
        "the seed of the statistics is -1; give 0 or a positive number",
        **SCORED,
    ),
    report("no workers", "statistics --results {path} --workers 0", "--workers is 0, but must be at least 1", **SCORED),
    report(
        "a figure of no scores",
        "plots --results {path} --output {path}/out",
        "{path}/scores.csv does not exist; make it first or name another file",
    ),
    report(
        "a page of no scores",
        "report --results {path} --output {path}/out.html",
        "{path}/scores.csv does not exist; make it first or name another file",
    ),
    line(
        "an unknown section",
        bench,
        "--only encoding,speed",
        (
            "--only has 'speed', which is no section; name some of encoding, limits, training, "
            "evaluation, workflow, scaling"
        ),
    ),
    line(
        "no section",
        bench,
        "--only ,",
        ("--only has '', which is no section; name some of encoding, limits, training, evaluation, workflow, scaling"),
    ),
    line("nothing", plan, "", "the following arguments are required: command"),
    line(
        "no devices",
        plan,
        f"make --config {DEMO} --gpus 0 --output {{path}}/out",
        "gpus is 0, but at least one is needed; set it to a positive number",
    ),
    line(
        "no plan",
        plan,
        "compare --plan {path}/plan.csv --benchmarks {path}",
        "{path}/plan.csv does not exist; run `snakemake plan` first",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_command_line_is_one_sentence(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    check(case, tmp_path)
