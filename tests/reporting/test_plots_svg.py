"""SVG files: they are valid, tell their numbers on hover, and cannot be broken by a name."""

import re
from xml.etree import ElementTree as ET

from figure_data import make_study

from causal2vec.reporting.show.figures.captions import TITLES, captions
from causal2vec.reporting.show.figures.draw import write_plots
from causal2vec.reporting.show.figures.svg import hover

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "a]]><script>alert(1)</script>&amp;\"'\x00\x1f--><b>"


def roots(study, folder):
    return {path.stem: ET.parse(path).getroot() for path in write_plots(study, folder) if path.suffix == ".svg"}


def hovers(root):
    """Text on hover -> the element that it belongs to."""
    return {
        title.text: parent for parent in root.iter() for title in parent.findall(f"{SVG}title") if parent is not root
    }


def test_every_figure_tells_its_numbers_on_hover(tmp_path):
    study = make_study(pooling=True)
    entry, tasks = ("causal2vec", "llm"), study.summary.tasks
    score = 100 * study.summary.average(entry, tasks)
    interval = f"(95 % interval {score - 1.2:.1f} to {score + 1.2:.1f})"
    found = roots(study, tmp_path)
    assert list(found) == list(captions())
    for name, root in found.items():
        texts = hovers(root)
        assert texts, name
        # The title stands first, where browsers look for it, beside something that is drawn.
        assert all(parent[0].tag == f"{SVG}title" and len(parent) > 1 for parent in texts.values()), name
        assert not any("hover:" in element.get("id", "") for element in root.iter())
    assert f"causal2vec: {score:.1f} {interval}, 1.50 s per 1,000 texts" in hovers(found["score_vs_time"])
    assert f"causal2vec: {score:.1f} {interval}, 30.0 tokens per text" in hovers(found["score_vs_length"])
    assert any(text.startswith("causal2vec, STS: ") for text in hovers(found["scores_by_type"]))
    assert any(re.fullmatch(r"causal2vec, seed 1: 0\.\d+ at step 60", text) for text in hovers(found["loss_curves"]))
    assert "causal2vec: 2,500 texts per second of 16 tokens" in hovers(found["throughput_vs_length"])
    assert any(
        re.match(r"echo, SciFact: \d+\.\d \(95 .*\), [+-]\d+\.\d to the mean", t) for t in hovers(found["heatmap"])
    )


def test_every_figure_has_a_title_a_description_and_unique_identifiers(tmp_path):
    for name, root in roots(make_study(pooling=True), tmp_path).items():
        assert root.get("role") == "img"
        assert [(child.tag, child.text) for child in root[:2]] == [
            (f"{SVG}title", TITLES[name]),
            (f"{SVG}desc", captions()[name]),
        ]
        identifiers = [element.get("id") for element in root.iter() if element.get("id")]
        assert len(identifiers) == len(set(identifiers))
        used = set(re.findall(r"#([\w-]+)\)?\"", ET.tostring(root, encoding="unicode")))
        # Colours look like references too.
        assert {name for name in used if not re.fullmatch("[0-9a-f]{6}", name)} <= set(identifiers)


def test_plain_prefixes_so_that_the_file_can_stand_inside_a_page(tmp_path):
    for path in write_plots(make_study(), tmp_path):
        if path.suffix == ".svg":
            text = path.read_text(encoding="utf-8")
            assert text.startswith("<?xml") and "<svg xmlns=" in text and "ns0:" not in text
            assert "<metadata" not in text and "<script" not in text


def test_hostile_names_are_text_and_nothing_else(tmp_path):
    entries = [(HOSTILE, "llm"), (f"{HOSTILE}2", "llm"), ("plain", "llm")]
    study = make_study(entries, types={HOSTILE: [HOSTILE]}, order=[HOSTILE], stamp=HOSTILE)
    clean = HOSTILE.replace("\x00", "U+0000").replace("\x1f", " ")
    for name, root in roots(study, tmp_path).items():
        assert {element.tag for element in root.iter()} <= {
            SVG + tag for tag in ("svg", "title", "desc", "defs", "style", "g", "path", "use", "clipPath", "rect")
        }, name
        assert any(clean in text for text in hovers(root)), name


def test_what_xml_cannot_hold_is_written_as_its_number():
    assert hover("a\x00b\x0bc\ud800d\ufffee\n f") == "hover:aU+0000b cU+D800dU+FFFEe f"
