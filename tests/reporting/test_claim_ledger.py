"""The claims file and what is written from it: refusals, the shipped ledger, a study of known truth, the files."""

from __future__ import annotations

import csv
import json
import shutil

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from synthetic import write_study

from causal2vec.errors import UserError
from causal2vec.reporting.analysis.claims.ledger import SIGNS, check_claims, load_claims
from causal2vec.reporting.analysis.claims.schema import BEST_RIVAL, Comparison, Reduction, Value, Variant
from causal2vec.reporting.analysis.statistics.compute import compute_statistics
from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.read.benchmarks import load_benchmarks, task_types
from causal2vec.reporting.read.others import PUBLISHED_FILE
from causal2vec.reporting.read.types import AVERAGE
from causal2vec.reporting.show.claims import NOT_RUN_TITLE, claims_table, write_claims

SHIPPED = ROOT / "config" / "claims.yaml"
GOOD = {
    "id": "one", "title": "t", "statement": "S.", "paper": "P", "source": "s", "confidence": "confirmed",
    "kind": "comparison", "first": "causal2vec", "second": "echo",
}  # fmt: skip
VALUE = {"kind": "value", "method": "echo", "value": 60, "bases": ["*"], "over": {"task": "A"}}
FUTURE = {"causal2vec_in_context", "epic"}


def load(tmp_path, *claims):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": list(claims)}))
    return load_claims(path)


def changed(base=GOOD, **changes):
    return {key: value for key, value in {**base, **changes}.items() if value is not None}


def value(**changes):
    return changed(changed(first=None, second=None, **VALUE), **changes)


def cost(**changes):
    return changed(**{"kind": "reduction", "cost": "time", "value": 82, **changes})


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        (changed(secnd="echo"), "claim 'one': unknown key 'secnd' (did you mean 'second'?); remove it or correct"),
        (changed(second=None), "claim 'one': key 'second' is missing; add it"),
        (changed(kind="comparisson"), "'kind' is 'comparisson', not one of comparison, reduction, value (did you mean"),
        (changed(kind=None), "'kind' is None"),
        (changed(confidence="sure"), ": confidence: Input should be 'confirmed', 'third-hand' or 'inference'"),
        (changed(second={"ablation": "pooling"}), "key 'second.value' is missing"),
        (changed(second={"ablaton": "p", "value": 1, "ablation": "p"}), "'second.ablaton' (did you mean 'ablation'?)"),
        (changed(second="causal2vec"), "'first' and 'second' are both 'causal2vec'"),
        (changed(first=BEST_RIVAL), "'first' is 'best_rival', but only 'second' may be"),
        (changed(over={"tsk": "A"}), "unknown key 'over.tsk' (did you mean 'task'?)"),
        (changed(over={"task": "A", "type": "STS"}), "'task' stands alone"),
        (changed(id="No spaces"), ": id: "),
        (changed(title="x" * 61), ": title: "),
        (changed(bases=[]), ": bases: "),
        (changed(value=3), "unknown key 'value'"),
        (cost(value=120), ": value: "),
        (cost(tolerance=82), "any result would do"),
        (cost(cost="money"), ": cost: "),
        (cost(at="long"), ": at."),
        (value(over={"type": "STS"}), "needs the benchmark or the task"),
        (value(bases=None), "needs the base"),
        (value(method=BEST_RIVAL), "has no published value"),
        (value(tolerance=0), ": tolerance: "),
        ("words", "claim 1: must be a mapping"),
    ],
)
def test_a_wrong_claim_is_refused_in_one_sentence(claim, says, tmp_path):
    with pytest.raises(UserError) as caught:
        load(tmp_path, claim)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/claims.yaml, claim ")
    assert "\n" not in str(caught.value)


def test_right_claims_are_taken(tmp_path):
    found = load(tmp_path, changed(), changed(id="two", second={"ablation": "pooling", "value": False}), value(id="v"))
    assert [type(claim) for claim in found] == [Comparison, Comparison, Value]
    assert found[1].second == Variant(ablation="pooling", value=False)
    with pytest.raises(UserError, match="the id 'one' is given to two claims"):
        load(tmp_path, changed(), changed())


@pytest.mark.parametrize("content", ["claims: {a: 1}", "claims: []\nmore: 1", "- 1", "", "claims: [", "claims: \xff"])
def test_a_file_that_holds_no_claims_is_refused(content, tmp_path):
    (tmp_path / "claims.yaml").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"claims\.yaml"):
        load_claims(tmp_path / "claims.yaml")
    with pytest.raises(UserError, match="does not exist"):
        load_claims(tmp_path / "nowhere.yaml")


def test_the_shipped_ledger_names_only_what_exists_or_is_announced():
    claims = load_claims(SHIPPED)
    methods = {
        name
        for file in ("demo.yaml", "all_methods.yaml")
        for name in yaml.safe_load((ROOT / "config" / file).read_text())["methods"]
    }
    names = set()
    for claim in claims:
        sides = [claim.method] if isinstance(claim, Value) else [claim.first, claim.second]
        names |= {side.method if isinstance(side, Variant) else side.removesuffix("-zero_shot") for side in sides}
        scope = getattr(claim, "over", None)
        assert scope is None or scope.benchmark in {None, *load_benchmarks()}, claim.id
        assert scope is None or scope.type in {None, *task_types().values()}, claim.id
    assert names <= {*methods, BEST_RIVAL, *FUTURE}
    text = SHIPPED.read_text() + (ROOT / "docs" / "claims.md").read_text()
    assert all(name in text for name in FUTURE)


def test_the_shipped_ledger_holds_what_the_abstracts_say():
    claims = {claim.id: claim for claim in load_claims(SHIPPED)}
    against = {c.second for c in claims.values() if isinstance(c, Comparison) and c.first == "causal2vec"}
    assert {"bidirectional", "echo", "last_token", "encoder_only", BEST_RIVAL} <= against
    savings = {(c.cost, c.value) for c in claims.values() if isinstance(c, Reduction)}
    assert savings == {("length", 85), ("time", 82)}
    # Two papers contradict each other here, and the ledger must hold both.
    last, mean = claims["bge-last-token-beats-mean"], claims["nv-embed-mean-beats-last-token"]
    assert (last.first, last.second) == (mean.second, mean.first)
    # No number of Causal2Vec's tables was read in the paper itself.
    assert all(
        c.confidence == "third-hand" for c in claims.values() if isinstance(c, Value) and c.paper == "Causal2Vec"
    )


def test_every_claimed_score_is_among_the_published_ones():
    published = pd.read_csv(PUBLISHED_FILE)
    for claim in load_claims(SHIPPED):
        if isinstance(claim, Value):
            rows = published[(published["benchmark"] == claim.over.benchmark) & (published["score"] == claim.value)]
            assert (claim.over.type or AVERAGE) in set(rows["name"]), claim.id


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A study in which causal2vec wins, echo ties with bidirectional, and bidirectional lacks a task on base-b."""
    folder = write_study(
        tmp_path_factory.mktemp("known"), bases=["base-a", "base-b"], seeds=[0, 1, 2], tasks=7, items=120,
        variants=["contextual", "eos"], missing=[("bidirectional", "base-b", "ArguAna")],
    )  # fmt: skip
    bases = ["base-a", "base-b"]
    compute_statistics(folder, folder / "statistics", bases=bases, resamples=400)
    return folder


def test_verdicts_on_a_study_of_known_truth(known, tmp_path):
    tie = changed(id="tie", first="echo", second="bidirectional", over={"type": "STS"})
    reverse = changed(id="reverse", first="last_token", second="causal2vec")
    claims = [*load_claims(SHIPPED), *load(tmp_path, tie, reverse)]
    found = {(v.claim_id, v.base): v for v in check_claims(load_study(known), claims)}
    assert len(found) == 2 * len(claims)
    words = {claim: [found[claim, base].verdict for base in ("base-a", "base-b")] for claim, _ in found}
    for claim in (
        "causal2vec-beats-echo",
        "causal2vec-beats-last-token",
        "concat-beats-eos",
        "concat-beats-contextual",
    ):
        assert words[claim] == ["supported", "supported"], claim
    assert words["reverse"] == ["contradicted", "contradicted"]
    assert words["tie"] == ["inconclusive", "inconclusive"]
    assert words["causal2vec-beats-bidirectional"] == words["causal2vec-leads"] == ["supported", "not run"]
    assert "ArguAna" in found["causal2vec-leads", "base-b"].evidence
    # The made-up costs save 79.5 % of the tokens at most.
    assert words["length-85-echo"] == ["not reached", "not reached"]
    assert found["length-85-echo", "base-a"].measured == pytest.approx(100 * (1 - 105.4 / 515))
    assert {words[claim][0] for claim in words if "average" in claim} == {"not run"}


def test_files_say_the_same_and_are_the_same_twice(known, tmp_path):
    claims = load_claims(SHIPPED)
    verdicts = write_claims(load_study(known), claims, tmp_path / "a")
    write_claims(load_study(known), claims, tmp_path / "b")
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["claims.csv", "claims.html", "claims.json", "claims.md", "claims.tabular.tex", "claims.tex"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    texts = {name: (tmp_path / "a" / name).read_text() for name in files}
    rows = list(csv.DictReader(texts["claims.csv"].splitlines()))
    records = json.loads(texts["claims.json"])["verdicts"]
    assert [r["verdict"] for r in rows] == [r["verdict"] for r in records] == [v.verdict for v in verdicts]
    assert [r["measured"] == "" for r in rows] == [v.verdict == "not run" for v in verdicts]
    assert " + supported |" in texts["claims.md"]
    assert "not comparable with published scores" in texts["claims.md"]
    assert "manifest 0123456789ab" in texts["claims.tex"]


def test_table_shows_what_was_run_first_and_every_verdict_once(known):
    study = load_study(known)
    verdicts = check_claims(study, load_claims(SHIPPED))
    table = claims_table(verdicts, study)
    assert sum(len(group.rows) for group in table.groups) == len(verdicts)
    assert [group.title for group in table.groups].index(NOT_RUN_TITLE) == len(table.groups) - 1
    shown = {row[-1].value for group in table.groups for row in group.rows}
    assert shown <= {f"{sign} {word}" for word, sign in SIGNS.items()}
    assert table.notes[-len(study.notes) :] == study.notes
    headings = [group.title for group in claims_table(verdicts, study, by_base=True).groups]
    ends = [heading.rpartition(", ")[2] for heading in headings]
    assert ends == sorted(ends)
    assert headings[-1] == f"{NOT_RUN_TITLE}, base base-b"


def test_hostile_names_are_only_text(known, tmp_path):
    folder = shutil.copytree(known, tmp_path / "study")
    for path in [folder / "scores.csv", folder / "manifest.json", *(folder / "statistics").glob("*.csv")]:
        path.write_text(path.read_text().replace("base-a", "<b>|_$&"))
    write_claims(load_study(folder), load_claims(SHIPPED), tmp_path / "out")
    assert "<b>|" not in (tmp_path / "out" / "claims.html").read_text()
    assert r"&lt;b&gt;\|\_\$&amp;" in (tmp_path / "out" / "claims.md").read_text()
    assert r"\ensuremath{<}b\ensuremath{>}{\textbar}\_\$\&" in (tmp_path / "out" / "claims.tex").read_text()
