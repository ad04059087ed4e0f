"""A study in which methods, bases, tasks, notes and settings have the names that an attacker would give them."""

from dataclasses import replace
from unittest import mock

from conftest import ROOT
from report_data import made_up
from synthetic import write_study

from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.show.figures.draw import FIGURES, write_plots
from causal2vec.reporting.show.report.page import report_study
from causal2vec.runtime.files import read_json, write_json

NAMES = [
    "<script>window.hurt=1</script>",
    '"><img src=x onerror=window.hurt=1>',
    "' onmouseover='window.hurt=1' x='",
    "</title></style></svg><svg onload=window.hurt=1>",
    "{{7*7}}{%raw%}${7*7}<%=7*7%>",
    "a|b`c`|---|\n|x|<br>",
    "[click](javascript:window.hurt=1)![](http://evil.invalid/x.png)",
    r"\input{/etc/passwd}\write18{id}$\frac{1}$%&#_^~",
    "photo\u202egnp.exe\u2066\u200f",
    "nul\x00bell\x07escape\x1b[31m\x85\u2028end",
    "=cmd|' /C calc'!A0",
    "&lt;b&gt;&#x3c;script&#62; &amp;amp;",
    "long" * 90,
    "שלום 日本語 👩\u200d💻 e\u0301",
]
"""Scripts, quotes, templates, Markdown, LaTeX, reordering, control characters, formulas, entities, length, letters."""

TASKS = {
    NAMES[0]: "Retrieval", NAMES[5]: "STS", NAMES[7]: "Clustering", NAMES[8]: "Classification",
    NAMES[12]: "Reranking", "Ta\"sk'<b>": "<script>window.hurt=2</script>",
}  # fmt: skip
"""Task -> type; the last type is hostile too."""

BASE = "base<img src=x onerror=window.hurt=3>\u202e"


def hostile_study(folder):
    """Write such a study's score files, and read them back."""
    write_study(
        folder, methods=NAMES, bases=(BASE,), tasks=TASKS, items=10, control=False, without_items=TASKS,
        scale_note=f"small-scale: {' '.join(NAMES)}",
    )  # fmt: skip
    manifest = read_json(folder / "manifest.json")
    manifest["config"]["title"] = f"</title>{NAMES[0]}"
    manifest["hardware"] = {"device": NAMES[1], "device_name": NAMES[3]}
    manifest["git"] = {"commit": NAMES[0], "dirty": False}
    manifest["seconds"] = {f"{NAMES[0]}/{name}": 1.5 for name in NAMES}
    manifest["versions"] |= {name: name for name in NAMES}
    manifest["config"]["methods"][NAMES[0]]["assumed"] = NAMES
    write_json(folder / "manifest.json", manifest)
    study = load_study(folder)
    return replace(study, evidence=made_up(study.summary, study.bases, 0.012))


def hostile_report(folder):
    """The report of `hostile_study` with some of its figures, as all take long; its path."""
    study = hostile_study(folder)
    drawn = {name: FIGURES[name] for name in ("scores_by_type", "forest", "heatmap", "score_vs_time")}
    with mock.patch.dict(FIGURES, drawn, clear=True):
        write_plots(study, folder / "plots")
    config = ROOT / "config"
    report_study(study, config / "tables.yaml", config / "claims.yaml", folder / "plots", folder / "report.html")
    return folder / "report.html"
