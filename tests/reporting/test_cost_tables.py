"""Tables of cost, from studies in which every number is known."""

import pytest
from fixtures_reporting import (
    CONTROLS,
    LLM,
    SCORES,
    SHIPPED,
    SMALL,
    cost_rows,
    make_study,
    make_suite,
    on_llm,
    training_rows,
)
from test_tables import build, named

from causal2vec.errors import UserError
from causal2vec.reporting.read.schema import read_training
from causal2vec.reporting.show.render.plain import to_markdown
from causal2vec.reporting.show.tables.grid import format_cell
from causal2vec.runtime.files import write_json

SEEDED = {(method, "tiny", seed): values for (method, seed), values in SCORES.items()}


def test_efficiency_is_relative_to_causal2vec():
    study = make_study(SEEDED, costs=cost_rows(["causal2vec", "echo", "echo-zero_shot", "causal2vec+pooling=eos"]))
    table = build(study, "efficiency")
    assert [g.title for g in table.groups][:3] == [
        "Texts of mixed length",
        "Texts of mixed length, untrained",
        "Texts of 32 tokens",
    ]
    echo = dict(zip([c.key for c in table.columns], table.groups[0].rows[1], strict=True))
    assert (echo["time_ratio"].value, echo["llm_token_ratio"].value, echo["memory_ratio"].value) == (2.0, 2.0, None)
    assert echo["peak_memory_mb"].value is None
    text = to_markdown(table)
    assert "<u>500</u> (450–550)" in text and "LLM tokens ↓" in text and "Texts/s ↑" in text and "pooling" not in text
    alone = build(make_study(SEEDED, costs=cost_rows(["echo"])), "efficiency")
    assert "No ratios: causal2vec was not measured." in alone.notes
    other = build(study, "efficiency", reference="echo")
    causal2vec = dict(zip([c.key for c in other.columns], other.groups[0].rows[0], strict=True))
    assert causal2vec["time_ratio"].value == 0.5
    assert build(make_study(SEEDED), "efficiency") is None


def test_costs_of_controls_are_relative_to_causal2vec_on_the_llm():
    groups = named(build(make_suite(on_llm(LLM) | CONTROLS, bases=[LLM]), "efficiency"))
    assert list(groups) == ["Texts of mixed length", "Texts of 32 tokens", "Texts of 512 tokens"]
    for rows in groups.values():
        ratios = {(r["method"][0], r["base"][0]): r["time_ratio"][0] for r in rows}
        assert ratios == {
            ("causal2vec", LLM): 1.0,
            ("last_token", LLM): 2.0,
            ("echo", LLM): 3.0,
            ("bidirectional", LLM): 4.0,
            ("encoder_only", SMALL): 5.0,
            ("encoder_only-zero_shot", SHIPPED): 6.0,
        }


def test_training_is_averaged_over_seeds():
    runs = [("echo", "tiny", 0, 10.0), ("echo", "tiny", 1, 20.0), ("causal2vec+pooling=eos", "tiny", 0, 1.0)]
    table = build(make_study(SEEDED, training=training_rows(runs)), "training")
    assert [len(group.rows) for group in table.groups] == [1]
    row = dict(zip([c.key for c in table.columns], table.groups[0].rows[0], strict=True))
    assert (row["seconds"].value, row["final_loss"].value, row["pairs"].value) == (15.0, 0.05, 640.0)
    seconds = next(c for c in table.columns if c.key == "seconds")
    assert format_cell(row["seconds"], seconds) == "15.0" and row["peak_memory_mb"].value is None
    assert "Mean over 2 seeds (0, 1)." in table.notes
    assert build(make_study(SEEDED), "training") is None


def test_training_of_controls_is_compared_with_everything():
    study = make_suite(on_llm(LLM) | CONTROLS, bases=[LLM])
    assert [len(rows) for rows in named(build(study, "training")).values()] == [5]
    alone = make_suite(on_llm(LLM) | CONTROLS)
    assert len(named(build(alone, "training"))) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seed": 0}, "a second time"), ({"loss": [{"step": 1, "loss": float("nan")}]}, "finite")],
)
def test_training_records_that_cannot_be_meant_are_refused(tmp_path, change, message):
    records = [
        {**row, "peak_memory_mb": None, **(change if row["seed"] else {})}
        for row in training_rows([("echo", "tiny", 0, 10.0), ("echo", "tiny", 1, 20.0)]).to_dict("records")
    ]
    write_json(tmp_path / "training.json", records)
    with pytest.raises(UserError, match=message):
        read_training(tmp_path / "training.json")
