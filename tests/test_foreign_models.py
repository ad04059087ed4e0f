"""Other people's SentenceTransformers get the scores that mteb's own wrapper gives them, whatever they bring along."""

from __future__ import annotations

import json
import random
from pathlib import Path

import mteb
import numpy as np
import pandas as pd
import pytest
import torch
from mteb.types import PromptType
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from causal2vec.evaluation.encoder import PromptedEncoder, model_meta
from causal2vec.evaluation.run import evaluate_model
from causal2vec.evaluation.tasks import packaged
from causal2vec.evaluation.tasks.definitions import task_metadata

WORDS = "fox dog jumps lazy quick brown over the padding texts sentence longer different mix short batches".split()  # noqa: SIM905
KINDS = {  # names that mteb knows, as it drops prompts of tasks that it does not know
    "NFCorpus": ("Retrieval", packaged.PackagedRetrieval),
    "STSBenchmark": ("STS", packaged.PackagedSTS),
    "Banking77Classification": ("Classification", packaged.PackagedClassification),
}
TABLES = {
    "none": {},
    "sides": {"query": "query: ", "document": "the text of a page: "},
    "query alone": {"query": "padding padding padding: "},
    "query by default": {"query": "padding padding padding: ", "document": "", "default": "query"},
    "task and side": {"NFCorpus-query": "fox ", "NFCorpus-document": "dog dog ", "query": "never "},
    "task": {"NFCorpus": "fox ", "STSBenchmark": "quick brown ", "Banking77Classification": "mix mix "},
    "type and side": {"Retrieval-query": "fox fox ", "Retrieval": "lazy ", "document": "dog "},
    "type": {"Retrieval": "fox ", "STS": "lazy lazy ", "Classification": "short short ", "query": "never "},
    "everything, defaulted": {
        "STS": "",
        "Retrieval-document": "",
        "NFCorpus": "over ",
        "query": "q ",
        "default": "STS",
    },
    "unknown names": {"web_search_query": "fox fox fox ", "passage": "dog ", "default": "web_search_query"},
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Three small tasks whose scores any change of a prompt moves."""
    data, draw = tmp_path_factory.mktemp("tasks"), random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(2, 12))) for _ in range(120)]
    ids = [str(number) for number in range(60)]
    tables = {
        "NFCorpus": {
            "queries": {"id": ids[:40], "text": [" ".join(text.split()[::-2]) for text in texts[:40]]},
            "corpus": {"id": ids, "title": [""] * 60, "text": texts[:60]},
            "relevance": {"query_id": ids[:40], "document_id": ids[:40], "score": [1] * 40},
        },
        "STSBenchmark": {
            "test": {
                "sentence1": texts[:60], "sentence2": texts[60:], "score": [draw.random() * 5 for _ in range(60)]
            }
        },
        "Banking77Classification": {
            split: {"text": texts[start : start + 60], "label": [text.count("e") % 2 for text in texts[start:][:60]]}
            for split, start in (("train", 0), ("test", 60))
        },
    }  # fmt: skip
    found = {}
    for name, (kind, base) in KINDS.items():
        (data / name).mkdir()
        for table, columns in tables[name].items():
            pd.DataFrame(columns).to_parquet(data / name / f"{table}.parquet")
        metadata = task_metadata(name, kind, "Small.", "botocore", reference="https://example.org", date=None,
                                 domains=None, license=None, task_subtypes=None)  # fmt: skip
        found[name] = type(name, (base,), {"metadata": metadata, "data_folder": data})
    return found


def sentence_model(folder: Path, **settings) -> SentenceTransformer:
    transformer = Transformer(str(folder))
    table = dict(settings.pop("prompts", {}))
    default = table.pop("default", None)
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), "mean")]
    return SentenceTransformer(modules=modules, prompts=table, default_prompt_name=default, device="cpu", **settings)


def their_scores(model, tasks) -> dict[str, float]:
    result = mteb.evaluate(model, [task() for task in tasks.values()], cache=None, show_progress_bar=False)
    return {part.task_name: round(float(part.get_score()), 6) for part in result.task_results}


def our_scores(model, tasks, tmp_path, monkeypatch) -> dict[str, float]:
    monkeypatch.setattr("causal2vec.evaluation.tasks.get_tasks", lambda *_: [task() for task in tasks.values()])
    evaluate_model(
        model, "a/b", "c", list(tasks), tmp_path, tmp_path / "out", tmp_path / "state", prompts=None, batch_size=32,
        record={}, progress=False,
    )  # fmt: skip
    files = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("out/results/*/*/*.json")}
    return {name: files[name]["scores"]["test"][0]["main_score"] for name in tasks}


@pytest.mark.parametrize("table", TABLES)
def test_every_table_of_prompts_gives_the_scores_of_mteb(table, tiny, tasks, tmp_path, monkeypatch):
    model = sentence_model(tiny["encoder"], prompts=TABLES[table])
    assert our_scores(model, tasks, tmp_path, monkeypatch) == their_scores(model, tasks)


def test_tables_give_other_scores_than_none(tiny, tasks):
    """Else the comparison above would see nothing."""
    found = {str(their_scores(sentence_model(tiny["encoder"], prompts=table), tasks)) for table in TABLES.values()}
    assert len(found) == len(TABLES)


def test_prompt_that_is_empty_is_passed_on_as_empty(tiny, tasks):
    model = sentence_model(tiny["encoder"], prompts=TABLES["query by default"])
    encoder = PromptedEncoder(model, model_meta("a/b", "c", 24, 128), None, 8)
    vectors = encoder.encode([{"text": ["fox"]}], task_metadata=tasks["NFCorpus"].metadata, hf_split="", hf_subset="",
                             prompt_type=PromptType.document)  # fmt: skip
    assert np.array_equal(vectors, model.encode(["fox"], prompt=""))
    assert encoder.used_prompts == {"NFCorpus": {"document": ""}}


def test_queries_and_documents_may_be_read_by_different_modules(tiny, tasks, tmp_path, monkeypatch):
    """A router sends them different ways, though the texts and prompts are the same."""
    from sentence_transformers.base.modules import Router

    first = list(sentence_model(tiny["encoder"]))
    other = list(sentence_model(tiny["encoder"]))
    with torch.no_grad():
        next(other[0].parameters()).mul_(-1)
    router = Router.for_query_document(query_modules=first, document_modules=other)
    model = SentenceTransformer(modules=[router], device="cpu")
    some = {"NFCorpus": tasks["NFCorpus"]}
    assert our_scores(model, some, tmp_path, monkeypatch) == their_scores(model, some)


@pytest.mark.parametrize("function", ["dot", "euclidean", "manhattan", "cosine"])
def test_similarity_is_the_models_own(function, tiny, tasks, tmp_path, monkeypatch):
    model = sentence_model(tiny["encoder"], similarity_fn_name=function)
    some = {name: tasks[name] for name in ("NFCorpus", "STSBenchmark")}
    if function in ("euclidean", "manhattan"):  # mteb 2.26 itself knows no such similarity of pairs
        some.pop("STSBenchmark")
    assert our_scores(model, some, tmp_path, monkeypatch) == their_scores(model, some)


def test_functions_of_similarity_give_different_scores(tiny, tasks):
    some = {"NFCorpus": tasks["NFCorpus"]}
    functions = ["dot", "euclidean", "manhattan", "cosine"]
    found = {str(their_scores(sentence_model(tiny["encoder"], similarity_fn_name=name), some)) for name in functions}
    assert len(found) == 4


@pytest.mark.parametrize("function", ["dot", "euclidean", "manhattan", "cosine"])
def test_similarity_of_pairs_is_the_models_own(function, tiny):
    model = sentence_model(tiny["encoder"], similarity_fn_name=function)
    encoder = PromptedEncoder(model, model_meta("a/b", "c", 24, 128, function), None, 8)
    one, two = (np.random.default_rng(seed).normal(size=(3, 24)).astype(np.float32) for seed in (0, 1))
    assert np.allclose(encoder.similarity_pairwise(one, two), model.similarity_pairwise(one, two))
    assert np.allclose(encoder.similarity(one, two), model.similarity(one, two))


def test_items_of_a_task_scored_by_the_models_own_similarity(tiny, tasks, tmp_path, monkeypatch):
    """mteb's other main score of STS."""
    task = tasks["STSBenchmark"]
    metadata = task.metadata.model_copy(update={"main_score": "spearman"})
    model = sentence_model(tiny["encoder"], similarity_fn_name="dot")
    own = {"STSBenchmark": type("STSBenchmark", (task,), {"metadata": metadata})}
    assert our_scores(model, own, tmp_path, monkeypatch) == their_scores(model, own)
    assert len(pd.read_parquet(tmp_path / "out" / "items" / "STSBenchmark.parquet")) == 60
