"""Wrong configurations: every section, every kind of slip, and settings that contradict each other."""

import copy
from pathlib import Path

import pytest
import yaml
from bad_cases import ROOT, Case, check

from causal2vec.config import load_config
from causal2vec.config.runs import runs_of

DEMO = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text(encoding="utf-8"))
LLM, MINI = "SmolLM2-135M-Instruct", "all-MiniLM-L6-v2-2-layers"


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


CASES = [
    # unknown keys, at every level
    slip("sed", [0], ("the configuration: unknown key 'sed' (did you mean 'seeds'?); remove it or correct its name")),
    slip(
        "models/all-MiniLM-L6-v2/layers",
        2,
        (
            "the configuration: unknown key 'models.all-MiniLM-L6-v2.layers' (did you mean "
            "'keep_layers'?); remove it or correct its name"
        ),
    ),
    slip(
        "models/all-MiniLM-L6-v2/prefixes",
        {"query": "q", "document": "d", "passage": "p"},
        (
            "the configuration: unknown key 'models.all-MiniLM-L6-v2.prefixes.passage' (known: "
            "query, document); remove it or correct its name"
        ),
    ),
    slip(
        "models/SmolLM2-135M-Instruct/distributed",
        {"gpus": 2},
        (
            "the configuration: unknown key 'models.SmolLM2-135M-Instruct.distributed.gpus' (known: "
            "nodes, processes, strategy); remove it or correct its name"
        ),
    ),
    slip(
        "methods/echo/setings",
        {},
        (
            "the configuration: unknown key 'methods.echo.setings' (did you mean 'settings'?); "
            "remove it or correct its name"
        ),
    ),
    slip(
        "budget/learning_rates/lorra",
        1e-3,
        (
            "the configuration: unknown key 'budget.learning_rates.lorra' (did you mean 'lora'?); "
            "remove it or correct its name"
        ),
    ),
    slip(
        "mntp/mask_probabilty",
        0.2,
        (
            "the configuration: unknown key 'mntp.mask_probabilty' (did you mean "
            "'mask_probability'?); remove it or correct its name"
        ),
    ),
    slip(
        "mntp/texts",
        {"source": "local", "path": "x", "files": "*", "colum": "text"},
        ("the configuration: unknown key 'mntp.texts.colum' (did you mean 'column'?); remove it or correct its name"),
    ),
    slip(
        "pairs/source",
        {},
        ("the configuration: unknown key 'pairs.source' (did you mean 'sources'?); remove it or correct its name"),
    ),
    slip(
        "efficiency/length",
        [16],
        ("the configuration: unknown key 'efficiency.length' (did you mean 'lengths'?); remove it or correct its name"),
    ),
    slip(
        "statistics/resample",
        100,
        (
            "the configuration: unknown key 'statistics.resample' (did you mean 'resamples'?); "
            "remove it or correct its name"
        ),
    ),
    slip(
        "reporting/table",
        "x",
        ("the configuration: unknown key 'reporting.table' (did you mean 'tables'?); remove it or correct its name"),
    ),
    slip(
        "compute/thread",
        2,
        ("the configuration: unknown key 'compute.thread' (did you mean 'threads'?); remove it or correct its name"),
    ),
    slip(
        "distributed/proceses",
        2,
        (
            "the configuration: unknown key 'distributed.proceses' (did you mean 'processes'?); "
            "remove it or correct its name"
        ),
    ),
    slip(
        "zzz",
        1,
        (
            "the configuration: unknown key 'zzz' (known: title, study, scale_note, seeds, models, bases, "
            "encoder, methods, pairs, budget, mntp, simcse, alignment, evaluation, efficiency, ablations, "
            "statistics, reporting, compute, distributed, resources); remove it or correct its name"
        ),
    ),
    # missing keys
    slip("title", ..., "the configuration: key 'title' is missing; add it"),
    slip("pairs", ..., "the configuration: key 'pairs' is missing; add it"),
    slip("mntp/steps", ..., "the configuration: key 'mntp.steps' is missing; add it"),
    slip("evaluation/max_length", ..., "the configuration: key 'evaluation.max_length' is missing; add it"),
    slip("methods/echo/module", ..., "the configuration: key 'methods.echo.module' is missing; add it"),
    slip("ablations/pooling/values", ..., "the configuration: key 'ablations.pooling.values' is missing; add it"),
    slip("simcse", {"steps": 3}, "the configuration: key 'simcse.batch_size' is missing; add it"),
    # wrong types
    slip("title", 3, "the configuration: title: Input should be a valid string, but is 3; correct it"),
    slip("seeds", 0, "the configuration: seeds: Input should be a valid list, but is 0; correct it"),
    slip(
        "seeds",
        ["one"],
        (
            "the configuration: seeds.0: Input should be a valid integer, unable to parse string as "
            "an integer, but is 'one'; correct it"
        ),
    ),
    slip(
        "seeds",
        [0.5],
        (
            "the configuration: seeds.0: Input should be a valid integer, got a number with a "
            "fractional part, but is 0.5; correct it"
        ),
    ),
    slip("models", [], "the configuration: models: Input should be a mapping, but is []; correct it"),
    slip(
        "models/all-MiniLM-L6-v2",
        "all-MiniLM-L6-v2",
        (
            "the configuration: models.all-MiniLM-L6-v2: Input should be a mapping, but is "
            "'all-MiniLM-L6-v2'; correct it"
        ),
    ),
    slip("methods", None, "the configuration: methods: Input should be a mapping, but is None; correct it"),
    slip(
        "methods/echo/trained",
        "perhaps",
        (
            "the configuration: methods.echo.trained: Input should be a valid boolean, unable to "
            "interpret input, but is 'perhaps'; correct it"
        ),
    ),
    slip(
        "methods/echo/settings",
        ["pooling"],
        ("the configuration: methods.echo.settings: Input should be a mapping, but is ['pooling']; correct it"),
    ),
    slip(
        "budget/gradient_checkpointing",
        2,
        (
            "the configuration: budget.gradient_checkpointing: Input should be a valid boolean, "
            "unable to interpret input, but is 2; correct it"
        ),
    ),
    slip(
        "evaluation/tasks",
        "LeeNewsSTS",
        ("the configuration: evaluation.tasks: Input should be a valid list, but is 'LeeNewsSTS'; correct it"),
    ),
    slip(
        "evaluation/prompts",
        ["a"],
        ("the configuration: evaluation.prompts: Input should be a valid string, but is ['a']; correct it"),
    ),
    slip(
        "efficiency/variants",
        ["causal2vec"],
        (
            "the configuration: efficiency.variants.0: 'causal2vec' is no variant in the form METHOD+KEY=VALUE, such "
            "as causal2vec+place=after_instruction; correct it"
        ),
    ),
    slip(
        "pairs/sources",
        {"bible": "all"},
        (
            "the configuration: pairs.sources.bible: Input should be a valid integer, unable to "
            "parse string as an integer, but is 'all'; correct it"
        ),
    ),
    # out of bounds
    slip(
        "seeds",
        [2**40],
        ("the configuration: seeds.0: Input should be less than 4294967296, but is 1099511627776; correct it"),
    ),
    slip("seeds", [0, 0], "the configuration: seeds holds 0 twice; remove one"),
    slip("bases", [LLM, LLM], "the configuration: bases holds 'SmolLM2-135M-Instruct' twice; remove one"),
    slip(
        "evaluation/tasks",
        ["LeeNewsSTS", "LeeNewsSTS"],
        "the configuration: evaluation.tasks holds 'LeeNewsSTS' twice; remove one",
    ),
    slip(
        "budget/temperature",
        float("inf"),
        ("the configuration: budget.temperature: Input should be a finite number, but is inf; correct it"),
    ),
    slip(
        "budget/temperature",
        float("nan"),
        ("the configuration: budget.temperature: Input should be a finite number, but is nan; correct it"),
    ),
    slip(
        "budget/learning_rates/lora",
        -1e-3,
        ("the configuration: budget.learning_rates.lora: Input should be greater than 0, but is -0.001; correct it"),
    ),
    slip(
        "budget/learning_rates/encoder",
        float("inf"),
        ("the configuration: budget.learning_rates.encoder: Input should be a finite number, but is inf; correct it"),
    ),
    slip(
        "budget/lora/dropout",
        1.0,
        ("the configuration: budget.lora.dropout: Input should be less than 1, but is 1.0; correct it"),
    ),
    slip(
        "budget/warmup_steps",
        -1,
        ("the configuration: budget.warmup_steps: Input should be greater than or equal to 0, but is -1; correct it"),
    ),
    slip(
        "budget/warmup_steps",
        60,
        (
            "the configuration: budget.warmup_steps is 60, but there are only 60 steps, so that the "
            "learning rate would never be reached; lower it"
        ),
    ),
    slip(
        "mntp/mask_probability",
        1,
        ("the configuration: mntp.mask_probability: Input should be less than 1, but is 1; correct it"),
    ),
    slip(
        "pairs/validation",
        -1,
        ("the configuration: pairs.validation: Input should be greater than or equal to 0, but is -1; correct it"),
    ),
    slip(
        "pairs/decontaminate_ngram",
        3,
        (
            "the configuration: pairs.decontaminate_ngram: Input should be greater than or equal to "
            "4, but is 3; correct it"
        ),
    ),
    slip(
        "pairs/sources",
        {},
        ("the configuration: pairs.sources names no source; name at least one with its number of pairs"),
    ),
    slip(
        "pairs/sources",
        {"bible": 0},
        ("the configuration: pairs.sources.bible: Input should be greater than 0, but is 0; correct it"),
    ),
    slip(
        "evaluation/cache_gb",
        -1,
        ("the configuration: evaluation.cache_gb: Input should be greater than or equal to 0, but is -1; correct it"),
    ),
    slip(
        "statistics/seed",
        -1,
        ("the configuration: statistics.seed: Input should be greater than or equal to 0, but is -1; correct it"),
    ),
    slip(
        "efficiency/lengths",
        [0],
        ("the configuration: efficiency.lengths.0: Input should be greater than 0, but is 0; correct it"),
    ),
    slip(
        "models/all-MiniLM-L6-v2/keep_layers",
        0,
        (
            "the configuration: models.all-MiniLM-L6-v2.keep_layers: Input should be greater than 0, "
            "but is 0; correct it"
        ),
    ),
    slip(
        "models/all-MiniLM-L6-v2/revision",
        "",
        (
            "the configuration: models.all-MiniLM-L6-v2.revision: String should have at least 1 character, but is ''; "
            "correct it"
        ),
    ),
    slip(
        "compute/threads", 0, "the configuration: compute.threads: Input should be greater than 0, but is 0; correct it"
    ),
    slip(
        "resources/memory_mb",
        -1,
        ("the configuration: resources.memory_mb: Input should be greater than 0, but is -1; correct it"),
    ),
    # settings that contradict each other
    slip(
        "methods/echo/module",
        "..Echo",
        ("the configuration: methods.echo.module: no Python module '.' can be found; check its import path"),
    ),
    slip(
        "methods/echo/module",
        "baselines.echo.",
        (
            "the configuration: methods.echo.module: 'baselines.echo.' does not end with the name of "
            "a class, as baselines.echo.Echo does; correct it"
        ),
    ),
    slip(
        "methods/echo/zero_shot_bases",
        ["nope"],
        (
            "the configuration: methods.echo: base 'nope' is not among models (known: "
            "SmolLM2-135M-Instruct, all-MiniLM-L6-v2-2-layers, all-MiniLM-L6-v2)"
        ),
    ),
    slip(
        "efficiency/variants",
        ["causal3vec+place=after_bos"],
        ("the configuration: efficiency.variants: 'causal3vec' is not among methods (did you mean 'causal2vec'?)"),
    ),
    slip(
        "distributed",
        {"nodes": 3},
        (
            "the configuration: budget.batch_size 32 cannot be shared out evenly among the 3 "
            "processes that train SmolLM2-135M-Instruct; make it a multiple or change distributed"
        ),
    ),
    slip(
        "encoder",
        "MiniLM",
        (
            "the configuration: encoder: 'MiniLM' is not among models (known: SmolLM2-135M-Instruct, "
            "all-MiniLM-L6-v2-2-layers, all-MiniLM-L6-v2)"
        ),
    ),
    slip(
        "models/all-MiniLM-L6-v2/source",
        "local",
        "the configuration: models.all-MiniLM-L6-v2: source 'local' also needs path",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_configuration_is_one_sentence(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
