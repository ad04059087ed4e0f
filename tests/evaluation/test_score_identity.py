"""Number format, device and batches are part of what a score is: what differs in them is never mixed."""

import json

import pytest
from fixtures_reporting import make_job

from causal2vec.errors import UserError
from causal2vec.reporting.read.scores import RECORDS, collect_scores, filed_scores, merged_records, read_records

MADE = {"dtype": "float32", "device": "cpu", "attention": "sdpa", "batch_tokens": 1024}


def gather(folder, *jobs):
    collect_scores(list(jobs), folder / "mteb", folder / "scores.csv")
    return folder


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("dtype", "bfloat16", "number format float32 and .* with bfloat16"),
        ("device", "cuda", "device cpu and .* with cuda"),
        ("attention", "eager", "attention sdpa and .* with eager"),
        ("batch_tokens", 2048, "tokens per batch 1024 and .* with 2048"),
        ("dtype", None, "number format float32 and .* with unknown"),
    ],
)
def test_one_study_is_evaluated_in_one_way(tmp_path, name, value, said):
    first = make_job(tmp_path / "jobs", "echo", 0, {"SciFact": 0.5}, **MADE)
    second = make_job(tmp_path / "jobs", "last_token", 0, {"SciFact": 0.5}, **{**MADE, name: value})
    with pytest.raises(
        UserError, match=rf"{first} was evaluated with {said}, which are not the same scores; "
    ) as caught:
        gather(tmp_path, first, second)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "scores.csv").exists() and not (tmp_path / "mteb").exists()


def test_models_whose_batches_are_counted_otherwise_may_stand_together(tmp_path):
    ours = make_job(tmp_path / "jobs", "echo", 0, {"SciFact": 0.5}, **MADE)
    theirs = {"dtype": "float32", "device": "cpu", "attention": "sdpa", "batch_size": 32}
    gather(tmp_path, ours, make_job(tmp_path / "jobs", "other", 0, {"SciFact": 0.5}, **theirs))


@pytest.mark.parametrize(("name", "value"), [("dtype", "bfloat16"), ("batch_tokens", 2048)])
def test_scores_made_in_another_way_do_not_replace_those_in_the_tree(tmp_path, name, value):
    gather(tmp_path, make_job(tmp_path / "jobs", "echo", 0, {"SciFact": 0.5}, **MADE))
    again = make_job(tmp_path / "other", "echo", 0, {"SciFact": 0.5}, **{**MADE, name: value})
    before = {path: path.read_bytes() for path in tmp_path.glob("mteb/**/*.json*")}
    with pytest.raises(UserError, match=f"holds scores of the same model with .* {MADE[name]}, and .* with {value}; "):
        gather(tmp_path, again)
    assert before == {path: path.read_bytes() for path in tmp_path.glob("mteb/**/*.json*")}
    gather(tmp_path, make_job(tmp_path / "same", "echo", 0, {"SciFact": 0.6}, **MADE))


def test_the_tree_says_how_its_scores_were_made_whatever_the_shards(tmp_path):
    shards = [make_job(tmp_path / "jobs", "echo", 0, {task: 0.5}, **MADE) for task in ("SciFact", "NFCorpus")]
    for number, shard in enumerate(shards):
        path = shard / "record.json"
        record = json.loads(path.read_text())
        for about in record["tasks"].values():
            about |= {"seconds": number, "encoding_seconds": number}
        path.write_text(json.dumps(record))
    gather(tmp_path, *shards)
    [path] = tmp_path.glob(f"mteb/results/*/*/{RECORDS}")
    [record] = read_records(path)
    assert MADE.items() <= record.items() and list(record["tasks"]) == ["NFCorpus", "SciFact"]
    assert "seconds" not in path.read_text()
    assert merged_records([record]) == [record]
    filed = list(filed_scores(tmp_path / "mteb"))
    assert [one.key for one in filed] == [("echo", "tiny", 0, "NFCorpus"), ("echo", "tiny", 0, "SciFact")]
    assert [row["value"] for one in filed for row in one.rows] == [0.5] * 4


def test_mteb_reads_the_tree_with_the_records_in_it(tmp_path):
    from mteb.cache import ResultCache

    name = "suite/model"
    job = make_job(tmp_path / "jobs", "echo", 0, {"SciFact": 0.5}, model=name, **MADE)
    [place] = job.glob("results/*/*")
    meta = {"name": name, "revision": "abc", "loader": None}
    (place / "model_meta.json").write_text(json.dumps(meta))
    gather(tmp_path, job)
    [path] = tmp_path.glob(f"mteb/results/*/*/{RECORDS}")
    assert path.is_file()
    found = ResultCache(tmp_path / "mteb").load_results()
    assert [(r.model_name, r.model_revision, [t.task_name for t in r.task_results]) for r in found.model_results] == [
        (name, "abc", ["SciFact"])
    ]


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", None])
def test_what_is_no_record_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / RECORDS).write_text(text)
    with pytest.raises(UserError, match=f"{RECORDS}.*; gather the evaluation jobs again"):
        read_records(tmp_path / RECORDS)


def test_records_of_another_folder_are_not_believed(tmp_path):
    gather(tmp_path, make_job(tmp_path / "jobs", "echo", 0, {"SciFact": 0.5}, **MADE))
    [path] = tmp_path.glob(f"mteb/results/*/*/{RECORDS}")
    path.write_text(path.read_text().replace('"revision": "abc"', '"revision": "../other/abc"'))
    with pytest.raises(UserError, match="is about other scores than its folder's"):
        list(filed_scores(tmp_path / "mteb"))
