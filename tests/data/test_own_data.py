"""One's own pairs and tasks: the documentation's example typed as it stands, every format, every fault one sentence."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT
from support.studies import configuration
from test_config import DEMO, changed

from causal2vec.config import Pairs, load_config
from causal2vec.config.prompts import study_prompts
from causal2vec.config.settings import METRICS, OwnTask
from causal2vec.data.pairs.prepare import prepare
from causal2vec.errors import UserError
from causal2vec.evaluation.tasks import build_task_data, get_tasks, write_task_texts
from causal2vec.plan.preflight import check_measured, check_names

PAGE = (ROOT / "docs" / "own_data.md").read_text()
FILES = dict(re.findall(r"^`([\w/]+\.\w+)`\n\n```\w+\n(.*?)```$", PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^    (snakemake .*)$", PAGE, re.MULTILINE)


def written(folder: Path, files: dict[str, str] = FILES) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.timeout(900)
def test_the_documented_example_is_typed(tiny, tmp_path):
    """Its files, its configuration and its commands; the demo below it is one of tiny models."""
    assert len(FILES) == 9 and len(COMMANDS) == 2
    demo = configuration(tiny)
    demo["methods"] = {"causal2vec": demo["methods"]["causal2vec"]}
    demo |= {"mntp": None, "ablations": {}}
    demo["evaluation"]["shards"] = 2
    written(tmp_path, {**FILES, "config/demo.yaml": yaml.safe_dump(demo)})
    for command in COMMANDS:
        program, *words = shlex.split(command)
        line = [sys.executable, "-m", program, "--snakefile", ROOT / "Snakefile", *words,
                "--workflow-profile", ROOT / "profiles" / "default"]  # fmt: skip
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    [found] = tmp_path.glob("results/**/scores.csv")
    scores = pd.read_csv(found)
    assert set(scores.task) == {"FAQRetrieval", "TeamClassification", "SupportSTS"}
    assert {"ndcg_at_3", "accuracy", "cosine_spearman"} <= set(scores.metric)
    assert {path.stem for path in (found.parent / "items").glob("*.parquet")} == set(scores.task), "all have intervals"
    assert "FAQRetrieval" in (found.parent / "tables" / "tasks.md").read_text()
    [report] = (path for path in tmp_path.glob("work/**/pairs/report.json") if "shared" not in path.parts)
    about = json.loads(report.read_text())
    assert about["train"] == 12 and about["validation"] == 4 and set(about["sources"]) == {"faq", "same"}
    records = [json.loads(path.read_text())["tasks"] for path in sorted(tmp_path.glob("work/**/shard?/record.json"))]
    assert len(records) == 2 and all(records), "each shard has tasks of its own"
    tasks = records[0] | records[1]
    assert len(tasks) == 3
    asked = yaml.safe_load(FILES["mine.yaml"])["evaluation"]["own_tasks"]
    assert asked["FAQRetrieval"]["prompt"] in tasks["FAQRetrieval"]["prompts"]["query"]
    assert tasks["FAQRetrieval"]["prompts"]["document"] == ""
    (tmp_path / "my_data" / "similar.csv").write_text(FILES["my_data/similar.csv"] + "a parcel,a box,3\n")
    done = subprocess.run([*line, "-n"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "prepare_tasks" in done.stdout, "a file that changed is read again"


def overlay(**more) -> list[Path] | dict:
    return DEMO | more


# Pairs


ROWS = [(f"question {i}?", f"answer number {i}", f"wrong {i}") for i in range(12)]


def as_file(folder: Path, kind: str, names=("query", "positive"), rows=ROWS) -> Path:
    path = folder / f"pairs.{kind}"
    rows = [dict(zip(names, row, strict=False)) for row in rows]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    with gzip.open(path, "wt") if kind.endswith("gz") else path.open("w", encoding="utf-8") as file:
        if "jsonl" in kind:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, names, delimiter="\t" if "tsv" in kind else ",", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    return path


def prepared(folder: Path, files: dict, **more) -> tuple[dict, pd.DataFrame]:
    pairs = Pairs(kind="files", files=files, validation=2, decontaminate_ngram=None, **more)
    report = prepare(pairs, folder, folder / "out", eval_texts=[])
    return report, pd.read_parquet(folder / "out" / "train.parquet")


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "tsv", "jsonl", "jsonl.gz", "parquet"])
def test_every_format_gives_the_same_pairs(kind, tmp_path):
    report, table = prepared(tmp_path, {"mine": {"paths": str(as_file(tmp_path, kind))}})
    assert report["train"] == 10 and set(table["source"]) == {"mine"}
    assert set(zip(table["query"], table["positive"], strict=True)) < {row[:2] for row in ROWS}
    assert list(pd.read_parquet(tmp_path / "out" / "validation.parquet").columns)[:4] == list(table.columns)[:4]


def test_columns_of_other_names_many_files_negatives_and_amounts(tmp_path):
    names = ("frage", "antwort", "falsch")
    for part in range(2):
        as_file(tmp_path, "csv", names, ROWS[part::2]).rename(tmp_path / f"part_{part}.csv")
    (tmp_path / "more.csv").write_bytes('\ufefffrage;antwort;falsch\n"a; b";c;\nd;e;f\n'.encode())
    files = {"mine": {"paths": [str(tmp_path / "part_*.csv"), str(tmp_path / "more.csv")], "columns": names}}
    report, table = prepared(tmp_path, files, negatives=1)
    assert report["sources"]["mine"]["lines"] == 14 and report["sources"]["mine"]["dropped_without_negative"] == 1
    assert all(table["negative_1"].str.startswith(("wrong", "f"))) and report["train"] == 11
    few, _ = prepared(tmp_path, {"mine": files["mine"] | {"amount": 5, "columns": names[:2]}})
    assert few["sources"]["mine"]["not_drawn"] == 9 and few["train"] == 3


def test_a_list_of_negatives_in_json_and_a_name_of_a_public_mix(tmp_path):
    (tmp_path / "n.jsonl").write_text(
        "".join(json.dumps({"query": a, "positive": b, "negative": [c, c + "!"]}) + "\n" for a, b, c in ROWS)
    )
    _, table = prepared(tmp_path, {"allnli": {"paths": str(tmp_path / "n.jsonl")}}, negatives=2)
    assert set(table["source"]) == {"allnli"}, "only the public mix of that name becomes two"
    assert (table["negative_1"] + "!" == table["negative_2"]).all()


def test_instructions_of_own_pairs_reach_the_training():
    files = {
        "faq": {"paths": "a.csv", "instruction": "Find the answer"},
        "same": {"paths": "b.csv", "instruction": "Find the same", "symmetric": True},
        "bible": {"paths": "c.csv", "symmetric": False},
    }
    left = {name: amount for name, amount in DEMO["pairs"]["sources"].items() if name != "bible"}
    config = load_config(DEMO | {"pairs": {"kind": "files", "files": files, "sources": left}})
    assert config.pairs.sources == dict.fromkeys(files, 1.0), "the demo's own sources are not read"
    assert load_config(config.model_dump()) == config
    prompts = study_prompts(config)
    assert "Find the answer" in prompts.for_training("faq")["query"] and prompts.for_training("faq")["positive"] == ""
    assert prompts.for_training("same")["query"] == prompts.for_training("same")["positive"] != ""
    assert prompts.for_training("bible")["query"] and not prompts.for_training("bible")["positive"]
    assert study_prompts(load_config(DEMO)).for_training("bible")["positive"], "elsewhere it stays as it was"


PAIR_FAULTS = {
    "no file": (None, {}, r"pairs\.files\.mine: there is no file .*m\.csv; correct its name"),
    "another kind": (("m.txt", "a"), {}, r"m\.txt is none of \.csv, \.tsv, \.jsonl, \.parquet; convert it"),
    "empty": (("m.csv", ""), {}, r"m\.csv holds no row; fill it"),
    "a header only": (("m.csv", "query,positive\n"), {}, r"m\.csv holds no row; fill it"),
    "no column": (("m.csv", "question,answer\na,b\n"), {}, r"no column 'query'.*as in pairs\.files\.mine\.columns"),
    "a wrong column": (
        ("m.csv", "question,answer\na,b\n"), {"columns": ["question", "anwser"]},
        r"no column 'anwser' \(did you mean 'answer'\?\); correct pairs\.files\.mine\.columns",
    ),
    "an empty text": (("m.csv", "query,positive\na,b\nc,\n"), {}, r"m\.csv line 3 has an empty 'positive'; fill it"),
    "NaN": (("m.csv", "query,positive\na,b\nnan,d\n"), {}, r"m\.csv line 3 has an empty 'query'; fill it"),
    "NaN in JSON": (("m.jsonl", '{"query": NaN, "positive": "a"}\n'), {}, r"line 1 has an empty 'query'"),
    "a number": (("m.jsonl", '{"query": 3, "positive": "a"}\n'), {}, r"line 1 has int as 'query', not text"),
    "bad JSON": (("m.jsonl", '{"query": "a", "positive": "b"}\n{\n'), {}, r"m\.jsonl line 2 is not JSON"),
    "no object": (("m.jsonl", "[1]\n"), {}, r"m\.jsonl line 1 is no JSON object; write one"),
    "too many fields": (("m.csv", "query,positive\na,b,c\n"), {}, r"line 2 has more fields than .* or quote"),
    "too few fields": (("m.csv", "query,positive\na\n"), {}, r"line 2 has fewer fields"),
    "an open quote": (("m.csv", 'query,positive\n"a,b\n'), {}, r"is not well quoted .* double those"),
    "two columns of a name": (("m.csv", "query,query\na,b\n"), {}, r"two columns 'query'; rename"),
    "another encoding": (("m.csv", "query,positive\ngrün,b\n".encode("latin-1")), {}, r"m\.csv is not UTF-8 .*convert"),
    "no parquet": (("m.parquet", "query"), {}, r"m\.parquet cannot be read .*get the file again"),
    "half a gzip": (("m.csv.gz", gzip.compress(b"query,positive\na,b\n" * 99)[:30]), {}, r"cannot be read .*again"),
    "negatives that nobody asked for": (
        ("m.csv", "query,positive,negative\na,b,c\n"), {},
        r"'negative' holds hard negatives, but pairs\.negatives is 0; set it to 1, or .*\[query, positive\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("file", "more", "words"), PAIR_FAULTS.values(), ids=PAIR_FAULTS)
def test_bad_pairs_are_one_sentence(file, more, words, tmp_path):
    name, content = file or ("m.csv", None)
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=words) as error:
        prepared(tmp_path, {"mine": {"paths": str(tmp_path / name), **more}})
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


# Tasks


def own(folder: Path, **changes) -> dict[str, OwnTask]:
    """One task of every type."""
    rng, words = np.random.default_rng(0), ["apple", "river", "stone", "cloud", "tiger", "engine"]

    def text(word: str) -> str:
        return " ".join([word, *rng.choice(words, 4)])

    def table(name: str, columns: str, rows) -> str:
        pd.DataFrame(list(rows), columns=columns.split()).to_csv(folder / name, index=False)
        return str(folder / name)

    labelled = [(text(words[i % 2]), words[i % 2]) for i in range(40)]
    tasks = {
        "OwnRetrieval": {
            "type": "Retrieval", "prompt": "Find it",
            "queries": table("queries.csv", "id text", [(f"q{i}", text(words[i % 6])) for i in range(12)]),
            "corpus": table("corpus.csv", "id title text", [(i, f"T{i}", text(words[i % 6])) for i in range(20)]),
            "qrels": table("qrels.csv", "query_id document_id", [(f"q{i}", i) for i in range(10)]),
        },
        "OwnSTS": {
            "type": "STS", "languages": "deu-Latn",
            "pairs": table("sts.csv", "sentence1 sentence2 score", [(text("a"), text("b"), i / 4) for i in range(12)]),
        },
        "OwnPairs": {
            "type": "PairClassification",
            "pairs": table("pairs.csv", "sentence1 sentence2 label", [(text("a"), text("b"), i % 2) for i in range(9)]),
        },
        "OwnClassification": {
            "type": "Classification", "columns": {"text": "body", "label": "topic"},
            "train": table("train.csv", "body topic", labelled),
            "test": table("test.csv", "body topic", labelled[::-1]),
        },
        "OwnClustering": {"type": "Clustering", "texts": table("texts.csv", "text label", labelled)},
    }  # fmt: skip
    for path, value in changes.items():
        name, key = path.split("__")
        tasks[name][key] = value
    return {name: OwnTask.model_validate(task) for name, task in tasks.items()}


class Counts:
    """Words counted: an encoder of mteb's protocol."""

    def __new__(cls):
        from mteb.models.abs_encoder import AbsEncoder
        from mteb.models.model_meta import ModelMeta

        class Encoder(AbsEncoder):
            def __init__(self):
                self.mteb_model_meta = ModelMeta.create_empty(overwrites={"name": "a/b", "revision": "x"})

            def encode(self, inputs, **options):
                texts = [text for batch in inputs for text in batch["text"]]
                vectors = np.zeros((len(texts), 32))
                for row, text in enumerate(texts):
                    for word in text.split():
                        vectors[row, sum(word.encode()) % 32] += 1
                return vectors

        return Encoder()


def test_own_tasks_are_tasks_of_mteb(tmp_path):
    import mteb

    tasks = own(tmp_path)
    report = build_task_data(None, tmp_path / "data", tasks)
    assert report["tasks"]["OwnRetrieval"]["rows"] == {"queries": 10, "corpus": 20, "relevance": 10}
    found = {task.metadata.name: task for task in get_tasks(list(tasks), tmp_path / "data")}
    assert list(found) == list(tasks)
    for name, task in found.items():
        result = mteb.evaluate(Counts(), task, cache=None, show_progress_bar=False).task_results[0]
        [scores] = result.scores["test"]
        assert scores["main_score"] == scores[task.metadata.main_score]
        assert not [metric for metric in METRICS[task.metadata.type] if metric not in scores], "every metric is one"
        assert result.dataset_revision == task.metadata.dataset["revision"] and result.task_name == name
    assert found["OwnRetrieval"].metadata.prompt == {"query": "Find it"}
    assert found["OwnSTS"].metadata.eval_langs == ["deu-Latn"]
    assert (found["OwnSTS"].min_score, found["OwnSTS"].max_score) == (0, 2.75)
    classifier = found["OwnClassification"]
    assert (classifier.samples_per_label, classifier.n_experiments) == (8, 10), "as docs/own_data.md says"
    before = found["OwnSTS"].metadata.dataset["revision"]
    again = own(tmp_path)
    (tmp_path / "sts.csv").write_text((tmp_path / "sts.csv").read_text() + "one,more,1\n")
    build_task_data(None, tmp_path / "data", again)
    [task] = get_tasks(["OwnSTS"], tmp_path / "data")
    assert task.metadata.dataset["revision"] != before, "other data, other revision"
    assert write_task_texts(["OwnRetrieval", "OwnSTS"], tmp_path / "data", tmp_path / "texts.parquet") > 40


def test_a_plan_knows_own_tasks_before_they_are_prepared(tmp_path):
    from causal2vec.evaluation.costs import task_costs

    tasks = own(tmp_path)
    names = ["LeeNewsSTS", *tasks]
    costs = task_costs(names, tmp_path, tasks=get_tasks(names, tmp_path, own=tasks))
    assert list(costs) == names and costs["OwnSTS"] == costs["LeeNewsSTS"], "the median of what is known"
    build_task_data(None, tmp_path / "data", tasks)
    assert task_costs(["OwnSTS"], tmp_path / "data")["OwnSTS"].texts == 24


QRELS = "query_id,document_id,score\n"
TASK_FAULTS = {
    "no column": ("queries.csv", "number,text\n1,a\n", r"no column 'id'.*own_tasks\.OwnRetrieval\.columns"),
    "no query": ("queries.csv", "id,text\n", r"queries\.csv holds no row"),
    "an id twice": ("queries.csv", "id,text\nq0,a\nq0,b\n", r"queries\.csv line 3 has the id 'q0', which another row"),
    "a document's id twice": ("corpus.csv", "id,text\n0,a\n0,b\n", r"corpus\.csv line 3 has the id '0', which another"),
    "no id": ("queries.csv", "id,text\n,a\n", r"queries\.csv line 2 has no text in 'id'"),
    "an empty query": ("queries.csv", "id,text\nq0,\n", r"queries\.csv line 2 has no text in 'text' \(it is empty"),
    "NaN as text": ("queries.csv", "id,text\nq0,NaN\n", r"queries\.csv line 2 has no text in 'text'"),
    "an empty document": ("corpus.csv", "id,title,text\n0,,\n", r"corpus\.csv line 2 has no text in 'text'"),
    "an unknown query": ("qrels.csv", QRELS + "q99,1,1\n", r"qrels\.csv line 2 names 'q99', which is no id in queries"),
    "an unknown document": ("qrels.csv", QRELS + "q1,1,1\nq1,99,1\n", r"line 3 names '99', which is no id in corpus"),
    "judged twice": ("qrels.csv", QRELS + "q1,1,1\nq1,1,2\n", r"line 3 judges the pair .* of .*line 2 again; remove"),
    "half a judgement": ("qrels.csv", QRELS + "q1,1,0.5\n", r"qrels\.csv line 2 has the score 0\.5, which is no whole"),
    "NaN as judgement": ("qrels.csv", QRELS + "q1,1,nan\n", r"qrels\.csv line 2 has 'nan' as 'score', which is no"),
    "nothing relevant": ("qrels.csv", QRELS + "q1,1,0\n", r"no score above 0, so that no query has an answer"),
    "a score that is none": ("sts.csv", "sentence1,sentence2,score\na,b,x\n", r"sts\.csv line 2 has 'x' as 'score'"),
    "an endless score": ("sts.csv", "sentence1,sentence2,score\na,b,inf\n", r"sts\.csv line 2 has 'inf' as 'score'"),
    "scores alike": ("sts.csv", "sentence1,sentence2,score\na,b,1\nc,d,1.0\n", r"sts\.csv: all scores are 1\.0, so"),
    "a label that is none": ("pairs.csv", "sentence1,sentence2,label\na,b,2\n", r"line 2 has '2' as 'label'; write 1"),
    "labels of pairs alike": ("pairs.csv", "sentence1,sentence2,label\na,b,1\n", r"pairs\.csv: all labels are 1; give"),
    "one class": ("train.csv", "body,topic\na,x\nb,x\n", r"train\.csv: all texts have the label 'x'; give"),
    "a class never learnt": ("test.csv", "body,topic\na,zebra\n", r"test\.csv line 2 has the label 'zebra'.*training"),
    "one cluster": ("texts.csv", "text,label\na,x\n", r"texts\.csv: all texts have the label 'x'"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "content", "words"), TASK_FAULTS.values(), ids=TASK_FAULTS)
def test_bad_task_files_are_one_sentence(file, content, words, tmp_path):
    tasks = own(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(UserError, match=words) as error:
        build_task_data(None, tmp_path / "data", tasks)
    assert "\n" not in str(error.value) and not (tmp_path / "data").exists()


def test_a_language_that_mteb_does_not_know_is_named(tmp_path):
    with pytest.raises(UserError, match=r"evaluation\.own_tasks\.OwnSTS\.languages: .*qqq-Latn"):
        build_task_data(None, tmp_path / "data", own(tmp_path, OwnSTS__languages=["qqq-Latn"]))


def test_a_name_of_mteb_is_taken(tmp_path):
    with pytest.raises(UserError, match=r"own_tasks\.STS12: a task of mteb is called so already"):
        build_task_data(None, tmp_path / "data", {"STS12": own(tmp_path)["OwnSTS"]})


STS = {"type": "STS", "pairs": "a.csv"}
SETTINGS = {
    "no type": ({"pairs": "a.csv"}, r"own_tasks\.Mine\.type' is missing"),
    "another type": (STS | {"type": "Reranking"}, r"own_tasks\.Mine\.type: Input should be 'Retrieval', 'STS'"),
    "no file": ({"type": "Retrieval", "queries": "q"}, r"Mine: a task of type Retrieval also needs corpus and qrels"),
    "a file of others": (STS | {"corpus": "c"}, r"Mine: a task of type STS has no corpus, only pairs; remove it"),
    "a metric of others": (STS | {"metric": "accuracy"}, r"metric 'accuracy' is none of STS; take one of cosine"),
    "a column of others": (STS | {"columns": {"label": "x"}}, r"columns\.label is none of a STS task, which has"),
    "a language by its name": (STS | {"languages": "German"}, r"languages\.0: 'German' is no language with its script"),
}  # fmt: skip


@pytest.mark.parametrize(("task", "words"), SETTINGS.values(), ids=SETTINGS)
def test_bad_settings_of_tasks_are_named(task, words):
    with pytest.raises(UserError, match=words):
        load_config(changed("evaluation/own_tasks", {"Mine": task}))


PAIRS = {
    "no files": ({"kind": "files"}, r"pairs: kind 'files' also needs files"),
    "files of another kind": ({"files": {"a": {"paths": "x"}}}, r"files are for kind 'files', but kind is 'packages'"),
    "one column": ({"kind": "files", "files": {"a": {"paths": "x", "columns": ["q"]}}}, r"a\.columns: .*at least 2"),
    "no path": ({"kind": "files", "files": {"a": {}}}, r"pairs\.files\.a\.paths' is missing"),
    "an amount elsewhere": (
        {"kind": "files", "files": {"bible": {"paths": "x"}}},
        r"sources\.bible: how much of your own files is read stands in files\.bible\.amount",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("pairs", "words"), PAIRS.values(), ids=PAIRS)
def test_bad_settings_of_pairs_are_named(pairs, words):
    with pytest.raises(UserError, match=words):
        load_config(DEMO | {"pairs": DEMO["pairs"] | pairs})


def test_names_and_measurements_are_checked_before_any_job():
    for name in ("STS12", "MTEB(eng, v1)"):
        with pytest.raises(UserError, match="own_tasks"):
            check_names(load_config(changed("evaluation/own_tasks", {name: STS})))
    with pytest.raises(UserError, match=r"own_tasks\.LeeNewsSTS: a packaged task is called so already"):
        load_config(changed("evaluation/own_tasks", {"LeeNewsSTS": STS}))
    mine = DEMO["evaluation"] | {"own_tasks": {"Mine": STS}, "tasks": ["Mine"]}
    config = load_config(DEMO | {"evaluation": mine})
    check_names(config)
    assert "1 of 1 task are our own" in config.scale_note
    with pytest.raises(UserError, match=r"efficiency\.tasks: RecipeRetrieval is not evaluated; name it"):
        check_measured(config)
    with pytest.raises(UserError, match=r"efficiency\.texts is 32, but pairs\.validation only 4; lower it or raise"):
        check_measured(load_config(changed("pairs/validation", 4)))
    check_measured(load_config(DEMO))
