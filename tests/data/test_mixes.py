"""The public training mixes: what is drawn, what is written, what is refused, and how little memory it takes.

``PYTHONPATH=tests python tests/data/test_mixes.py 1500000 FOLDER`` measures the memory on a synthetic mix of so many
examples.
"""

import gzip
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, mirrored

from causal2vec.config import Pairs, TextSource
from causal2vec.config.prompts import load_prompts
from causal2vec.data.pairs.files import read_pairs
from causal2vec.data.pairs.mixes import KEYS, Line, fetch_pairs, mix_folder, parse_line, written_sources
from causal2vec.data.pairs.prepare import prepare
from causal2vec.data.pairs.texts import read_texts
from causal2vec.errors import UserError
from causal2vec.runtime.files import sha256_tree
from causal2vec.training.batches import column_prompts, load_training_data

E5 = (
    "allnli", "dureader", "eli5_question_answer", "fever", "hotpot_qa", "miracl", "mrtydi", "msmarco_passage",
    "msmarco_document", "nq", "quora_duplicates", "squad", "t2ranking", "trivia_qa",
)  # fmt: skip
MIX = {"nq": 1.0, "allnli": 1.0, "squad": 1.0}


def lines(source: str, count: int, start: int = 0) -> list[dict]:
    return [
        {"query": f"{source} q {i}", "positive": f"{source} p {i}", "negative": f"{source} n {i}"}
        for i in range(start, start + count)
    ]


def write(path: Path, rows: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture
def mix(tmp_path: Path) -> Path:
    for source in MIX:
        write(tmp_path / "mix" / f"{source}.jsonl", lines(source, 200))
    return tmp_path / "mix"


def settings(**changes) -> Pairs:
    values = {"kind": "e5", "folder": "unused", "sources": MIX, "negatives": 1, "validation": 20, "seed": 1}
    return Pairs(**{**values, "decontaminate_ngram": None, **changes})


def made(folder: Path, output: Path, eval_texts: tuple[Path, ...] = (), **changes) -> dict:
    mix = settings(folder=str(folder), **changes)
    return prepare(mix, Path("unused"), output, eval_texts=list(eval_texts))


def queries(output: Path) -> list[str]:
    return [q for name in ("train", "validation") for q in read_pairs(output / f"{name}.parquet")["query"].to_pylist()]


def test_what_is_written_is_counted_and_complete(mix: Path, tmp_path: Path) -> None:
    output = tmp_path / "pairs"
    report = made(mix, output)
    train, held = (read_pairs(output / f"{name}.parquet").to_pandas() for name in ("train", "validation"))
    assert (len(train), len(held)) == (report["train"], report["validation"]) == (580, 20)
    assert list(train.columns) == ["query", "positive", "source", "pair_id", "negative_1"]
    assert list(train["source"].unique()) == sorted(train["source"].unique()) == ["allnli_1", "allnli_2", "nq", "squad"]
    assert set(held["source"].value_counts()) == {5}
    for column in ("query", "positive", "pair_id"):
        assert not set(train[column]) & set(held[column]) and train[column].is_unique
    assert json.loads((output / "report.json").read_text()) == report
    assert sorted(p.name for p in output.iterdir()) == ["report.json", "train", "train.parquet", "validation.parquet"]
    data = load_training_data(output)
    assert list(data) == list(train["source"].unique())
    for source, rows in train.groupby("source"):
        assert data[source].to_list() == rows[["query", "positive", "negative_1"]].to_dict("records")
        assert data[source].cache_files, "mapped from its file"


def test_two_instructions_make_two_sources_line_by_line(mix: Path, tmp_path: Path) -> None:
    made(mix, tmp_path / "pairs", validation=0)
    data = load_training_data(tmp_path / "pairs")
    assert data["allnli_1"]["query"] == [f"allnli q {i}" for i in range(0, 200, 2)]
    assert data["allnli_2"]["query"] == [f"allnli q {i}" for i in range(1, 200, 2)]
    assert written_sources(settings()) == list(data)


@pytest.mark.parametrize(("amount", "low", "high"), [(0.3, 40, 80), (37, 37, 37), (1000, 200, 200), (1.0, 200, 200)])
def test_an_amount_draws_the_same_lines_in_any_order_of_the_file(
    mix: Path, tmp_path: Path, amount: float, low: int, high: int
) -> None:
    report = made(mix, tmp_path / "a", sources={"nq": amount}, validation=0)
    first = queries(tmp_path / "a")
    assert low <= len(first) <= high and report["sources"]["nq"]["not_drawn"] == 200 - len(first)
    write(mix / "nq.jsonl", lines("nq", 200)[::-1])
    made(mix, tmp_path / "b", sources={"nq": amount}, validation=0)
    assert queries(tmp_path / "b") == first[::-1]
    made(mix, tmp_path / "c", sources={"nq": amount}, validation=0, seed=2)
    assert (set(queries(tmp_path / "c")) != set(first)) == (high < 200)


def test_a_larger_share_holds_the_smaller(mix: Path, tmp_path: Path) -> None:
    for share in (0.2, 0.6):
        made(mix, tmp_path / str(share), sources={"nq": share}, validation=0)
    assert set(queries(tmp_path / "0.2")) < set(queries(tmp_path / "0.6"))


def test_equal_input_gives_equal_bytes(mix: Path, tmp_path: Path) -> None:
    for name, changes in {"a": {}, "b": {"sources": dict(reversed(MIX.items()))}, "c": {"seed": 2}}.items():
        made(mix, tmp_path / name, **changes)
    assert sha256_tree(tmp_path / "a") == sha256_tree(tmp_path / "b") != sha256_tree(tmp_path / "c")


def test_negatives_are_cycled_and_lines_without_are_dropped(tmp_path: Path) -> None:
    rows = lines("nq", 5)
    for row, negatives in zip(rows, (["a", "b", "c", "d"], "one", ["x", " ", "y"], [], None), strict=True):
        row["negative"] = negatives
    write(tmp_path / "mix" / "nq.jsonl", rows)
    report = made(tmp_path / "mix", tmp_path / "pairs", sources={"nq": 1.0}, negatives=3, validation=0)
    found = [[row[f"negative_{i}"] for i in (1, 2, 3)] for row in load_training_data(tmp_path / "pairs")["nq"]]
    assert found == [["a", "b", "c"], ["one"] * 3, ["x", "y", "x"]]
    assert report["sources"]["nq"]["dropped_without_negative"] == 2
    made(tmp_path / "mix", tmp_path / "none", sources={"nq": 1.0}, negatives=0, validation=0)
    assert load_training_data(tmp_path / "none")["nq"].column_names == ["query", "positive"]
    assert len(queries(tmp_path / "none")) == 5


def test_bge_files_are_found_by_name_by_shard_and_by_folder(tmp_path: Path) -> None:
    def bge(source: str, count: int) -> list[dict]:
        rows = lines(source, count)
        return [
            {"query": r["query"], "pos": [r["positive"], "second"], "neg": [r["negative"]], "prompt": "?"} for r in rows
        ]

    folder = tmp_path / "mix"
    write(folder / "data" / "nq.jsonl.gz", bge("nq", 3))
    write(folder / "fever-00000-of-00002.jsonl", bge("fever", 2))
    write(folder / "fever-00001-of-00002.jsonl", bge("fever more", 2))
    write(folder / "squad" / "train.jsonl", bge("squad", 4))
    report = made(folder, tmp_path / "pairs", kind="bge", sources={"nq": 1.0, "fever": 1.0, "squad": 1.0}, validation=0)
    assert Counter(read_pairs(tmp_path / "pairs" / "train.parquet")["source"].to_pylist()) == {
        "nq": 3, "fever": 4, "squad": 4,
    }  # fmt: skip
    assert report["sources"]["fever"]["files"] == ["fever-00000-of-00002.jsonl", "fever-00001-of-00002.jsonl"]
    assert "second" not in read_pairs(tmp_path / "pairs" / "train.parquet")["positive"].to_pylist()


def test_duplicates_and_evaluation_texts_go(mix: Path, tmp_path: Path) -> None:
    long = "the quick brown fox jumps over the lazy dog near the river"
    write(
        mix / "nq.jsonl",
        [
            *lines("nq", 50),
            *({**row, "query": row["query"].upper() + "?"} for row in lines("nq", 10)),
            *lines("squad", 5),
            {**lines("nq", 1, 60)[0], "positive": long},
        ],
    )
    pq.write_table(pa.table({"text": [f"Now {long.upper()}!"]}), tmp_path / "texts.parquet")
    report = made(mix, tmp_path / "pairs", (tmp_path / "texts.parquet",), decontaminate_ngram=8, validation=0)
    assert report["sources"]["nq"]["dropped_duplicates"] == 10 and report["ngram"] == 8
    assert report["sources"]["nq"]["dropped_contaminated"] == 1
    assert report["sources"]["squad"]["dropped_duplicates"] == 5, "of another source's too"
    assert long not in read_pairs(tmp_path / "pairs" / "train.parquet")["positive"].to_pylist()


def test_training_shares_no_text_with_validation(tmp_path: Path) -> None:
    rows = [{"query": f"q {i}", "positive": f"p {i // 4}", "negative": "n"} for i in range(400)]
    write(tmp_path / "mix" / "nq.jsonl", rows)
    report = made(tmp_path / "mix", tmp_path / "pairs", sources={"nq": 1.0}, validation=30)
    train, held = (
        set(read_pairs(tmp_path / "pairs" / f"{n}.parquet")["positive"].to_pylist()) for n in ("train", "validation")
    )
    assert not train & held
    assert report["written"]["nq"]["dropped_shared_with_validation"] == 400 - 30 - report["train"] > 0


GOOD = '{"query": "a", "positive": "b", "negative": "c"}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"query": "a", "positive": ', r"is not JSON \(Expecting value at character 27\)"),
        ('{"query": "a", "positive": "b", "negative": {"x": 1}}', "has dict as 'negative', not text"),
        (b'{"query": "\xff"}', "is not UTF-8"),
    ],
)
def test_a_faulty_line_is_named_with_file_and_number(tmp_path: Path, line: str | bytes, message: str) -> None:
    path = tmp_path / "mix" / "nq.jsonl"
    path.parent.mkdir()
    text = line if isinstance(line, bytes) else line.encode()
    path.write_bytes(f"{GOOD}\n\n".encode() + text + f"\n{GOOD}\n".encode())
    with pytest.raises(UserError, match=f"nq.jsonl line 3 {message}") as error:
        made(path.parent, tmp_path / "pairs", sources={"nq": 1.0}, validation=0)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "pairs").exists() and not list(tmp_path.glob(".pairs*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": {"squda": 1.0}}, r"no file of the source 'squda' \(did you mean 'squad'\?\)"),
        ({"sources": {"../nq": 1.0}}, "a source is named as its file is"),
        ({"sources": {}}, "names no source"),
        ({"validation": 400}, "validation asks for 400 of 600 pairs"),
        (
            {"sources": {"dureader": 1.0}, "negatives": 2},
            "'dureader' has no pair left .*without_negative: 1.*set it to 0",
        ),
        ({"sources": {"trivia_qa": 1.0}}, "the source 'trivia_qa' has no pair left .it is empty"),
    ],
)
def test_a_mix_that_does_not_fit_the_settings_is_refused(
    mix: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    write(mix / "dureader.jsonl", [{"query": "a", "positive": "b"}])
    write(mix / "trivia_qa.jsonl", [])
    with pytest.raises(UserError, match=message):
        made(mix, tmp_path / "pairs", **changes)
    assert not (tmp_path / "pairs").exists()


def test_absent_folders_and_broken_archives_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder; set pairs"):
        made(tmp_path / "absent", tmp_path / "pairs")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no \.jsonl or \.jsonl\.gz file"):
        made(tmp_path / "empty", tmp_path / "pairs")
    path = write(tmp_path / "mix" / "nq.jsonl.gz", lines("nq", 500))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"nq\.jsonl\.gz cannot be read to its end"):
        made(tmp_path / "mix", tmp_path / "pairs", sources={"nq": 1.0})


def test_damaged_training_files_are_named(mix: Path, tmp_path: Path) -> None:
    made(mix, tmp_path / "pairs")
    shutil.copy(tmp_path / "pairs" / "train" / "nq.arrow", tmp_path / "pairs" / "train" / "again.arrow")
    with pytest.raises(UserError, match=r"train holds \d+ pairs, but .*train.parquet 580"):
        load_training_data(tmp_path / "pairs")
    broken = tmp_path / "pairs" / "train" / "nq.arrow"
    broken.write_bytes(broken.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"nq\.arrow is damaged"):
        load_training_data(tmp_path / "pairs")


def test_a_parquet_file_of_the_users_own_is_split_and_checked_in_batches(tmp_path: Path) -> None:
    rows = 5000
    table = {
        "query": [f"q{i}" for i in range(rows)],
        "positive": [f"p{i}" for i in range(rows)],
        "source": [("x/y", "b")[i % 2] for i in range(rows)],
        "pair_id": [str(i) for i in range(rows)],
        "negative_1": [None if i == 4 else f"n{i}" for i in range(rows)],
    }
    pq.write_table(pa.table(table), tmp_path / "train.parquet")
    data = load_training_data(tmp_path)
    assert {name: part.column_names for name, part in data.items()} == {
        "b": ["query", "positive", "negative_1"],
        "x/y": ["query", "positive"],
    }
    assert data["b"][2499] == {"query": "q4999", "positive": "p4999", "negative_1": "n4999"}
    table["positive"][4321] = "  "
    pq.write_table(pa.table(table), tmp_path / "train.parquet")
    with pytest.raises(UserError, match="column 'positive' is empty in row 4321"):
        load_training_data(tmp_path)


MEASURE = """
import json, sys, threading, time
from itertools import islice
from pathlib import Path
import pyarrow.parquet
import torch
from datasets import DatasetDict
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler, ProportionalBatchSampler
from torch.utils.data import ConcatDataset
from causal2vec.config import Pairs
from causal2vec.training.batches import load_training_data
from causal2vec.data.pairs.prepare import prepare

def anonymous():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024

def watch():
    while True:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.02)

folder, output, size, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
before = anonymous()
peak = [before]
threading.Thread(target=watch, daemon=True).start()
sources = {path.stem: 1.0 for path in folder.iterdir()}
pairs = Pairs(kind="e5", folder=str(folder), sources=sources, negatives=1, validation=500, decontaminate_ngram=None)
start, cpu = time.perf_counter(), time.process_time()
report = prepare(pairs, Path("unused"), output, eval_texts=[])
found = {"prepare_seconds": time.perf_counter() - start, "prepare_cpu_seconds": time.process_time() - cpu}
found["prepare_growth_mb"] = peak[0] - before
peak[0] = resting = anonymous()
start, cpu = time.perf_counter(), time.process_time()
data = load_training_data(output)
found["load_seconds"] = time.perf_counter() - start
generator = torch.Generator()
samplers = [NoDuplicatesBatchSampler(part, size, True, generator=generator, seed=0) for part in data.values()]
parts = ConcatDataset(list(data.values()))
batches = islice(ProportionalBatchSampler(parts, samplers, generator=generator, seed=0), count)
found["drawn"] = sum(len(parts[index]["positive"]) > 0 for batch in batches for index in batch)
found |= {"draw_seconds": time.perf_counter() - start, "draw_cpu_seconds": time.process_time() - cpu}
found["draw_growth_mb"] = peak[0] - resting
found |= {"train": report["train"], "data_mb": sum(part.data.nbytes for part in data.values()) / 2**20}
print(json.dumps({key: round(value, 1) for key, value in found.items()}))
"""


def synthetic_mix(folder: Path, rows: int, characters: int) -> Path:
    """Queries of 60 characters, positives and negatives of so many, spread over all sources."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 10))) for _ in range(30_000)]
    block = " ".join(draw.choices(words, k=400_000))

    def text(length: int) -> str:
        start = draw.randrange(len(block) - length)
        return block[start : start + length]

    folder.mkdir(parents=True)
    for number, source in enumerate(E5):
        with (folder / f"{source}.jsonl").open("w") as file:
            for _ in range(number, rows, len(E5)):
                row = {"query": text(60), "positive": text(characters), "negative": text(characters)}
                file.write(json.dumps(row) + "\n")
    return folder


def measured(folder: Path, output: Path, size: int, count: int) -> dict:
    """Seconds and anonymous memory (MB) of preparing a mix, then of loading it and drawing batches."""
    arguments = [sys.executable, "-c", MEASURE, str(folder), str(output), str(size), str(count)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_memory_stays_far_below_the_size_of_the_mix(tmp_path: Path) -> None:
    found = measured(synthetic_mix(tmp_path / "mix", 60_000, 2000), tmp_path / "pairs", 64, 100)
    assert found["data_mb"] > 220 and found["drawn"] == 6400 and found["train"] > 59_000
    assert found["prepare_growth_mb"] < found["data_mb"] / 3
    assert found["draw_growth_mb"] < found["data_mb"] / 4


def test_the_paper_prompts_cover_the_mix_and_say_which_sides_are_alike(mix: Path, tmp_path: Path) -> None:
    prompts = load_prompts(ROOT / "config" / "prompts_paper.yaml")
    for source in written_sources(settings(sources=dict.fromkeys(E5, 1.0))):
        assert prompts.for_training(source)["query"].startswith("Instruct: ")
    made(mix, tmp_path / "pairs")
    found = column_prompts(prompts, load_training_data(tmp_path / "pairs"))
    assert found["nq"]["positive"] == found["nq"]["negative_1"] == found["allnli_1"]["positive"] == ""
    assert found["allnli_2"]["query"] == found["allnli_2"]["positive"] == found["allnli_2"]["negative_1"]
    assert set(prompts.symmetric) <= set(prompts.sources)


def test_a_source_without_an_instruction_is_refused(mix: Path, tmp_path: Path) -> None:
    prompts = load_prompts(ROOT / "config" / "prompts.yaml")
    made(mix, tmp_path / "pairs", sources={"nq": 1.0})
    with pytest.raises(UserError, match="without an instruction for the training source 'nq'"):
        column_prompts(prompts, load_training_data(tmp_path / "pairs"))
    silent = prompts.model_copy(update={"sources": {"nq": ""}})
    assert silent.for_training("nq") == {"query": "", "positive": ""}


def test_the_paper_prompts_say_nothing_that_mteb_says_otherwise() -> None:
    import mteb

    prompts = load_prompts(ROOT / "config" / "prompts_paper.yaml")
    for name in prompts.tasks:
        assert mteb.get_task(name).metadata.prompt is None, name
    same = {
        "nq": "NQ", "msmarco_passage": "MSMARCO", "hotpot_qa": "HotpotQA", "fever": "FEVER", "dureader": "DuRetrieval",
        "miracl": "MIRACLRetrieval", "quora_duplicates_1": "QuoraRetrieval", "t2ranking": "T2Retrieval",
    }  # fmt: skip
    for source, name in same.items():
        assert prompts.sources[source] == mteb.get_task(name).metadata.prompt["query"]
    for benchmark in ("MTEB(eng, v1)", "MTEB(eng, v2)"):
        for task in mteb.get_benchmark(benchmark).tasks:
            assert task.metadata.prompt or task.metadata.name in prompts.tasks, task.metadata.name


FETCH = """
import sys
from pathlib import Path
from causal2vec.config import Pairs
from causal2vec.runtime.cli import run_cli
from causal2vec.data.pairs.mixes import fetch_pairs
from causal2vec.data.pairs.prepare import prepare

pairs = Pairs(kind="bge", repository="some/mix", revision=sys.argv[2], sources={sys.argv[3]: 1.0}, negatives=1,
              validation=0, decontaminate_ngram=None)
record = Path(sys.argv[4])
run_cli(lambda: fetch_pairs(pairs, record) if sys.argv[1] == "fetch" else
        prepare(pairs, Path("unused"), record.parent / "pairs", eval_texts=[], fetched=record))
"""


def test_a_mix_is_fetched_once_and_prepared_offline_and_checked(tmp_path: Path) -> None:
    rows = [{"query": f"q{i}", "pos": [f"p{i}"], "neg": [f"n{i}"]} for i in range(20)]
    path = write(tmp_path / "hub" / "datasets" / "some" / "mix" / "data" / "nq.jsonl", rows)
    (path.parent / "large.bin").write_bytes(b"not wanted")
    record = tmp_path / "work" / "pairs.json"

    def run(environment: dict, step: str, source: str = "nq") -> subprocess.CompletedProcess:
        arguments = [sys.executable, "-c", FETCH, step, "b" * 40, source, str(record)]
        return subprocess.run(arguments, env=environment, capture_output=True, text=True)

    with mirrored(tmp_path / "hub", tmp_path / "home") as environment:
        done = run(environment, "fetch", "fever")
        assert done.returncode == 2 and "no file of the source 'fever' (known: nq)" in done.stderr
        assert not record.exists()
        done = run(environment, "fetch")
        assert done.returncode == 0, done.stderr
    facts = json.loads(record.read_text())
    assert facts["commit"] == "b" * 40 and list(facts["files"]) == ["data/nq.jsonl"]
    assert facts["files"]["data/nq.jsonl"]["size"] == path.stat().st_size
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    done = run(offline, "prepare")
    assert done.returncode == 0, done.stderr
    assert len(queries(record.parent / "pairs")) == 20
    next((tmp_path / "home").rglob("nq.jsonl")).resolve().write_text("damaged")
    done = run(offline, "prepare")
    assert done.returncode == 2 and "is damaged" in done.stderr


def test_fetching_and_finding_a_mix_need_a_repository_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no training mix to fetch"):
        fetch_pairs(settings(), tmp_path / "pairs.json")
    hub = settings(kind="bge", folder=None, repository="some/mix", revision="main")
    with pytest.raises(UserError, match="nothing was fetched; run `snakemake fetch`"):
        mix_folder(hub, None)
    assert mix_folder(settings(folder="here"), None) == Path("here")


def test_every_kind_of_pairs_is_prepared_by_one_call(mix: Path, tmp_path: Path) -> None:
    report = prepare(settings(folder=str(mix)), tmp_path / "none", tmp_path / "pairs", eval_texts=[])
    assert report["kind"] == "e5" and report["train"] == 580


def test_a_byte_order_mark_is_no_part_of_a_mixs_or_a_texts_first_line(tmp_path):
    line = Line(tmp_path / "a.jsonl", 1, '\ufeff{"query": "q", "positive": "p"}'.encode())
    assert parse_line(line, KEYS["e5"], "nq").query == "q"
    (tmp_path / "a.txt").write_text("\ufefffirst\nsecond\n", encoding="utf-8")
    source = TextSource(source="local", path=str(tmp_path), files="*.txt")
    assert read_texts(source, tmp_path, 9, seed=0, where="mntp.texts") == ["first", "second"]


if __name__ == "__main__":
    place = Path(sys.argv[2])
    result = measured(synthetic_mix(place / "mix", int(sys.argv[1]), 600), place / "pairs", 512, 1000)
    sys.stdout.write(f"{json.dumps(result, indent=2)}\n")
