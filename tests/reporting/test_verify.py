"""A finished results folder is checked again: what was tampered with is named by one line, and nothing else is."""

import csv
import io
import os
import re
import shutil
import subprocess

import pandas as pd
import pytest
from verify_data import BARE, edit_json, finished_results

from causal2vec.errors import UserError
from causal2vec.reporting.__main__ import main
from causal2vec.reporting.analysis.claims.ledger import load_claims
from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.check.checksums import read_checksums, write_checksums
from causal2vec.reporting.check.verify import verify_results
from causal2vec.reporting.show.claims import write_claims
from causal2vec.reporting.show.report.page import report_study
from causal2vec.reporting.show.tables.build import write_tables
from causal2vec.reporting.show.tables.layout import load_layout

WEIGHTS = "models/echo/base-a/seed0/model.safetensors"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finished_results(tmp_path_factory.mktemp("a path with späces"))


@pytest.fixture
def results(finished, tmp_path):
    """A copy to tamper with, elsewhere."""
    return shutil.copytree(finished, tmp_path / "copied")


def checked(results, finished, **options):
    files = {name: finished.parent / f"{name}.yaml" for name in ("layout", "claims")}
    files["layout"] = finished.parent / "tables.yaml"
    return verify_results(results, **files, **options)


def failures(results, finished, **options):
    found = checked(results, finished, **options)
    lines = found.lines()
    assert lines[-1].startswith("NOT verified: " if found.failures else "verified: ")
    assert all("\n" not in line for line in lines)
    return [line.removeprefix("FAILED ") for line in lines if line.startswith("FAILED ")]


def mteb_file(results, name, method="echo"):
    [path] = (results / "mteb").glob(f"results/*{method}*/*/{name}")
    return path


def flip(path, at=None):
    """Change one byte in the middle of a file, or at the end of a text."""
    data = bytearray(path.read_bytes())
    place = data.index(at) + len(at) - 1 if at else len(data) // 2
    data[place] ^= 1
    path.write_bytes(data)


def change_cell(path, row, column, value):
    rows = list(csv.reader(io.StringIO(path.read_text(), newline="")))
    rows[row][rows[0].index(column)] = value
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue())


def change_item(path):
    frame = pd.read_parquet(path)
    place = frame.index[frame["method"] == "echo"][0]
    frame.loc[place, "prediction"] = 1 - frame.loc[place, "prediction"]
    frame.to_parquet(path, index=False)


def main_row(results, task, method="echo"):
    frame = pd.read_csv(results / "scores.csv")
    wanted = (frame["task"] == task) & (frame["method"] == method) & (frame["metric"] == "main_score")
    return int(frame.index[wanted][0]) + 1


def test_a_finished_folder_is_verified_wherever_it_is(results, finished):
    (results / "bench").mkdir()
    (results / "bench" / "bench.md").write_text("not ours")
    (results / "tables" / ".snakemake_timestamp").touch()
    found = checked(results, finished)
    assert found.failures == {}
    *notes, verdict = found.lines()
    assert notes == [
        f"note: {BARE} has no item-level results, so its 2 main scores cannot be recomputed; they were held against "
        "mteb's files only"
    ]
    assert verdict.startswith("verified: ") and verdict.endswith("; 0 failures")
    assert "16 scores (6 of 8 main scores recomputed from items within 1e-05, 2 not recomputable)" in verdict
    assert "2 models" in verdict and "5 tables" in verdict


def test_sha256sum_reads_the_checksums_too(results):
    (results / "plots" / "ödd name *.svg").write_text("x")
    write_checksums(results, workers=2)
    sums, bad = read_checksums(results / "SHA256SUMS")
    assert "plots/ödd name *.svg" in sums and not bad
    names = [line[66:] for line in (results / "SHA256SUMS").read_text().splitlines()]
    assert names == sorted(names) and "SHA256SUMS" not in names
    done = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=results, check=False)
    assert done.returncode == 0
    (results / "plots" / "of two\nlines.svg").write_text("x")
    with pytest.raises(UserError, match=r"of two lines\.svg is no file that can be read and listed"):
        write_checksums(results)


def test_checksums_list_what_a_study_made_and_no_more(results, tmp_path):
    (results / "tables" / "made.md").write_text("x")
    (results / "mine.txt").write_text("x")
    assert write_checksums(results, [results / "tables", results / "scores.csv"]) == 5 * 5 + 2, (
        "five files of each table, made.md, scores"
    )
    sums, _ = read_checksums(results / "SHA256SUMS")
    assert "tables/made.md" in sums and "scores.csv" in sums and "mine.txt" not in sums
    with pytest.raises(UserError, match="is not in"):
        write_checksums(results, [tmp_path])
    with pytest.raises(UserError, match="does not exist"):
        write_checksums(results, [results / "nothing"])


FLIPPED = [
    "scores.csv", "items/STS12.parquet", "efficiency.csv", "training.json", "manifest.json", "statistics/estimates.csv",
    "statistics/notes.txt", "tables/main.md", "tables/main.csv", "tables/main.tex",
    "tables/main.tabular.tex", "tables/main.html",
    "claims/claims.json", "claims/claims.csv", "plots/forest.svg", "report.html", WEIGHTS,
    "models/echo/base-a/seed0/manifest.json", "models/echo/base-a/seed0/training.json",
    "mteb:STS12.json", "mteb:records.jsonl", "mteb:model_meta.json",
]  # fmt: skip


@pytest.mark.parametrize("name", FLIPPED)
def test_a_flipped_byte_is_named_once(results, finished, name):
    path = mteb_file(results, name.removeprefix("mteb:")) if name.startswith("mteb:") else results / name
    flip(path)
    [line] = failures(results, finished)
    assert line.startswith(f"{path.relative_to(results).as_posix()}: ")


TAMPERED = {
    "score": (
        lambda r: change_cell(r / "scores.csv", main_row(r, "NFCorpus"), "value", "0.75"),
        r"scores.csv: row \d+, column 'value' is '0.75' but should be '0\.\d+', by mteb's own files; ",
    ),
    "score without items": (
        lambda r: change_cell(r / "scores.csv", main_row(r, BARE), "value", "0.75"),
        r"scores.csv: row \d+, column 'value' is '0.75' but should be '0\.\d+', by mteb's own files; ",
    ),
    "name of a score": (
        lambda r: change_cell(r / "scores.csv", main_row(r, "STS12"), "split", "dev"),
        r"scores.csv: row \d+, column 'split' is 'dev' but should be 'test', by mteb's own files; ",
    ),
    "item": (
        lambda r: change_item(r / "items" / "NFCorpus.parquet"),
        r"items/NFCorpus.parquet: its items of method 'echo', base 'base-a', seed 0 give test/default a score of ",
    ),
    "score in mteb's file": (
        lambda r: edit_json(
            mteb_file(r, "NFCorpus.json"), lambda value: value["scores"]["test"][0].update(main_score=0.75)
        ),
        r"mteb/results/.*echo.*/NFCorpus.json: its main_score \(test/default\) is 0.75, but scores.csv says 0\.\d+ and",
    ),
    "cell of CSV": (
        lambda r: change_cell(r / "tables" / "main.csv", 2, "Average", "99.9"),
        r"tables/main.csv: row 3, column 'Average' is '99.9' but should be '\d+\.\d+', by the scores; ",
    ),
    "cell of statistics": (
        lambda r: change_cell(r / "statistics" / "estimates.csv", 1, "score", "0.99"),
        r"statistics/estimates.csv: row 2, column 'score' is '0.99' but should be '0\.\d+', by the scores; ",
    ),
    "verdict": (
        lambda r: edit_json(r / "claims" / "claims.json", lambda v: v["verdicts"][0].update(base="other")),
        r"claims/claims.json: 'verdicts\[1\].base' is '\"other\"' but should be '\"base-a\"', by the scores; ",
    ),
    "weight": (
        lambda r: flip(r / WEIGHTS),
        r"models/echo/base-a/seed0: its files give revision \w{12}…, but its manifest.json says \w{12}…; ",
    ),
    "training record": (
        lambda r: edit_json(r / "training.json", lambda value: value[0].update(seconds=1.0)),
        r"training.json: '\[1\].seconds' is '1.0' but should be '\d+\.\d+', by the models' own training.json; ",
    ),
    "manifest": (
        lambda r: edit_json(r / "manifest.json", lambda value: value.update(dtype="bfloat16")),
        r"manifest.json: its id is '\w{12}', but its content gives '\w{12}'; ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_with_checksums_made_anew_it_is_still_named_once(results, finished, what):
    """A careful forger also writes ``SHA256SUMS`` again."""
    tamper, message = TAMPERED[what]
    tamper(results)
    write_checksums(results)
    [line] = failures(results, finished)
    assert re.match(message, line), line


def test_a_changed_cell_is_named_by_line_and_column_in_markdown_and_latex(results, finished):
    path = results / "tables" / "main.md"
    line, number = next((x, n) for n, x in enumerate(path.read_text().split("\n"), 1) if x.startswith("| echo"))
    cells = line.split("|")
    cells[3] = " 77.7 "
    path.write_text(path.read_text().replace(line, "|".join(cells)))
    [found] = failures(results, finished)
    assert found.startswith(f"tables/main.md: line {number}, column 3 is '77.7' but should be '")


def test_extra_and_missing_files_are_named_once(results, finished):
    (results / "tables" / "mine.md").write_text("mine")
    (results / ".scores.csv.123.draft.csv").write_text("half")
    (results / "plots" / "forest.svg").unlink()
    (results / "tables" / "main.tex").rename(results / "tables" / "main2.tex")
    found = failures(results, finished)
    assert [line.partition(";")[0] for line in found] == [
        ".scores.csv.123.draft.csv: is not in SHA256SUMS: no part of this study made it",
        "plots/forest.svg: is missing, or cannot be read, but stands in SHA256SUMS",
        "tables/main.tex: is missing, or cannot be read, but stands in SHA256SUMS",
        "tables/main2.tex: is not in SHA256SUMS: no part of this study made it",
        "tables/mine.md: is not in SHA256SUMS: no part of this study made it",
    ]


def test_links_and_pipes_are_named_and_not_waited_for(results, finished, tmp_path):
    os.mkfifo(results / "pipe")
    (results / "folder").symlink_to(tmp_path)
    (results / "nowhere").symlink_to(tmp_path / "nothing")
    names = [line.partition(":")[0] for line in failures(results, finished)]
    assert names == ["folder", "nowhere", "pipe"]
    with pytest.raises(UserError, match="is no file that can be read"):
        write_checksums(results)


@pytest.mark.parametrize(
    "name", ["items/STS12.parquet", "scores.csv", "mteb:STS12.json", "mteb:records.jsonl", WEIGHTS]
)
def test_a_missing_file_is_named_once(results, finished, name):
    path = mteb_file(results, name.removeprefix("mteb:")) if name.startswith("mteb:") else results / name
    path.unlink()
    [line] = failures(results, finished)
    assert line.startswith(f"{path.relative_to(results).as_posix()}: is missing")


def test_a_broken_file_of_checksums_is_named_once(results, finished):
    sums = results / "SHA256SUMS"
    whole = sums.read_text()
    sums.write_text(whole.replace("  report.html", "  ../report.html"))
    [line] = failures(results, finished)
    assert line.startswith("SHA256SUMS: line ") and "no checksum and path within the folder" in line
    sums.write_text("".join(x for x in whole.splitlines(keepends=True) if "report.html" not in x))
    assert failures(results, finished) == [
        "report.html: is not in SHA256SUMS: no part of this study made it; delete it or move it away"
    ]
    sums.unlink()
    [line] = failures(results, finished)
    assert line.startswith("SHA256SUMS: is missing")


def test_what_failed_is_not_believed_further_on(results, finished):
    flip(results / "efficiency.csv")
    found = checked(results, finished)
    assert any("were not made again, as efficiency.csv failed" in note for note in found.notes)
    (results / "items" / "STS12.parquet").write_bytes(b"no parquet")
    found = checked(results, finished)
    assert sorted(found.failures) == ["efficiency.csv", "items/STS12.parquet"]
    assert "is not a readable Parquet file" in found.failures["items/STS12.parquet"]


def test_a_copy_without_models_can_be_checked(results, finished):
    shutil.rmtree(results / "models")
    assert failures(results, finished, models=False) == []
    assert all(line.startswith("models/") for line in failures(results, finished))


def test_the_command_line_prints_and_exits(results, finished, capsys):
    files = ["--layout", str(finished.parent / "tables.yaml"), "--claims", str(finished.parent / "claims.yaml")]
    main(["verify", "--results", str(results), *files])
    assert capsys.readouterr().out.splitlines()[-1].startswith("verified: ")
    (results / "report.html").write_text("other")
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--results", str(results), *files])
    assert ended.value.code == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("FAILED report.html: line 1 is 'other' but should be ") and out[-1].endswith("; 1 failure")
    with pytest.raises(UserError, match="is no finished results folder"):
        main(["verify", "--results", str(results / "tables"), *files])


def test_costs_of_another_machine_are_checked_with_their_file(results, finished, tmp_path, capsys):
    costs = tmp_path / "far.csv"
    pd.read_csv(results / "efficiency.csv").assign(base="far (random)").to_csv(costs, index=False)
    files = {"layout": finished.parent / "tables.yaml", "claims": finished.parent / "claims.yaml"}
    study = load_study(results, external_efficiency=costs)
    write_tables(study, results / "tables", load_layout(files["layout"]))
    write_claims(study, load_claims(files["claims"]), results / "claims")
    report_study(study, *files.values(), results / "plots", results / "report.html")
    write_checksums(results)
    words = ["verify", "--results", str(results), "--external-efficiency", str(costs)]
    main([*words, *(word for name, path in files.items() for word in (f"--{name}", str(path)))])
    assert capsys.readouterr().out.splitlines()[-1].startswith("verified: ")
    assert any("--external-efficiency" in line for line in failures(results, finished)), "the remedy"
