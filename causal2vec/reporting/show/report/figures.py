"""Figures for a page: SVG made safe and independent, so that many can stand in one HTML document."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from markupsafe import Markup

from causal2vec.errors import UserError

# fmt: off
_ALLOWED = frozenset({
    "svg", "g", "defs", "path", "use", "clipPath", "rect", "circle", "ellipse", "line", "polyline", "polygon",
    "text", "tspan", "title", "desc", "image", "symbol", "marker", "linearGradient", "radialGradient", "stop",
    "pattern", "mask",
})
# fmt: on
"""Drawing only: nothing that runs, links or loads."""

_WIDE = 400
"""Points; a figure that is wider takes the page's whole width."""

_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_LONG_NUMBER = re.compile(r"-?[1-9]\d*\.\d{3,}")


class Drawing(NamedTuple):
    """A figure as inline SVG, and whether it wants the page's whole width."""

    svg: Markup
    wide: bool


def inline_svg(path: Path, prefix: str, description: str) -> Drawing:
    """Read an SVG file for use inside an HTML page.

    An ``id`` that is referred to gets a new name with ``prefix``, so that figures do not clash, and others go; numbers
    keep two decimals; ``style`` attributes become presentation attributes, as the page's policy refuses inline styles;
    scripts, links, event handlers and whatever is no drawing are left out. ``<title>`` elements, which a browser shows
    on hover, are kept but for the root's, which becomes the label of the whole.

    Args:
        path: The SVG file.
        prefix: A text that no other figure of the page has.
        description: What the figure shows, for those who do not see it, where the file has no title.

    Raises:
        UserError: The file is missing or is not SVG.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; draw the figures first") from error
    except ElementTree.ParseError as error:
        raise UserError(f"{path} is not SVG ({error}); draw the figures again") from error
    if _local(root.tag) != "svg":
        raise UserError(f"{path} is not SVG (its root is {_local(root.tag)!r}); draw the figures again")
    label = _take_label(root) or description
    box = re.findall(r"[\d.]+", root.get("viewBox", ""))
    _clean(root, _names(root, prefix))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    # What matplotlib sets for all elements by a style sheet, which would leak into the page.
    root.attrib |= {"stroke-linejoin": "round", "stroke-linecap": "butt", "role": "img", "aria-label": label}
    text = ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)
    return Drawing(Markup(text.strip()), len(box) == 4 and float(box[2]) > _WIDE)


def _local(name: object) -> str:
    """A name without its namespace; comments and processing instructions have none."""
    return name.rpartition("}")[2] if isinstance(name, str) else ""


def _take_label(root: ElementTree.Element) -> str:
    """Title and description of the whole figure, which are taken out of it."""
    words = []
    for child in list(root):
        if _local(child.tag) in ("title", "desc"):
            words.append(" ".join("".join(child.itertext()).split()))
            root.remove(child)
    return ". ".join(word.rstrip(".") for word in words if word)


def _names(root: ElementTree.Element, prefix: str) -> dict[str, str]:
    """Every ``id`` that something refers to -> its new name."""
    wanted = set()
    for element in root.iter():
        for name, value in element.attrib.items():
            wanted.update(_REFERENCE.findall(value))
            if _local(name) == "href" and value.startswith("#"):
                wanted.add(value[1:])
    found = [element.get("id", "") for element in root.iter() if element.get("id") in wanted]
    return {name: f"{prefix}-{number}" for number, name in enumerate(dict.fromkeys(found))}


def _clean(element: ElementTree.Element, names: dict[str, str]) -> None:
    """Keep what draws, with ids of its own, here and in all below."""
    element.tag = _local(element.tag)
    element.attrib = _attributes(element.attrib, names)
    if not (element.text or "").strip():
        element.text = None
    for child in list(element):
        if _local(child.tag) not in _ALLOWED:
            element.remove(child)
            continue
        child.tail = None if not (child.tail or "").strip() else child.tail
        _clean(child, names)
        if (child.tag in ("use", "image") and "href" not in child.attrib) or (child.tag == "g" and not len(child)):
            element.remove(child)


def _attributes(found: dict[str, str], names: dict[str, str]) -> dict[str, str]:
    given = {_local(name): value for name, value in found.items()}
    style = dict(part.split(":", 1) for part in given.pop("style", "").split(";") if ":" in part)
    given |= {name.strip(): value.strip() for name, value in style.items()}
    kept: dict[str, str] = {}
    for name, value in given.items():
        if name.lower().startswith("on") or name == "class":
            continue
        if name == "id":
            kept |= {name: names[value]} if value in names else {}
        elif name == "href":
            kept |= _reference(value, names)
        elif "url(" in value:
            inside = _REFERENCE.fullmatch(value)
            kept |= {name: f"url(#{names[inside[1]]})"} if inside and inside[1] in names else {}
        elif name in ("d", "transform", "x", "y", "points"):
            kept[name] = _LONG_NUMBER.sub(lambda number: f"{float(number[0]):.2f}", " ".join(value.split()))
        else:
            kept[name] = value
    return kept


def _reference(value: str, names: dict[str, str]) -> dict[str, str]:
    """A reference within the figure, or an image that it holds itself; none to elsewhere."""
    if value.startswith("#"):
        return {"href": f"#{names[value[1:]]}"} if value[1:] in names else {}
    return {"href": value} if value.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) else {}
