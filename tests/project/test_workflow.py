"""The whole DAG on tiny random models, real data packages and real mteb tasks."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import killer
import pandas as pd
import pytest
import yaml
from conftest import METHODS, ROOT, results_of, work_of
from safetensors.torch import load_file
from support.studies import configuration, prepared, snakemake

from causal2vec.runtime.files import read_json

TABLES = [
    "main", "zero_shot", "tasks", "efficiency", "efficiency_savings", "efficiency_predictions", "ablations",
    "statistics", "differences", "training",
]  # fmt: skip
PLOTS = [
    "score_vs_time", "score_vs_length", "throughput_vs_length", "cost_vs_length", "shorter_faster",
    "published_savings", "scores_by_type", "loss_curves", "forest", "ranks", "heatmap", "ablations",
]  # fmt: skip
SCORE_FILES = [
    "scores.csv",
    "items",
    "efficiency.csv",
    "efficiency_published.csv",
    "efficiency_law.csv",
    "training.json",
    "audit.json",
    "manifest.json",
]


def whole(folder: Path, tiny: dict[str, Path], packages: Path) -> Path:
    """A folder for all that a study can have: both pre-training stages read their own texts through a wrapper."""
    texts = tiny["llm"].parent / "texts"
    texts.mkdir(exist_ok=True)
    lines = [json.dumps({"body": f"document {i} of the corpus"}) for i in range(40)]
    (texts / "part.jsonl").write_text("\n".join(lines))
    source = {"source": "local", "path": str(texts), "files": "*.jsonl", "column": "body"}
    config = configuration(tiny)
    config["models"]["tiny-llm"]["chat"] = ["[INST] ", " [/INST]"]
    config["methods"]["bidirectional"] |= {"simcse": True, "chat": True}
    config["mntp"] |= {"texts": source, "bases": {"tiny-llm": {"mask_probability": 0.8, "all_mask": True}}}
    config["simcse"] = {"steps": 2, "batch_size": 4, "max_length": 32, "texts": source}
    return prepared(folder, config, packages)


@pytest.fixture(scope="module")
def finished(tiny, packages_folder, tmp_path_factory) -> Path:
    """A folder in which the whole DAG has run, on two cores."""
    folder = whole(tmp_path_factory.mktemp("dag") / "a path with späces", tiny, packages_folder)
    done = snakemake(folder, "--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return folder


def test_everything_promised_comes_out(finished):
    results = results_of(finished)
    for table in TABLES:
        for ending in ("md", "csv", "tex", "html"):
            assert (results / "tables" / f"{table}.{ending}").stat().st_size > 50
    manifest = json.loads((results / "manifest.json").read_text())
    stamp = f"manifest {manifest['id']} of {manifest['created']}, 1 seed (0)"
    for path in [*(results / "tables").glob("*.md"), results / "claims" / "claims.md", results / "report.html"]:
        assert stamp in path.read_text(), path
    assert {path.stem for path in (results / "items").glob("*.parquet")} == set(
        manifest["config"]["evaluation"]["tasks"]
    )
    for plot in PLOTS:
        assert (results / "plots" / f"{plot}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (results / "plots" / f"{plot}.svg").read_text()
    scores = pd.read_csv(results / "scores.csv")
    columns = "method base seed task task_type split subset metric value items mteb_version data_revision"
    assert list(scores.columns) == columns.split()
    assert set(scores.task) == set(configuration({"llm": "", "encoder": ""})["evaluation"]["tasks"])
    methods = {"causal2vec", "causal2vec+pooling=eos", "bidirectional", "encoder_only", "encoder_only-zero_shot"}
    assert set(scores.method) == methods
    efficiency = pd.read_csv(results / "efficiency.csv").set_index(["method", "text_tokens"])
    assert efficiency.loc[("encoder_only", "8"), "llm_tokens"] == 0
    read = efficiency.loc[("causal2vec", "16"), "llm_tokens"]
    assert 16 <= read <= 24, "the text, the Contextual token, BOS and EOS"


def test_scores_are_in_mtebs_own_layout(finished):
    from mteb.cache import ResultCache

    found = ResultCache(results_of(finished) / "mteb").load_results()
    names = {result.model_name for result in found.model_results}
    assert "causal2vec-suite/causal2vec__tiny-llm__seed0" in names
    revisions = {result.model_revision for result in found.model_results}
    manifest = json.loads((finished / "results/tiny/models/causal2vec/tiny-llm/seed0/manifest.json").read_text())
    assert manifest["revision"] in revisions


def test_manifest_says_how_it_was_made(finished):
    manifest = json.loads((results_of(finished) / "manifest.json").read_text())
    assert manifest["dtype"] == "float32"
    assert len(manifest["models"]) == 5 and len(manifest["pairs"]["train.parquet"]) == 64
    assert manifest["versions"]["mteb"] and manifest["seconds"]["train_model/causal2vec/tiny-llm/seed0"] > 0
    assert manifest["config"]["budget"]["steps"] == 3


def test_both_stages_run_with_their_texts_and_wrapper(finished):
    mntp, simcse = (
        read_json(work_of(finished) / path / "tiny-llm" / "seed0" / f"{path.partition('/')[0]}.json")
        for path in ("mntp", "simcse/mntp")
    )
    assert (mntp["mask_probability"], mntp["all_mask"], mntp["texts_read"]) == (0.8, True, 8)
    assert (simcse["texts_read"], simcse["base"], len(simcse["loss"])) == (8, "tiny-llm", 2)
    assert simcse["inputs"] == {"add_bos": None, "chat": ["[INST] ", " [/INST]"]}
    settings = read_json(finished / "results/tiny/models/bidirectional/tiny-llm/seed0/embedder_config.json")
    assert settings["chat"] == ["[INST] ", " [/INST]"]


def test_nothing_is_left_to_do(finished):
    done = snakemake(finished, "-n")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_second_run_gives_the_same_bytes_killed_and_in_other_surroundings(finished, tiny, packages_folder, tmp_path):
    """On one core, in another time zone, without a locale, with a home that cannot be written, and killed again and
    again (`make torture` does it more often): nothing of that shows, and nothing is left behind."""
    again, temporary = whole(tmp_path / "again", tiny, packages_folder), tmp_path / "tmp"
    temporary.mkdir()
    surroundings = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "HOME": "/proc/none", "TMPDIR": str(temporary)}
    planned = ["checkpoint", "saving", "gathering"]
    kills = killer.torture(
        again, planned, random.Random(0), tmp_path / "log.txt", words=("--cores", "1"), **surroundings
    )
    assert sorted(kill.waited_for for kill in kills) == sorted(planned)
    assert not killer.strays(again, temporary)
    same = ["results/tiny/scores.csv", "work/tiny/pairs/train.parquet", "work/tiny/task_texts.parquet"]
    same += [f"results/tiny/tables/{table}.{ending}" for table in ("main", "tasks") for ending in ("md", "csv", "tex")]
    plots = ("scores_by_type", "forest")
    same += [f"results/tiny/plots/{plot}.{ending}" for plot in plots for ending in ("svg", "png")]
    same += [f"results/tiny/statistics/{name}.csv" for name in ("estimates", "differences", "standings")]
    for name in same:
        assert (finished / name).read_bytes() == (again / name).read_bytes(), name
    weights = sorted(path.relative_to(finished) for path in (finished / "results/tiny/models").rglob("*.safetensors"))
    assert len(weights) == 9
    for name in weights:
        assert (finished / name).read_bytes() == (again / name).read_bytes(), name


def test_a_finished_folder_verifies_and_a_changed_score_does_not(finished):
    def verify() -> list[str]:
        done = snakemake(finished, "--cores", "2", "verify")
        lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "note", "verified", "NOT"))]
        assert (done.returncode == 0) == lines[-1].startswith("verified: "), done.stderr[-3000:]
        return lines

    [verdict] = verify()
    manifest = json.loads((results_of(finished) / "manifest.json").read_text())
    scores = pd.read_csv(results_of(finished) / "scores.csv")
    main = len(scores[scores["metric"] == "main_score"])
    assert verdict.endswith("; 0 failures") and f"{len(manifest['models'])} models" in verdict
    assert f"{len(scores):,} scores ({main} of {main} main scores recomputed from items" in verdict
    path = results_of(finished) / "scores.csv"
    whole = path.read_text()
    times = path.stat()
    try:
        last = whole.splitlines()[-1]
        fields = last.split(",")
        fields[list(scores.columns).index("value")] = "0.123"
        path.write_text(whole.replace(last, ",".join(fields)))
        failure, *_, verdict = verify()
    finally:
        path.write_text(whole)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert re.match(r"FAILED scores.csv: row \d+, column 'value' is '0.123' but should be ", failure)
    assert verdict.startswith("NOT verified: ") and verdict.endswith("; 1 failure")


def test_paper_tables_come_from_score_files_alone(finished, tmp_path):
    folder = tmp_path / "elsewhere"
    results_of(folder).mkdir(parents=True)
    shutil.copy(finished / "tiny.yaml", folder)
    for name in SCORE_FILES:
        copy = shutil.copytree if (results_of(finished) / name).is_dir() else shutil.copy
        copy(results_of(finished) / name, results_of(folder) / name)
    for path in folder.rglob("*"):  # as in a clone that was made after the results
        os.utime(path, (1.5e9, 1.5e9))
    done = snakemake(folder, "--cores", "2", "paper_tables")
    assert done.returncode == 0, done.stderr[-3000:]
    ran = set(re.findall(r"^(\w+) +\d+$", done.stdout + done.stderr, re.MULTILINE)) - {"total", "paper_tables"}
    assert ran == {"compute_statistics", "make_tables", "make_plots", "check_claims", "write_report"}
    made = [*(results_of(folder) / "tables").iterdir(), *(results_of(folder) / "plots").iterdir()]
    made += [results_of(folder) / "report.html", results_of(folder) / "claims" / "claims.json"]
    for path in made:
        assert path.read_bytes() == (finished / path.relative_to(folder)).read_bytes(), path.name


def test_tables_refuse_to_train_and_say_what_is_missing(finished, tmp_path):
    model = "results/tiny/models/encoder_only/tiny-encoder/seed0"
    done = snakemake(finished, "--cores", "2", "paper_tables", "--forcerun", "train_model")
    assert done.returncode == 2 and "would run first; run 'snakemake' if that is meant" in done.stderr
    assert (finished / model / "manifest.json").is_file()
    shutil.copy(finished / "tiny.yaml", tmp_path)
    done = snakemake(tmp_path, "--cores", "2", "paper_tables")
    assert done.returncode == 2 and "results/tiny/scores.csv is missing, which paper_tables is made from" in done.stderr


def test_strict_claims_stop_the_pipeline_and_keep_the_tables(finished):
    verdicts = json.loads((results_of(finished) / "claims" / "claims.json").read_text())["verdicts"]
    contradicted = [
        verdict["claim_id"] for verdict in verdicts if verdict["verdict"] in ("contradicted", "not reached")
    ]
    done = snakemake(finished, "--cores", "2", "paper_tables", "--config", "claims=strict")
    assert (done.returncode != 0) == bool(contradicted), done.stderr[-3000:]
    assert all(f"claim {name}" in done.stderr for name in contradicted)
    assert (results_of(finished) / "tables" / "main.md").is_file()


def test_snakemakes_own_report_has_tables_figures_and_captions(finished, tmp_path):
    done = snakemake(finished, "--report", str(tmp_path / "report.html"))
    assert done.returncode == 0, done.stderr[-3000:]
    page = (tmp_path / "report.html").read_text()
    for words in ("Tables", "Figures", "Claims", "score_vs_time", "How it was run"):
        assert words in page


def test_imported_models_stand_beside_ours(finished, tmp_path):
    """A results folder as the leaderboard has it: here our own, under another name."""
    [source] = (results_of(finished) / "mteb" / "results").glob("causal2vec-suite__encoder_only__*")
    shutil.copytree(source, tmp_path / "results" / "somebody__their-model")
    costs = pd.read_csv(results_of(finished) / "efficiency.csv").assign(base="their-base")
    costs.to_csv(tmp_path / "costs.csv", index=False)
    given = (f"external_results={tmp_path}", f"external_efficiency={tmp_path / 'costs.csv'}")
    done = snakemake(finished, "--cores", "2", "paper_tables", "--config", *given)
    try:
        assert done.returncode == 0, done.stderr[-3000:]
        found = [
            path.name for path in (results_of(finished) / "tables").glob("*.md") if "their-model" in path.read_text()
        ]
        assert found, "the imported model is in some table"
        page = (results_of(finished) / "report.html").read_text()
        assert "their-model" in page and "their-base" in page
        checked = snakemake(finished, "--cores", "2", "verify")
        assert checked.returncode == 0 and "; 0 failures" in checked.stdout, checked.stdout
        elsewhere = tmp_path / "elsewhere"  # a whole folder, without what it was made from
        shutil.copytree(results_of(finished), results_of(elsewhere))
        shutil.copy(finished / "tiny.yaml", elsewhere)
    finally:
        assert snakemake(finished, "--cores", "2").returncode == 0
    assert not list(results_of(finished).glob("external*"))
    assert snakemake(finished, "--cores", "2", "verify").returncode == 0
    shutil.rmtree(tmp_path / "results")
    (tmp_path / "costs.csv").unlink()
    done = snakemake(elsewhere, "--cores", "2", "paper_tables", "--forcerun", "make_tables")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "their-model" in (results_of(elsewhere) / "report.html").read_text(), "kept without its source"
    assert snakemake(elsewhere, "--cores", "2", "verify").returncode == 0


def test_changed_setting_reruns_what_it_touches_and_no_more(finished):
    config = yaml.safe_load((finished / "tiny.yaml").read_text())
    original = (finished / "tiny.yaml").read_text()
    config["mntp"]["steps"] = 3
    try:
        (finished / "tiny.yaml").write_text(yaml.safe_dump(config))
        plan = snakemake(finished, "-n").stdout
    finally:
        (finished / "tiny.yaml").write_text(original)
    counts = {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", plan, re.MULTILINE)}
    assert {counts[f"{rule}_model"] for rule in ("train", "evaluate")} == {1}
    assert {counts[f"pretrain_{stage}"] for stage in ("mntp", "simcse")} == {1}
    assert "prepare_pairs" not in counts


def test_changed_code_runs_again_what_uses_it_and_no_more(finished, tmp_path):
    for name in ("causal2vec", "baselines", "workflow", "config", "profiles"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", tmp_path)

    def planned(changed: str) -> dict[str, int]:
        """What is to be done with one module changed, the same files standing elsewhere but for that."""
        path = tmp_path / changed
        text = path.read_text()
        path.write_text(f"{text}\nCHANGED = 1\n")
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "-n",
            "--directory",
            finished,
            "--configfile",
            finished / "tiny.yaml",
        ]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
        path.write_text(text)
        assert done.returncode == 0, done.stderr
        return {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", done.stdout, re.MULTILINE)}

    trained = {"train_model": 5, "evaluate_model": 5, "pretrain_mntp": 1}
    assert trained.items() <= planned("causal2vec/training/lora.py").items()
    again = planned("causal2vec/evaluation/items.py")
    assert again["evaluate_model"] == 5 and "train_model" not in again
    again = planned("causal2vec/reporting/analysis/evidence.py")
    assert {"compute_statistics", "make_tables", "check_claims", "write_report"} <= again.keys()
    assert not {"evaluate_model", "train_model"} & again.keys()


def test_failing_job_says_why_in_one_sentence(tiny, packages_folder, tmp_path):
    config = configuration(tiny)
    config["methods"] = {"last_token": {"module": METHODS["last_token"][0], "settings": {"pooling": "mean"}}}
    del config["ablations"]
    folder = prepared(tmp_path / "bad", config, packages_folder)
    model = "results/tiny/models/last_token/tiny-llm/seed0"
    done = snakemake(folder, "--cores", "2", model)
    assert done.returncode != 0
    assert "error: baselines.last_token.LastToken has no setting 'pooling'" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: baselines.last_token.LastToken has no setting")
    assert "Traceback" not in done.stderr
    assert not (folder / model).exists()


def test_models_weights_are_what_the_loader_reads(finished):
    own = load_file(finished / "results/tiny/models/causal2vec/tiny-llm/seed0/own.safetensors")
    assert {name.split(".")[0] for name in own} == {"projection"}
