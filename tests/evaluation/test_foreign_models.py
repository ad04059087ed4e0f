"""Other people's SentenceTransformers get the scores that mteb's own wrapper gives them, whatever they bring along."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import mteb
import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from conftest import TEXTS, build, make_tokenizer
from mteb.types import PromptType
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from test_training import run_of
from transformers import AutoModel, AutoTokenizer

from causal2vec.config import Budget, ModelSource
from causal2vec.config.prompts import Prompts
from causal2vec.errors import UserError
from causal2vec.evaluation.encoder import PromptedEncoder, model_meta
from causal2vec.evaluation.run import Evaluating, evaluate_model
from causal2vec.evaluation.tasks import packaged
from causal2vec.evaluation.tasks.packaged import task_metadata
from causal2vec.models.folder import load_model, save_model
from causal2vec.models.prepare import prepare_model
from causal2vec.plan.preflight import check_positions
from causal2vec.runtime.files import read_json
from causal2vec.training.contrastive import make_model
from causal2vec.training.job import Job

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
    what = Evaluating(list(tasks), tmp_path, tmp_path / "out", tmp_path / "state", None, progress=False)
    evaluate_model(model, "a/b", "c", what, {})
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


@pytest.mark.parametrize("text", [None, 3, 2.5, ["a", "b"], {"a": 1}, b"bytes", float("nan")])
def test_input_that_is_no_text_is_named(text, tiny, tasks):
    encoder = PromptedEncoder(sentence_model(tiny["encoder"]), model_meta("a/b", "c", 24, 128), None, 8)
    with pytest.raises(UserError, match="a/b cannot embed NFCorpus: only strings can be embedded"):
        encoder.encode([{"text": ["fox", text]}], task_metadata=tasks["NFCorpus"].metadata, hf_split="", hf_subset="")


def test_lone_surrogate_is_read_as_a_question_mark(tiny, tasks):
    encoder = PromptedEncoder(sentence_model(tiny["encoder"]), model_meta("a/b", "c", 24, 128), None, 8)
    one, other = encoder.encode([{"text": ["fox \ud800", "fox ?"]}], task_metadata=tasks["NFCorpus"].metadata,
                                hf_split="", hf_subset="")  # fmt: skip
    assert np.array_equal(one, other)


def test_task_with_a_hole_in_its_data_is_named(tiny, tasks, tmp_path, monkeypatch):
    name, table, column = "STSBenchmark", "test", "sentence1"
    task = tasks[name]
    shutil.copytree(task.data_folder / name, tmp_path / name)
    rows = pd.read_parquet(tmp_path / name / f"{table}.parquet")
    rows.loc[3, column] = None
    rows.to_parquet(tmp_path / name / f"{table}.parquet")
    own = {name: type(name, (task,), {"data_folder": tmp_path})}
    with pytest.raises(UserError, match=f"cannot embed {name}: "):
        our_scores(sentence_model(tiny["encoder"]), own, tmp_path, monkeypatch)


def saved(config, folder: Path, **settings) -> Path:
    """A SentenceTransformer with random weights, as others save it."""
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder / "bare")
    make_tokenizer(folder / "bare", bos=False)
    sentence_model(folder / "bare", **settings).save_pretrained(str(folder / "model"))
    return folder / "model"


SIZES = {"vocab_size": 600, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
         "intermediate_size": 64, "max_position_embeddings": 34}  # fmt: skip
LONG = "fox " * 200


@pytest.mark.parametrize(("kind", "longest"), [("Roberta", 32), ("XLMRoberta", 32), ("MPNet", 32), ("Bert", 34)])
def test_texts_are_cut_where_positions_end(kind, longest, tmp_path):
    """RoBERTa's kin say that they have two more than they have."""
    more = {} if kind == "Bert" else {"pad_token_id": 1}
    model = load_model(str(saved(getattr(transformers, f"{kind}Config")(**SIZES, **more), tmp_path)), "cpu", "float32")
    assert model.max_seq_length == longest
    assert np.isfinite(model.encode([LONG])).all()


def test_length_beyond_the_positions_is_found_at_the_start(tmp_path):
    folder = saved(transformers.BertConfig(**SIZES), tmp_path)
    with pytest.raises(UserError, match=r"1024 tokens.* BertModel has positions for 34; lower --max-length"):
        load_model(str(folder), "cpu", "float32", max_length=1024)
    assert load_model(str(folder), "cpu", "float32", max_length=30).max_seq_length == 30


def test_length_beyond_the_positions_of_a_base_is_found_when_it_is_built(tmp_path):
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=600, n_embd=32, n_layer=1, n_head=4, n_positions=64)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    make_tokenizer(tmp_path, bos=True)
    parts = {"llm": tmp_path}
    with pytest.raises(UserError, match=r"128 tokens .* GPT2Model has positions for 64"):
        build("last_token", parts)
    with pytest.raises(UserError, match=r"72 tokens .* GPT2Model has positions for 64"):
        build("in_context", parts, max_seq_length=32, examples_max_length=40)
    module = build("last_token", parts, max_seq_length=64)
    assert torch.isfinite(module(module.preprocess([LONG]))["sentence_embedding"]).all()
    save_model(
        module, tmp_path / "model", manifest={"method": "m", "base": "b", "seed": 0, "trained": False}, records={}
    )
    with pytest.raises(UserError, match="GPT2Model has positions for 64"):
        load_model(str(tmp_path / "model"), "cpu", "float32", max_length=65)


def test_length_of_the_evaluation_beyond_a_base_is_found_before_any_training(tiny, tmp_path):
    """By the plan, and by every job, once the base is prepared; and by a training that was started by hand."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=600, n_embd=32, n_layer=1, n_head=4, n_positions=64)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "from")
    make_tokenizer(tmp_path / "from", bos=True)
    models = tmp_path / "models"
    prepare_model("gpt", ModelSource(kind="llm", source="local", path=str(tmp_path / "from")), models / "gpt")
    prepare_model("tiny", ModelSource(kind="llm", source="local", path=str(tiny["llm"])), models / "tiny")
    assert [read_json(models / name / "source.json")["positions"] for name in ("gpt", "tiny")] == [64, None]
    budget = Budget(steps=2, batch_size=4, max_length=32, lora={"rank": 2, "alpha": 4, "targets": ["c_attn"]})
    run = run_of("last_token").model_copy(update={"base": "gpt", "max_length": 100, "budget": budget})
    with pytest.raises(
        UserError, match=r"evaluation\.max_length is 100, but gpt has positions for 64 tokens; lower it"
    ):
        check_positions([run], models)
    check_positions([run.model_copy(update={"base": name}) for name in ("tiny", "unknown")], models)
    check_positions([run.model_copy(update={"max_length": 64})], models)
    for trained in (True, False):
        one = run.model_copy(update={"trained": trained})
        with pytest.raises(UserError, match=r"last_token on gpt: texts of up to 100 tokens .* has positions for 64"):
            where = {"pairs": tmp_path / "no pairs", "output": tmp_path / "m", "state": tmp_path / "s"}
            make_model(Job(run=one, folders={"llm": models / "gpt"}, prompts=Prompts(), **where))


def test_encoder_of_a_method_is_cut_where_its_positions_end(tmp_path):
    torch.manual_seed(0)
    AutoModel.from_config(transformers.RobertaConfig(**SIZES, pad_token_id=1)).save_pretrained(tmp_path)
    make_tokenizer(tmp_path, bos=False)
    module = build("encoder_only", {"encoder": tmp_path})
    assert torch.isfinite(module(module.preprocess([LONG]))["sentence_embedding"]).all()


def with_pad_beyond(folder: Path) -> Path:
    """A tokenizer with a padding token of its own, for which the embedding was never made larger."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<one more>"})
    tokenizer.add_tokens([f"<more {number}>" for number in range(600 - len(tokenizer))])
    tokenizer.add_special_tokens({"pad_token": "<beyond>"})
    assert tokenizer.pad_token_id == 600
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("method", ["last_token", "encoder_only", "causal2vec"])
def test_padding_token_without_a_vector_does_no_harm(method, tiny, tmp_path):
    parts = {}
    for part, folder in tiny.items():
        shutil.copytree(folder, tmp_path / part)
        parts[part] = with_pad_beyond(tmp_path / part)
    module, expected = build(method, parts), build(method, tiny)
    module.load_state_dict(expected.state_dict())  # the projection begins at random
    for backend in ("sdpa", "eager"):
        for part in module.parts:
            getattr(module, part).set_attn_implementation(backend)
        found, wanted = (m(m.preprocess(TEXTS))["sentence_embedding"] for m in (module, expected))
        assert torch.allclose(found, wanted, atol=1e-5)


def test_padding_token_without_a_vector_does_no_harm_in_other_peoples_models(tmp_path):
    folder = saved(transformers.BertConfig(**{**SIZES, "max_position_embeddings": 128}), tmp_path)
    expected = load_model(str(folder), "cpu", "float32").encode(TEXTS)
    with_pad_beyond(folder)
    model = load_model(str(folder), "cpu", "float32")
    assert np.allclose(model.encode(TEXTS), expected, atol=1e-5)


def test_end_token_without_a_vector_is_refused(tiny, tmp_path):
    shutil.copytree(tiny["llm"], tmp_path / "llm")
    with_pad_beyond(tmp_path / "llm")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "llm")
    tokenizer.eos_token = "<beyond>"
    tokenizer.save_pretrained(tmp_path / "llm")
    with pytest.raises(UserError, match=r"eos_token is number 600, .* vectors for 600 tokens"):
        build("last_token", {"llm": tmp_path / "llm"})
