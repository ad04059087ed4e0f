"""Wrong files of scores, of costs and of single items."""

import json
from pathlib import Path

import pandas as pd
import pytest
from bad_cases import Case, check, write
from fixtures_reporting import cost_rows, score_rows, write_frame

from causal2vec.reporting.analysis.statistics.items import read_items
from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.read.schema import read_efficiency
from causal2vec.reporting.read.scores import read_scores
from causal2vec.reporting.show.tables.build import build_tables
from causal2vec.reporting.show.tables.layout import load_layout

SCORES = score_rows({("echo", "b"): [0.1, 0.2, 0.3], ("last_token", "b"): [0.1, 0.2, 0.4]})
ITEMS = {
    "method": "m", "base": "b", "seed": 0, "split": "test", "subset": "default", "metric": "mean", "draw": "",
    "item": ["1", "2"], "prediction": [0.5, 1.0], "target": float("nan"),
}  # fmt: skip


def scores(name, old, new, says):
    """A scores.csv with one text in it replaced."""

    def run(folder: Path):
        path = write_frame(SCORES, folder / "scores.csv")
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        read_scores(path)

    return Case(f"scores: {name}", run, says)


def costs(name, says, **changes):
    def run(folder: Path):
        frame = cost_rows(["echo"])
        frame = frame.drop(columns=[key for key, value in changes.items() if value is None])
        frame = frame.assign(**{key: value for key, value in changes.items() if value is not None})
        read_efficiency(write_frame(frame, folder / "efficiency.csv"))

    return Case(f"efficiency: {name}", run, says)


def items(name, says, **changes):
    def run(folder: Path):
        columns = {key: value for key, value in (ITEMS | changes).items() if value is not ...}
        pd.DataFrame(columns, index=range(2)).to_parquet(folder / "T.parquet")
        read_items(folder / "T.parquet")

    return Case(f"items: {name}", run, says)


def columns(name, column, says):
    """A table of scores with such a column, built on a study."""

    def run(folder: Path):
        spec = {"tables": {"t": {"kind": "scores", "title": "T", "rows": ["trained"], "columns": [column]}}}
        write_frame(SCORES, folder / "scores.csv")
        build_tables(load_study(folder), load_layout(write(folder / "tables.yaml", json.dumps(spec))))

    return Case(f"tables: {name}", run, says)


def no_main_score(folder: Path):
    write_frame(SCORES.assign(metric="accuracy"), folder / "scores.csv")
    load_study(folder)


CASES = [
    scores(
        "a column is missing",
        ",items",
        ",itens",
        "{path}/scores.csv, line 1: column 'items' is missing; run the stage that writes it again",
    ),
    scores(
        "a column twice",
        ",data_revision",
        ",data_revision,value",
        "{path}/scores.csv, line 1: two columns are called 'value'; remove one of them",
    ),
    scores(
        "no number",
        ",0.2,",
        ",a lot,",
        "{path}/scores.csv, line 3: value: …number, but is 'a lot'; correct it",
    ),
    scores(
        "not a number",
        ",0.2,",
        ",nan,",
        "{path}/scores.csv, line 3: value: …finite number, but is 'nan'; correct it",
    ),
    scores(
        "without end",
        ",0.2,",
        ",inf,",
        "{path}/scores.csv, line 3: value: …finite number, but is 'inf'; correct it",
    ),
    scores(
        "a seed that is no whole number",
        "echo,b,0",
        "echo,b,0.5",
        "{path}/scores.csv, line 2: seed: …integer, but is '0.5'; correct it",
    ),
    scores("no method", "\necho,", "\n,", "{path}/scores.csv, line 2: method: …but is ''; correct it"),
    scores("a field too many", ",r1\n", ",r1,r2\n", "{path}/scores.csv, line 2: more fields than columns; correct it"),
    scores(
        "a field too few",
        ",0.1,10,",
        ",0.1,",
        "{path}/scores.csv, line 2: items: …integer, but is '2.26.24'; correct it",
    ),
    scores(
        "a quote that is not closed",
        "\necho",
        '\n"echo',
        "{path}/scores.csv is not a readable CSV file (unexpected end of data); write it again",
    ),
    scores(
        "twice the same",
        "last_token,b,0,NFCorpus",
        "echo,b,0,NFCorpus",
        (
            "{path}/scores.csv, line 5: the same method, base, seed, task, split, subset, metric was "
            "already given; keep one of them"
        ),
    ),
    Case(
        "scores: no rows",
        lambda f: read_scores(write(f / "scores.csv", ",".join(SCORES.columns) + "\n")),
        "{path}/scores.csv has a header but no rows; run the stage that writes it again",
    ),
    Case(
        "scores: no bytes",
        lambda f: read_scores(write(f / "scores.csv", "")),
        ("{path}/scores.csv, line 1: column 'method' is missing; run the stage that writes it again"),
    ),
    Case(
        "scores: not UTF-8",
        lambda f: read_scores(write(f / "scores.csv", b"\xff\xfe")),
        (
            "{path}/scores.csv is not a readable CSV file ('utf-8' codec can't decode byte 0xff in "
            "position 0: invalid start byte); write it again"
        ),
    ),
    Case("scores: a folder", lambda f: read_scores(f), "{path} cannot be read (Is a directory); name another file"),
    Case(
        "scores: absent",
        lambda f: load_study(f),
        "{path}/scores.csv does not exist; make it first or name another file",
    ),
    Case("scores: no main score", no_main_score, "the scores hold no row with metric 'main_score'; collect them again"),
    costs(
        "a column is missing",
        (
            "{path}/efficiency.csv, line 1: column 'seconds_per_1000_texts' is missing; run the "
            "stage that writes it again"
        ),
        seconds_per_1000_texts=None,
    ),
    costs(
        "no length",
        (
            "{path}/efficiency.csv, line 2: text_tokens: 'long' is neither a whole number "
            "of tokens nor 'mixed' nor 'task:NAME'; correct it"
        ),
        text_tokens="long",
    ),
    costs(
        "no task",
        (
            "{path}/efficiency.csv, line 2: text_tokens: 'task:' is neither a whole number "
            "of tokens nor 'mixed' nor 'task:NAME'; correct it"
        ),
        text_tokens="task:",
    ),
    costs(
        "another setting",
        "{path}/efficiency.csv, line 2: setting: …'plain', 'instruction' or 'examples', but is 'few-shot'; correct it",
        setting="few-shot",
    ),
    costs(
        "no number",
        "{path}/efficiency.csv, line 2: texts_per_second: …number, but is 'fast'; correct it",
        texts_per_second="fast",
    ),
    costs(
        "below zero",
        "{path}/efficiency.csv, line 2: seconds_per_1000_texts: …greater than 0, but is '-1.0'; correct it",
        seconds_per_1000_texts=-1.0,
    ),
    costs(
        "twice the same",
        (
            "{path}/efficiency.csv, line 3: the same method, base, setting, prompt_tokens, reuse, text_tokens was "
            "already given; keep one of them"
        ),
        text_tokens="32",
    ),
    items(
        "a column is missing",
        "{path}/T.parquet: column 'prediction' is missing; collect the scores again",
        prediction=...,
    ),
    items(
        "another metric",
        (
            "{path}/T.parquet, column 'metric': 'rouge' for item '1' of method 'm', base 'b', seed 0 "
            "is none of mean, spearman, max_ap, v_measure; evaluate this model again"
        ),
        metric="rouge",
    ),
    items(
        "no numbers",
        "{path}/T.parquet, column 'prediction': does not hold numbers; collect the scores again",
        prediction=["a", "b"],
    ),
    items(
        "without end",
        (
            "{path}/T.parquet, column 'prediction': 'inf' for item '2' of method 'm', base 'b', seed "
            "0 is not a finite number; evaluate this model again"
        ),
        prediction=[0.5, float("inf")],
    ),
    items(
        "an item twice",
        (
            "{path}/T.parquet, split 'test', subset 'default': method 'm', base 'b', seed 0 has item "
            "'1' twice; evaluate this model again"
        ),
        item=["1", "1"],
    ),
    items("no item", "{path}/T.parquet, column 'item': a value is missing; collect the scores again", item=["1", None]),
    items(
        "labels that are none",
        (
            "{path}/T.parquet, column 'target': '2.0' for item '2' of method 'm', base 'b', seed 0 "
            "is neither 0 nor 1; evaluate this model again"
        ),
        metric="max_ap",
        target=[0.0, 2.0],
    ),
    Case(
        "items: no parquet",
        lambda f: read_items(write(f / "T.parquet", "PAR1 is all")),
        (
            "{path}/T.parquet is not a readable Parquet file (Could not open Parquet input source "
            "'{path}/T.parquet': Parquet magic bytes not found in footer); collect the scores again"
        ),
    ),
    Case(
        "items: absent",
        lambda f: read_items(f / "T.parquet"),
        "{path}/T.parquet does not exist; make it first or name another file",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_file_of_scores_is_one_sentence(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
