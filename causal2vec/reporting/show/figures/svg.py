"""Figures as files: equal data give equal bytes, and an SVG tells its numbers on hover.

What an artist is about travels in its group id, the one thing that Matplotlib hands through to an SVG; on saving
it becomes a ``<title>``, which every browser shows when the pointer rests on the mark.
"""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from pathlib import Path

from matplotlib.figure import Figure

from causal2vec.reporting.read.visible import one_line
from causal2vec.runtime.files import atomic_file

_HOVER = "hover:"
_NAMESPACES = {"": "http://www.w3.org/2000/svg", "xlink": "http://www.w3.org/1999/xlink"}
_SVG = f"{{{_NAMESPACES['']}}}"


def hover(text: str) -> str:
    """A group id for an artist (``gid=hover(...)``) that `save` turns into the text shown on hover."""
    return _HOVER + one_line(text)  # which holds nothing that XML could not


def freeze_layout(figure: Figure) -> None:
    """Arrange the figure's parts now and never again, so that places on the screen are final."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        # The solver's last digits differ from run to run, and an SVG's identifiers depend on them.
        left, bottom, width, height = (round(value, 6) for value in axes.get_position(original=True).bounds)
        axes.set_position((left, bottom, width, height))


def save(figure: Figure, folder: Path, name: str, title: str, description: str) -> list[Path]:
    """Write a figure as ``name.svg`` and ``name.png``, without dates or versions.

    Args:
        figure: The figure.
        folder: Where to.
        name: The base name of the files.
        title: What the figure shows, for those who hear it instead of seeing it.
        description: The same at more length.

    Returns:
        The two paths, SVG first.
    """
    freeze_layout(figure)
    contents = {}
    for suffix, about in {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, metadata=about)
        contents[suffix] = buffer.getvalue()
    contents["svg"] = _annotated(contents["svg"], title, description)
    paths = []
    for suffix, data in contents.items():
        path = folder / f"{name}.{suffix}"
        with atomic_file(path) as draft:
            draft.write_bytes(data)
        paths.append(path)
    return paths


def _annotated(svg: bytes, title: str, description: str) -> bytes:
    """The SVG with texts for hover and for screen readers."""
    for prefix, address in _NAMESPACES.items():
        ET.register_namespace(prefix, address)
    root = ET.fromstring(svg)
    # Says who made the file and when, or would, had it not been told not to.
    for about in root.findall(f"{_SVG}metadata"):
        root.remove(about)
    number = 0
    for element in root.iter():
        if element.get("id", "").startswith(_HOVER):
            number += 1
            text = element.attrib["id"].removeprefix(_HOVER)
            element.set("id", f"data_{number}")
            _insert(element, 0, "title", text)
    root.set("role", "img")
    _insert(root, 0, "title", title)
    _insert(root, 1, "desc", description)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _insert(element: ET.Element, position: int, tag: str, text: str) -> None:
    child = ET.Element(f"{_SVG}{tag}")
    child.text = text
    child.tail = "\n"
    element.insert(position, child)
