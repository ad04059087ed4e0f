"""The Contextual token's first value, its alignment with the frozen LLM, and the search that judges them."""

from __future__ import annotations

import json
from collections import Counter

import pandas as pd
import pytest
import torch
from conftest import ROOT, TEXTS, build

from causal2vec.config import Alignment, load_config
from causal2vec.config.runs import runs_of
from causal2vec.embedder import mean_pool
from causal2vec.errors import UserError
from causal2vec.training import search
from causal2vec.training.alignment import Computing, pretrain_alignment
from causal2vec.training.contrastive import PROJECTION, prepare_token

SOME = [f"{text} {number}" for number in range(20) for text in TEXTS]


def tokens(module, texts=SOME):
    with torch.no_grad():
        return module.contextual_token(module.preprocess(texts))


def cosine(vectors):
    unit = torch.nn.functional.normalize(vectors, dim=1)
    return float(((unit @ unit.T).sum() - len(unit)) / (len(unit) * (len(unit) - 1)))


@pytest.mark.parametrize("start", ["random", "centred", "whitened", "token_mean"])
def test_the_token_starts_as_long_as_asked(start, tiny):
    module = build("causal2vec", tiny, token_start=start, token_length=16)
    module.fit_token(SOME)
    own = module.llm.get_input_embeddings().weight.detach().norm(dim=1).mean()
    length = float(tokens(module).norm(dim=1).mean() / own)
    assert length == pytest.approx(16, rel=0.5 if start == "random" else 1e-3)


def test_centred_and_whitened_tokens_have_nothing_in_common(tiny):
    found = {}
    for start in ("random", "centred", "whitened"):
        module = build("causal2vec", tiny, token_start=start)
        module.fit_token(SOME)
        found[start] = cosine(tokens(module))
    assert found["random"] > 0.3 and abs(found["centred"]) < 0.05 and abs(found["whitened"]) < 0.05


def test_token_mean_is_like_the_texts_own_tokens(tiny):
    module = build("causal2vec", tiny, token_start="token_mean")
    module.fit_token(SOME)
    features = module.preprocess(SOME)
    with torch.no_grad():
        own = mean_pool(module.llm.get_input_embeddings()(features["input_ids"]), features["roles"] == 1)
        made = module.contextual_token(features)
    assert torch.nn.functional.cosine_similarity(own, made).mean() > 0.9


def test_halves_of_length_one(tiny):
    module = build("causal2vec", tiny, unit_halves=True)
    with torch.no_grad():
        vectors = module(module.preprocess(TEXTS))["sentence_embedding"]
    assert torch.allclose(vectors.unflatten(1, (2, -1)).norm(dim=2), torch.ones(len(TEXTS), 2), atol=1e-5)


@pytest.mark.parametrize("setting", [{"token_start": "zero"}, {"token_length": 0}])
def test_bad_starts_are_refused(setting, tiny):
    with pytest.raises(UserError, match=next(iter(setting))):
        build("causal2vec", tiny, **setting)


def test_where_a_text_ends_is_the_users_to_say(tiny):
    module = build("last_token", tiny, end="<unk>")
    unknown = module.tokenizers["llm"].convert_tokens_to_ids("<unk>")
    assert (module.preprocess(TEXTS)["input_ids"][:, -1] == unknown).all()
    with pytest.raises(UserError, match="end is '<nothing>'"):
        build("last_token", tiny, end="<nothing>")


def test_how_many_examples_are_shown_is_the_users_to_say(tiny):
    prompt = "".join(f"<instruct>t\n<query>{n}\n<response>r{n}\n\n" for n in range(3)) + "<instruct>t\n<query>"
    lengths = [
        build("in_context", tiny, most_examples=most).preprocess(["x"], prompt)["input_ids"].shape[1]
        for most in (0, 1, 2, None)
    ]
    bare = build("in_context", tiny, shows_examples=False).preprocess(["x"], prompt)["input_ids"].shape[1]
    assert lengths[0] == bare and lengths[0] < lengths[1] < lengths[2] < lengths[3]


# ---- alignment


@pytest.fixture
def run():
    plain = load_config(ROOT / "config" / "demo.yaml")
    return next(run for run in runs_of(plain) if run.method == "causal2vec")


@pytest.fixture
def pairs(tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    words = "apple river stone cloud paper music winter garden".split()  # noqa: SIM905
    rows = [
        {"query": f"{a} {b}", "positive": f"a {a} of {b}", "source": "a", "pair_id": f"{a}{b}"}
        for a in words
        for b in words
    ]
    pd.DataFrame(rows).to_parquet(folder / "train.parquet")
    return folder


@pytest.mark.parametrize("objective", ["swap", "state", "bag", "text"])
def test_alignment_teaches_the_token_and_leaves_the_llm(objective, run, tiny, pairs, tmp_path):
    stage = Alignment(steps=30, batch_size=8, max_length=48, objective=objective, learning_rate=1e-2, encoder_rate=1e-3)
    output = tmp_path / "aligned"
    pretrain_alignment(run, tiny, pairs, stage, output, tmp_path / "state", Computing())
    record = json.loads((output / "alignment.json").read_text())
    losses = [entry["loss"] for entry in record["loss"]]
    assert len(losses) == 30 and sum(losses[-5:]) < sum(losses[:5]) and record["objective"] == objective
    assert (output / PROJECTION).is_file() and not (tmp_path / "state").exists()
    # The training that follows begins with the taught MLP and encoder, not with a fitted one.
    aligned = {**tiny, "encoder": output}
    module = build("causal2vec", aligned, token_start="whitened")
    before = tokens(module)
    prepare_token(module, aligned, pairs)
    fitted = build("causal2vec", tiny, token_start="whitened")
    prepare_token(fitted, tiny, pairs)
    assert not torch.allclose(before, tokens(module)) and not torch.allclose(tokens(fitted), tokens(module), atol=1e-3)


def test_alignment_needs_a_token(run, tiny, pairs, tmp_path):
    spec = run.spec.model_copy(update={"module": "baselines.last_token.LastToken"})
    other = run.model_copy(update={"spec": spec, "settings": {}})
    stage = Alignment(steps=1, batch_size=8, max_length=48)
    with pytest.raises(UserError, match="has no Contextual token"):
        pretrain_alignment(other, tiny, pairs, stage, tmp_path / "a", tmp_path / "s", Computing())


# ---- the search


def test_every_method_gets_as_many_trials():
    trials = search.trials_of(search.load_trials(ROOT / "config" / "trials.yaml"))
    counts = Counter((trial.scale, trial.method) for trial in trials)
    methods = load_config(ROOT / "config" / "demo.yaml").methods
    assert {method for scale, method in counts if scale == "demo"} == set(methods)
    for scale in {scale for scale, _ in counts}:
        assert len({count for (where, _), count in counts.items() if where == scale}) == 1, scale
    assert len({trial.name for trial in trials}) == len(trials), "no trial is counted twice"


def test_every_trial_is_a_valid_configuration():
    config, source = load_config(ROOT / "config" / "demo.yaml"), search.load_trials(ROOT / "config" / "trials.yaml")
    for trial in search.trials_of(source):
        search.changed(config, source.models, trial)


def test_kept_results_are_of_planned_trials_and_in_the_docs(tmp_path):
    source = search.load_trials(ROOT / "config" / "trials.yaml")
    kept = ROOT / "docs" / "trials.jsonl"
    search.restore(kept, tmp_path)
    names = {trial.name for trial in search.trials_of(source)}
    assert {path.name for path in tmp_path.iterdir()} <= names
    search.write_results(source, tmp_path, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_text() == kept.read_text()
    assert (tmp_path / "again.md").read_text() == kept.with_suffix(".md").read_text()


def test_a_key_that_does_not_exist_is_refused():
    config = load_config(ROOT / "config" / "demo.yaml")
    trial = search.Trial(method="echo", scale="demo", seed=0, changes={"budget.stepps": 3})
    with pytest.raises(UserError, match="stepps"):
        search.changed(config, {}, trial)
