"""The audit of kept states: it must notice a token that nobody reads, and a state that is the same for all."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import METHODS, ROOT, build
from synthetic import write_study

from causal2vec.config.prompts import Prompts
from causal2vec.embedder import Role
from causal2vec.errors import UserError
from causal2vec.evaluation.audit import attention_to_token, audit, spread_of
from causal2vec.modeling_causal2vec import Causal2Vec
from causal2vec.models.folder import save_model
from causal2vec.reporting.analysis.audits import ignored_tokens, read_audit
from causal2vec.reporting.analysis.claims.ledger import check_claims, load_claims
from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.show.figures.draw import draw_plots
from causal2vec.reporting.show.figures.style import styled
from causal2vec.reporting.show.tables.build import IGNORED, audit_table, build_tables
from causal2vec.reporting.show.tables.layout import load_layout

WORDS = "apple river stone cloud paper music winter garden silver window forest candle".split()  # noqa: SIM905
PROMPTS = Prompts(sources={"a": "", "b": ""})


@pytest.fixture
def pairs(tmp_path):
    """Queries that share no word with their positive: only a summary that knows the pair can tell."""
    rows = [
        {
            "query": f"{word} {number}",
            "positive": f"{word} {number} and more",
            "source": source,
            "pair_id": f"{source}{i}",
        }
        for source in "ab"
        for i, (word, number) in enumerate((w, n) for n in (1, 2) for w in WORDS)
    ]
    path = tmp_path / "validation.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


class Deaf(Causal2Vec):
    """An LLM that does not see the Contextual token: EOS is what it is without it."""

    def states(self, features, kept=None):
        states = super().states(features)
        blind = {**features, "attention_mask": features["attention_mask"] * (features["roles"] != Role.CONTEXTUAL)}
        return torch.where((features["roles"] == Role.EOS)[..., None], super().states(blind), states)


class Attentive(Causal2Vec):
    """An LLM whose EOS is the Contextual token."""

    def states(self, features, kept=None):
        states = super().states(features)
        token = self.contextual_token(features)[:, None].expand_as(states)
        return torch.where((features["roles"] == Role.EOS)[..., None], token, states)


def made(cls, tiny):
    torch.manual_seed(0)
    return cls.build({part: str(path) for part, path in tiny.items()}, {"max_seq_length": 64}).eval()


def test_swap_test_notices_a_token_that_is_not_read(tiny, pairs):
    deaf = audit(made(Deaf, tiny), pairs, PROMPTS)
    assert deaf["moved"]["mean"]["eos"] == deaf["moved"]["other"]["eos"] == pytest.approx(0, abs=1e-5)
    assert deaf["loss_without"]["points"] == pytest.approx(0, abs=0.01) and deaf["token_used"] is False
    assert deaf["moved"]["other"]["contextual"] > 1e-3  # the token itself was swapped


def test_swap_test_notices_a_token_that_is_read(tiny, pairs):
    found = audit(made(Attentive, tiny), pairs, PROMPTS)
    assert found["loss_without"]["low"] > 1 and found["token_used"] is True
    assert found["mrr"]["mean"]["eos"] < found["mrr"]["own"]["eos"]
    assert found["moved"]["other"]["eos"] > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_audited(method, tiny, pairs):
    found = audit(build(method, tiny), pairs, PROMPTS)
    assert 0 < found["mrr"]["own"]["whole"] <= 100
    assert ("token_used" in found) == (method == "causal2vec")
    assert json.loads(json.dumps(found)) == found


def test_the_whole_of_the_audit_is_the_models_own_vector(tiny, pairs):
    module = build("causal2vec", tiny)
    module.prefixes_read = None
    rows = pd.read_parquet(pairs)
    with torch.no_grad():
        vectors = {
            side: module(module.preprocess(list(rows[side])))["sentence_embedding"] for side in ("query", "positive")
        }
    first = rows["source"] == "a"
    q, d = (torch.nn.functional.normalize(v[torch.tensor(first.tolist())], dim=1) for v in vectors.values())
    ranks = ((q @ d.T) > (q @ d.T).diag()[:, None] + 1e-6).sum(1) + 1
    mine = audit(module, pairs, PROMPTS)["mrr"]["own"]["whole"]
    assert mine == pytest.approx(100 * float((1 / ranks).mean()), abs=2)  # both sources hold the same pairs


def test_spread_tells_a_constant_from_a_cloud():
    generator = np.random.default_rng(0)
    cloud = generator.normal(size=(200, 64))
    constant = 100 * np.eye(64)[0] + 0.01 * cloud
    assert abs(spread_of(cloud)["cosine"]) < 0.02 and spread_of(cloud)["effective_rank"] > 50
    assert spread_of(constant)["cosine"] > 0.999 and spread_of(constant)["top3"] > 0.99


def test_attention_is_the_llms_own(tiny):
    """With queries of zero every token looks at all before it alike, which gives the shares in closed form."""
    module = build("causal2vec", tiny)
    with torch.no_grad():
        for layer in module.llm.layers:
            layer.self_attn.q_proj.weight.zero_()
    texts = ["a b c", "a longer text of several words"]
    shares = attention_to_token(module, texts)
    features = module.preprocess(texts)
    lengths = features["attention_mask"].sum(dim=1)
    assert shares["eos"] == pytest.approx([float((1 / lengths).mean())] * 2, abs=1e-4)
    assert module.llm.config._attn_implementation != "eager"


def test_a_saved_model_is_audited_by_hand(tiny, pairs, tmp_path):
    module = build("causal2vec", tiny)
    save_model(
        module, tmp_path / "model", manifest={"method": "m", "base": "b", "seed": 0, "trained": True}, records={}
    )
    (tmp_path / "prompts.yaml").write_text("sources: {a: '', b: ''}")
    words = ["--model", tmp_path / "model", "--pairs", tmp_path, "--prompts", tmp_path / "prompts.yaml"]
    done = subprocess.run(
        [sys.executable, "-m", "causal2vec.evaluation.audit", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mrr"] == audit(module, pairs, PROMPTS)["mrr"]


# ---- what reporting makes of it


def study_with(tmp_path, used: bool, seeds=(0, 1, 2)):
    write_study(tmp_path, seeds=(0, 1, 2), tasks=4, items=40)
    base = "base-a"
    part = {"cosine": 0.5, "effective_rank": 9.0, "top3": 0.1, "norm": 1.0}
    parts = dict.fromkeys(("whole", "contextual", "eos"), 50.0)
    audits = [
        {
            "method": "causal2vec", "base": base, "seed": seed, "texts": 9,
            "mrr": {"own": parts, "mean": parts, "other": parts}, "spread": dict.fromkeys(parts, part),
            "moved": {"mean": parts, "other": parts}, "attention": {"eos": [0.1, 0.3], "text": [0.2, 0.2]},
            "loss_without": {"points": 5.0 * used, "low": 3.0 * used, "high": 6.0}, "token_used": used or seed > 0,
        }
        for seed in seeds
    ]  # fmt: skip
    (tmp_path / "audit.json").write_text(json.dumps(audits))
    return load_study(tmp_path), base


def test_verdicts_on_a_model_that_ignores_its_token_are_void(tmp_path):
    study, base = study_with(tmp_path, used=False)
    assert "1 of 3 seeds" in study.ignored[("causal2vec", base)]
    verdicts = {v.claim_id: v for v in check_claims(study, load_claims(ROOT / "config" / "claims.yaml"))}
    void = verdicts["causal2vec-beats-last-token"]
    assert void.verdict == "void" and "does not use its Contextual token" in void.evidence
    assert verdicts["echo-beats-last-token"].verdict != "void"
    used, _ = study_with(tmp_path, used=True)
    verdicts = {v.claim_id: v for v in check_claims(used, load_claims(ROOT / "config" / "claims.yaml"))}
    assert not used.ignored and verdicts["causal2vec-beats-last-token"].verdict != "void"


def test_tables_mark_a_model_that_ignores_its_token(tmp_path):
    layout = load_layout(ROOT / "config" / "tables.yaml")
    study, _ = study_with(tmp_path, used=False)
    tables = {table.name: table for table in build_tables(study, layout)}
    signs = {row[0].value: row[0].sign for group in tables["main"].groups for row in group.rows}
    assert signs["causal2vec"] == IGNORED and signs["echo"] == ""
    assert any(IGNORED in note for note in tables["main"].notes) and any(IGNORED in n for n in tables["tasks"].notes)
    used, _ = study_with(tmp_path, used=True)
    assert not any(
        IGNORED in note for table in build_tables(used, layout) for note in table.notes if "Swap" not in note
    )


def test_audit_table_and_figure(tmp_path):
    study, _ = study_with(tmp_path, used=True)
    layout = load_layout(ROOT / "config" / "tables.yaml")
    table = audit_table(layout.tables["audit"], study)
    row = dict(zip([column.key for column in table.columns], table.groups[0].rows[0], strict=True))
    assert row["attention_eos"].value == pytest.approx(20) and row["mrr_own_whole"].value == 50
    with styled():
        assert "audit" in draw_plots(study)
        assert "audit" not in draw_plots(load_study_without(tmp_path))


def load_study_without(tmp_path):
    (tmp_path / "audit.json").unlink()
    return load_study(tmp_path)


def test_a_damaged_audit_is_refused(tmp_path):
    (tmp_path / "audit.json").write_text('[{"method": "a"}]')
    with pytest.raises(UserError, match="run the study again"):
        read_audit(tmp_path / "audit.json")
    assert ignored_tokens(None) == {}
