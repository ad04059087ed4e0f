"""Whatever a file of pairs or a line of a mix holds: checked pairs come back, or a `UserError` that names the place."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from any_data import any_value, clean_text
from hypothesis import given, settings
from hypothesis import strategies as st

from causal2vec.data.pairs.files import PAIR_COLUMNS, read_pairs
from causal2vec.data.pairs.mixes import KEYS, Line, parse_line
from causal2vec.errors import UserError
from causal2vec.training.batches import load_training_data

columns = st.sampled_from([*PAIR_COLUMNS, "negative_1", "negative_x", "note", ""])
cells = st.lists(clean_text | st.none(), min_size=3, max_size=3) | st.lists(st.integers(0, 9), min_size=3, max_size=3)
full = st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), min_size=3, max_size=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pairs")


def sentence(error: UserError, path: Path) -> None:
    assert str(path) in str(error) and "\n" not in str(error)


def blank(text: Any) -> bool:
    return text is None or not text.strip()


@settings(max_examples=60)
@given(
    table=st.fixed_dictionaries(dict.fromkeys(PAIR_COLUMNS, full)),
    other=st.dictionaries(columns, cells, max_size=3),
)
def test_any_table_is_pairs_or_refused(folder: Path, table: dict[str, list], other: dict[str, list]) -> None:
    path = folder / "train.parquet"
    pq.write_table(pa.table(table | other), path)
    try:
        found = read_pairs(path)
    except UserError as error:
        sentence(error, path)
        return
    assert set(PAIR_COLUMNS) <= set(found.column_names)
    for name in PAIR_COLUMNS:
        assert found[name].to_pylist() == (table | other)[name]
        assert not any(text.strip(" \t\n") == "" for text in found[name].to_pylist())
    data = load_training_data(folder)
    assert sum(len(rows) for rows in data.values()) == 3
    assert {text for rows in data.values() for text in rows["query"]} == set(found["query"].to_pylist())


@settings(max_examples=80)
@given(cut=st.integers(0, 3000), place=st.integers(0, 3000), bits=st.integers(0, 255))
def test_any_damage_of_a_file_is_read_or_refused(folder: Path, cut: int, place: int, bits: int) -> None:
    path = folder / "train.parquet"
    pq.write_table(pa.table({name: [f"{name} {i}" for i in range(20)] for name in PAIR_COLUMNS}), path)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= bits
    if cut < len(data) and cut % 3 == 0:
        del data[cut:]
    path.write_bytes(data)
    try:
        read_pairs(path).to_pylist()
    except UserError as error:
        sentence(error, path)


@settings(max_examples=100)
@given(
    st.binary(max_size=60)
    | any_value.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries({}, optional=dict.fromkeys(("query", "positive", "negative"), any_value)).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_any_line_is_an_example_or_refused(text: bytes) -> None:
    path = Path("mix.jsonl")
    try:
        found = parse_line(Line(path, 7, text), KEYS["e5"], "nq")
    except UserError as error:
        sentence(error, path)
        assert "line 7" in str(error)
        return
    for part in (found.query, found.positive, *found.negatives):
        assert part.strip() and part.encode().decode() == part
