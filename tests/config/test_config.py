"""Configuration: every file in config/ is right, every slip is named in one sentence."""

from __future__ import annotations

import copy
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import yaml
from conftest import ROOT
from pydantic import BaseModel, TypeAdapter, ValidationError

from causal2vec.config import Config, Pairs, Switches, load_config, switches_of
from causal2vec.config.prompts import Prompts, load_prompts
from causal2vec.config.runs import runs_of
from causal2vec.data.pairs.mixes import mix_folder
from causal2vec.errors import UserError
from causal2vec.plan.preflight import check_names
from causal2vec.reporting.analysis.claims.schema import KINDS
from causal2vec.reporting.show.tables.layout import _KINDS
from causal2vec.runtime.files import located, read_yaml, yaml_value

DEMO = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())


def changed(path: str, value) -> dict:
    """The demo's configuration with one key set (or removed, for ...)."""
    config = copy.deepcopy(DEMO)
    *above, last = path.split("/")
    section = config
    for key in above:
        section = section[key]
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return config


def test_demo_has_the_runs_that_the_readme_names():
    runs = [(run.method, run.trained) for run in runs_of(load_config(ROOT / "config" / "demo.yaml"))]
    variants = ["causal2vec+pooling=contextual", "causal2vec+pooling=eos"]
    trained = ["causal2vec", *variants, "last_token", "echo", "bidirectional", "in_context", "encoder_only"]
    assert [name for name, is_trained in runs if is_trained] == trained
    twins = ["last_token", "echo", "bidirectional", "in_context", "encoder_only", "encoder_only"]
    assert [name for name, is_trained in runs if not is_trained] == [f"{name}-zero_shot" for name in twins]


@pytest.mark.parametrize(("overlay", "runs"), [("short.yaml", 14), ("cpu.yaml", 48)])
def test_overlays_fit_the_demo(overlay, runs):
    def laid_over(below, above):
        for key, value in above.items():
            both = isinstance(value, dict) and isinstance(below.get(key), dict)
            below[key] = laid_over(below[key], value) if both else value
        return below

    above = yaml.safe_load((ROOT / "config" / overlay).read_text())
    assert len(runs_of(load_config(laid_over(copy.deepcopy(DEMO), above)))) == runs


CONFIGURATIONS = {
    "demo.yaml": 14,
    "demo.yaml short.yaml": 14,
    "demo.yaml efficiency.yaml": 14,
    "demo.yaml token_used.yaml": 14,
    "demo.yaml all_methods.yaml": 27,
    "cpu.yaml": 48,
    "paper.yaml": 29,
    "paper.yaml paper_v2.yaml": 29,
    "paper.yaml paper_subset.yaml": 29,
    "paper.yaml paper_bge.yaml": 29,
    "paper.yaml paper_without_simcse.yaml": 29,
}
"""What the files say to put after --configfile, and the number of models that this makes."""


def test_every_file_in_config_is_tested():
    texts = {"prompts.yaml", "prompts_paper.yaml", "examples.yaml", "tables.yaml", "claims.yaml", "trials.yaml"}
    known = {*texts, *" ".join(CONFIGURATIONS).split()}
    assert {path.name for path in (ROOT / "config").glob("*.yaml")} == known


@pytest.mark.parametrize(("files", "models"), CONFIGURATIONS.items())
def test_every_configuration_plans_its_dag(files, models):
    words = ["--dry-run", "--forceall", "--cores", "2", "--quiet", "rules", "--configfile"]
    done = subprocess.run(
        ["snakemake", *words, *(f"config/{file}" for file in files.split())], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    assert int(counts["train_model"]) == models


def test_everything_runs_with_every_seed():
    once, thrice = (runs_of(load_config(changed("seeds", seeds))) for seeds in ([0], [0, 1, 2]))
    assert len(thrice) == 3 * len(once)
    assert {run.seed for run in thrice} == {0, 1, 2}
    assert len({run.path for run in thrice}) == len(thrice)


def ablated(axis: str, values: list, method: str = "causal2vec") -> dict:
    return changed("ablations", {"x": {"method": method, "axis": axis, "values": values}})


@pytest.mark.parametrize(
    ("axis", "values", "where"),
    [
        ("settings.pooling", ["concat", "eos"], lambda run: run.settings["pooling"]),
        ("budget.steps", [60, 30], lambda run: run.budget.steps),
        ("budget.learning_rates.lora", [2e-3, 1e-4], lambda run: run.budget.learning_rates.lora),
        ("encoder", ["all-MiniLM-L6-v2-2-layers", "all-MiniLM-L6-v2"], lambda run: run.encoder),
        ("evaluation.max_length", [128, 64], lambda run: run.max_length),
    ],
)
def test_an_ablation_varies_one_key_of_one_method(axis, values, where):
    runs = {run.method: run for run in runs_of(load_config(ablated(axis, values))) if run.method.startswith("causal")}
    assert list(runs) == ["causal2vec", f"causal2vec+{axis.rpartition('.')[2]}={values[1]}"]
    assert [where(run) for run in runs.values()] == values
    first, second = (run.model_dump(exclude={"method"}) for run in runs.values())
    assert first != second


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ablated("settings.pooling", ["contextual", "eos"]), "the method's own value of settings.pooling, 'concat'"),
        (ablated("pairs.seed", [0, 1]), "'pairs.seed' cannot be varied for one method alone"),
        (ablated("settings.pooling", ["concat", "eos"], "causal3vec"), "there is no method 'causal3vec'"),
        (ablated("budget.steps", [60, -1]), "-1 does not fit budget.steps: Input should be greater than 0"),
        (ablated("encoder", ["all-MiniLM-L6-v2-2-layers", "BERT"]), "'BERT' does not fit encoder"),
        (ablated("settings.nothing", ["a", "b"]), "own value of settings.nothing, None, must be among them"),
    ],
)
def test_ablations_that_cannot_be_are_named(config, words):
    with pytest.raises(UserError) as error:
        runs_of(load_config(config))
    assert words in str(error.value) and "ablations.x" in str(error.value)


def test_every_source_of_pairs_has_an_instruction():
    prompts = load_prompts(ROOT / "config" / "prompts.yaml")
    from causal2vec.data.pairs.packages import SYMMETRIC

    assert set(DEMO["pairs"]["sources"]) == set(prompts.sources)
    assert set(prompts.symmetric) == set(SYMMETRIC)


def test_every_packaged_task_has_an_instruction():
    from causal2vec.evaluation.tasks import PACKAGED_TASKS

    assert set(PACKAGED_TASKS) <= set(load_prompts(ROOT / "config" / "prompts.yaml").tasks)


def test_documents_of_retrieval_get_no_instruction():
    prompts = load_prompts(ROOT / "config" / "prompts.yaml")
    assert prompts.for_task("SciFact", "Retrieval", {"query": "q"}) == "Instruct: q\nQuery: "
    assert prompts.for_task("SciFact", "Retrieval", {"query": "q"}, document=True) == ""
    assert prompts.for_task("STSBenchmark", "STS").startswith("Instruct: Retrieve semantically")
    assert prompts.for_training("hpo_synonym")["positive"] and not prompts.for_training("recipe_title")["positive"]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("budget/temperature", 0, "budget.temperature: Input should be greater than 0"),
        ("seeds", [], "seeds: List should have at least 1 item"),
        ("seeds", [-1], "seeds.0: Input should be greater than or equal to 0"),
        ("bases", ["Smol"], "bases: 'Smol' is not among models"),
        ("encoder", "SmolLM2-135M-Instruct", "is of kind llm, but encoder is needed"),
        ("bases", ["all-MiniLM-L6-v2"], "is of kind encoder, but llm is needed"),
        ("methods/echo/module", "baselines.ecko.Echo", "methods.echo.module: no Python module 'baselines.ecko'"),
        ("methods/echo/module", "Echo", "methods.echo.module: no Python module 'Echo'"),
        ("methods/echo/bases", ["nope"], "methods.echo: base 'nope' is not among models"),
        ("methods/x-zero_shot", {"module": "baselines.echo.Echo"}, "'-zero_shot' is put there by 'zero_shot'"),
        ("methods/a+b", {"module": "baselines.echo.Echo"}, "'+' is put there by 'ablations'"),
        ("statistics", {"resamples": 9}, "statistics.resamples: Input should be greater than or equal to 100"),
        ("methods/a b", {"module": "baselines.echo.Echo"}, "methods.a b"),
        ("mntp", None, "methods.bidirectional.mntp is true, but the mntp section is missing"),
        (
            "models/all-MiniLM-L6-v2/sha256",
            "abc",
            "all-MiniLM-L6-v2.sha256: 'abc' is no SHA-256 of 64 hexadecimal digits",
        ),
        ("models/all-MiniLM-L6-v2/sha256", ..., "source 'pypi' also needs sha256"),
        ("models/all-MiniLM-L6-v2/source", "web", "models.all-MiniLM-L6-v2.source: Input should be 'pypi', 'hub'"),
        ("models/all-MiniLM-L6-v2/source", "hub", "source 'hub' also needs repository, revision"),
        ("evaluation/tasks", [], "evaluation.tasks: List should have at least 1 item"),
        ("efficiency/repeats", 1, "efficiency.repeats: Input should be greater than or equal to 2"),
        ("models/all-MiniLM-L6-v2/chat", ["a", "b"], "models.all-MiniLM-L6-v2.chat: only a model of kind llm can"),
        ("models/SmolLM2-135M-Instruct/chat", ["a"], "models.SmolLM2-135M-Instruct.chat"),
        (
            "models/SmolLM2-135M-Instruct/prefixes",
            {"query": "q", "document": "d"},
            "models.SmolLM2-135M-Instruct.prefixes: only a model of kind encoder can have it",
        ),
        ("models/all-MiniLM-L6-v2/prefixes", {"query": "q: "}, "all-MiniLM-L6-v2.prefixes.document' is missing"),
        ("methods/echo/simcse", True, "methods.echo.simcse is true, but the simcse section is missing"),
        ("mntp/bases", {"Smol": {"all_mask": True}}, "mntp.bases: 'Smol' is not among models"),
        ("mntp/texts", {"source": "hub", "files": "*.txt"}, "source 'hub' also needs repository, revision"),
        ("pairs/kind", "e5", "kind 'e5' also needs folder"),
        ("pairs/kind", "bge", "kind 'bge' also needs folder, or repository and revision"),
        ("pairs/sources", {"bible": 0.5}, "sources.bible is a share, but kind 'packages' wants a whole number"),
        ("pairs/negatives", -1, "pairs.negatives: Input should be greater than or equal to 0"),
        ("distributed", {"processes": 5}, "budget.batch_size 32 cannot be shared out evenly among the 5 processes"),
    ],
)
def test_slips_are_named(path, value, words):
    with pytest.raises(UserError) as error:
        load_config(changed(path, value))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "does not exist"),
        ("a: [", "is not valid YAML"),
        ("just text", "must hold a mapping"),
        ("", "must hold a"),
    ],
)
def test_files_that_are_no_configuration(text, words, tmp_path: Path):
    path = tmp_path / "c.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        load_config(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(("text", "words"), [(None, "does not exist"), ("tusks: {}", "no prompts file")])
def test_files_that_are_no_prompts(text, words, tmp_path: Path):
    path = tmp_path / "p.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words):
        load_prompts(path)


NUMBERS = {
    "runtime_minutes: 12:00:00": "line 1: '12:00:00' is 43200 in YAML, to the base 60",
    "a: {steps: 060}": "line 1: '060' is 48 in YAML, to the base 8",
    "a:\n- -017": "line 2: '-017' is -15 in YAML",
    "rate: 1:30.5": "line 1: '1:30.5' is 90.5 in YAML, to the base 60",
    "010: x": "'010' is 8 in YAML",
}


@pytest.mark.parametrize(("text", "words"), NUMBERS.items())
def test_numbers_that_nobody_meant_are_refused_in_every_yaml_file(text, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        yaml_value(text)


def test_numbers_as_people_write_them_are_read():
    text = "[0, 60, -7, 1_000, 0x10, 0.5, 0e0, 00.5, 1.5e-3, '060', '12:00', 1e-4]"
    assert yaml_value(text) == [0, 60, -7, 1000, 16, 0.5, "0e0", 0.5, 0.0015, "060", "12:00", "1e-4"]
    assert load_config(changed("budget/temperature", "1e-2")).budget.temperature == 0.01


def sections(annotation, seen: set) -> set:
    """All pydantic models within an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
        seen.add(annotation)
        for field in annotation.model_fields.values():
            sections(field.annotation, seen)
    for inner in getattr(annotation, "__args__", ()):
        sections(inner, seen)
    return seen


@pytest.mark.parametrize(
    "roots", [[Config], [*KINDS.values()], [*_KINDS.values()], [Prompts]], ids=["config", "claims", "tables", "prompts"]
)
def test_no_switch_and_no_doubtful_digits_pass_for_a_number(roots):
    """Every field of every section that takes a number; so a new one that forgets it is found."""
    tried = 0
    for section in set().union(*(sections(root, set()) for root in roots)):
        for name, field in section.model_fields.items():
            kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
            if not {int, float} & set(kinds) or bool in kinds:
                continue
            tried += 1
            one = TypeAdapter(Annotated[field.annotation, *field.metadata])
            one.validate_python(one.validate_python(next(v for v in (1, 0.5, 100, 10) if fits(one, v))))
            for value in (True, False, "060", "1_0"):
                assert not fits(one, value), f"{section.__name__}.{name} takes {value!r}"
    assert tried or roots == [Prompts]
    if Config in roots:
        for path in ("seeds", "efficiency/lengths", "pairs/sources"):
            value = {"bible": True} if path == "pairs/sources" else [True]
            with pytest.raises(UserError, match=r"it is true .*, not a number"):
                load_config(changed(path, value))


def fits(one: TypeAdapter, value) -> bool:
    try:
        one.validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ("seeds: [0]\nseeds: [0, 1, 2]\n", "line 2: the key 'seeds' stands there twice"),
        ("resources:\n  runtime_minutes: 12:00:00\n", "line 2: '12:00:00' is 43200"),
        ('{"seeds": [0], "seeds": [1]}', "the key 'seeds' stands there twice"),
        ("budget: {mini_batch_size: yes}\n", "budget.mini_batch_size: it is true"),
    ],
)
def test_snakemake_plans_nothing_from_a_file_that_says_two_things(overlay, words, tmp_path):
    (tmp_path / "overlay.yaml").write_text(overlay)
    words_of = ["snakemake", "-n", "--configfile", "config/demo.yaml", str(tmp_path / "overlay.yaml")]
    done = subprocess.run(words_of, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and words in done.stderr and "Traceback" not in done.stderr
    assert "overlay.yaml" in done.stderr


@pytest.mark.parametrize(
    ("switch", "words"),
    [
        ("claims=Strict", "claims is 'Strict'; say --config claims=strict"),
        ("claims=stirct", "claims is 'stirct'; say --config claims=strict"),
        ("claims=true", "claims is 'true'"),
        ("validate=yes", "validate is 'yes'; say --config validate=true"),
        ("validate=1", "validate is 1"),
        ("external_results=/nowhere", "external_results is '/nowhere', which is no folder"),
        ("external_results=7", "external_results is 7, which is no folder"),
        ("external_efficiency=/nowhere.csv", "external_efficiency is '/nowhere.csv', which is no file"),
        ("validat=true", "unknown key 'validat' (did you mean 'validate'?)"),
    ],
)
def test_a_switch_that_is_not_understood_is_not_taken_for_off(switch, words):
    done = subprocess.run(["snakemake", "-n", "--config", switch], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and words in done.stderr and "Traceback" not in done.stderr


def test_switches_are_understood_as_snakemake_and_yaml_write_them(tmp_path):
    assert not switches_of({}).validate and not switches_of({"validate": None, "claims": None}).strict
    for on in (True, "true", "True"):
        assert switches_of({"validate": on}).validate and not switches_of({"validate": False}).validate
    costs = tmp_path / "efficiency.csv"
    costs.touch()
    places = {"external_results": str(tmp_path), "external_efficiency": str(costs)}
    asked = switches_of({"claims": "strict", **places, "gpus": 8, "accelerator": "A100"})
    assert asked == Switches(False, True, *places.values(), 8, "A100")


def test_another_working_folder_finds_the_suites_configuration_and_goes_before_it(tmp_path, monkeypatch):
    for words in ([], ["--configfile", "config/demo.yaml"]):
        command = ["snakemake", "-n", "--quiet", "rules", "--directory", str(tmp_path), *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("config/demo.yaml")).title == DEMO["title"]
    assert located("config/demo.yaml") == ROOT / "config" / "demo.yaml"
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "demo.yaml").write_text("title: mine")
    assert located("config/demo.yaml") == Path("config/demo.yaml")


def test_home_is_understood_wherever_a_configuration_names_a_place(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "c.yaml").write_text("\ufefftitle: a", encoding="utf-8")
    assert switches_of({"external_results": "~/mine"}).external_results == str(tmp_path / "mine")
    pairs = Pairs(kind="e5", folder="~/mine", sources={"a": 1})
    assert mix_folder(pairs, None) == tmp_path / "mine"
    assert read_yaml(Path("~/mine/c.yaml"), "") == {"title": "a"}, "a byte order mark is no part of the text"


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        (
            "methods: {echo: {module: baselines.echo.Ecko}}",
            "methods.echo.module: baselines.echo has no class 'Ecko' (did",
        ),
        (
            "evaluation: {tasks: [WordSim353ST]}",
            "evaluation.tasks: there is no task or benchmark 'WordSim353ST'; did you",
        ),
        ('evaluation: {tasks: ["MTEB(eng, v1)/STS99"]}', "evaluation.tasks: the benchmark 'MTEB(eng, v1)' has no task"),
    ],
)
def test_a_misspelt_class_or_task_does_not_pass_a_dry_run(overlay, words, tmp_path):
    (tmp_path / "overlay.yaml").write_text(overlay)
    command = ["snakemake", "-n", "--configfile", "config/demo.yaml", str(tmp_path / "overlay.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and words in done.stderr and "Traceback" not in done.stderr


def test_names_are_looked_for_without_importing_anything(tmp_path, monkeypatch):
    code = (
        "import sys; from pathlib import Path; from causal2vec.config import load_config\n"
        "from causal2vec.plan.preflight import check_names\n"
        "for name in ('paper', 'demo'): check_names(load_config(Path(f'config/{name}.yaml')))\n"
        "sys.exit(bool({'mteb', 'torch', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
    monkeypatch.syspath_prepend(tmp_path)
    for number, text in enumerate(("from baselines.echo import Echo as Mine", "Mine = type('Mine', (), {})",
                                   "from baselines.echo import *", "def __getattr__(name): ...", "(")):  # fmt: skip
        (tmp_path / f"mine_{number}.py").write_text(text)
        check_names(load_config(changed("methods/echo/module", f"mine_{number}.Mine")))


def test_patterns_are_told_in_words_and_an_overlay_alone_is_recognised():
    source = {"kind": "llm", "source": "hub", "repository": "Qwen/Qwen3-0.6B", "revision": "main"}
    assert load_config(changed("models/q", source)).models["q"].revision == "main", "resolved when it is fetched"
    with pytest.raises(UserError, match=r"study: 'a b' is no name of a study \(letters"):
        load_config(changed("study", "a b"))
    with pytest.raises(UserError, match=r"bases.0: 'Qwen/Qwen3' is no name .*its key under models.* repository there"):
        load_config(changed("bases", ["Qwen/Qwen3"]))
    with pytest.raises(
        UserError, match=r"lacks title, models, .*; if it only changes a study, .*config/demo.yaml mine"
    ):
        load_config({"methods": {"mine": {"module": "baselines.echo.Echo"}}}, "mine.yaml")


def test_several_files_are_merged_as_snakemake_merges_them(tmp_path):
    from snakemake.utils import update_config

    texts = {
        "mine": "methods: {mine: {module: baselines.echo.Echo, zero_shot: true}}",
        "short": "seeds: [3, 4]\nbudget: {steps: 7}\nablations: {}\nmethods: {mine: {zero_shot: {pooling: mean}}}",
    }
    files = [ROOT / "config" / "demo.yaml", *(tmp_path / f"{name}.yaml" for name in texts)]
    for file, text in zip(files[1:], texts.values(), strict=True):
        file.write_text(text)
    expected: dict = {}
    for file in files:
        update_config(expected, yaml.safe_load(file.read_text()))
    config = load_config(files)
    assert config == load_config(expected)
    assert config.seeds == [3, 4] and config.budget.steps == 7 and config.budget.batch_size == 32
    assert config.methods["mine"].zero_shot == {"pooling": "mean"} and "causal2vec" in config.methods
    (tmp_path / "overlay.yaml").write_text("budget: {steps: 9}")  # without methods: laid over the demo, as in Snakemake
    assert load_config(tmp_path / "overlay.yaml").budget.steps == 9


@pytest.mark.parametrize("module", ["training", "training.search", "plan make", "bench"])
def test_commands_take_several_files(module, tmp_path, monkeypatch, capsys):
    """Each of them reads the second file, whose fault is named."""
    (tmp_path / "mine.yaml").write_text("methods: {mine: {module: nowhere.Nothing}}")
    name, *words = module.split()
    line = [*words, "--config", "config/demo.yaml", str(tmp_path / "mine.yaml")]
    line += ["--method", "mine", "--output", "x"] if name == "training" else []
    monkeypatch.setattr(sys, "argv", [name, *line])
    monkeypatch.chdir(ROOT)
    main = importlib.import_module(f"causal2vec.{name}" if "." in name else f"causal2vec.{name}.__main__").main
    with pytest.raises(UserError, match=r"demo.yaml with .*mine.yaml: methods.mine.module: no Python module 'nowhere'"):
        main()


def test_the_note_on_scale_is_made_from_the_settings():
    note = load_config(DEMO).scale_note
    for words in (
        "small-scale: SmolLM2-135M-Instruct with only its first 8 layers, encoder all-MiniLM-L6-v2-2-layers with only",
        "60 training steps of 32 pairs", "1 seed,", "12 of 12 tasks are our own; not comparable with published scores",
    ):  # fmt: skip
        assert words in note
    other = {"kind": "llm", "source": "local", "path": "x"}
    mine = changed("models/Mine", other) | {"bases": ["Mine"], "seeds": [0, 1, 2]}
    note = load_config(mine).scale_note
    assert "small-scale: Mine, encoder" in note and "3 seeds" in note and "SmolLM2" not in note
    assert load_config([ROOT / "config" / "demo.yaml", ROOT / "config" / "cpu.yaml"]).scale_note.startswith(
        "small-scale: SmolLM2-135M-Instruct, encoder"
    )


@pytest.mark.parametrize("note", ["", "ours, of 2031"])
def test_a_note_on_scale_of_ones_own_is_left_alone(note):
    assert load_config(changed("scale_note", note)).scale_note == note


def test_a_study_of_full_size_has_no_note_on_scale():
    paper = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text()) | {"scale_note": None}
    assert load_config(paper).scale_note == ""
    small = copy.deepcopy(paper)
    small["budget"] |= {"steps": 150, "warmup_steps": 1}
    assert "150 training steps of" in load_config(small).scale_note
