"""Any data: values that YAML and JSON can hold, texts that no tokenizer should choke on, one change anywhere."""

import copy
from typing import Any

from hypothesis import strategies as st

AWKWARD = [
    "", " ", "\n\t\u3000\u00a0", "\0", "a\0b", "\ud800", "x\udfffy", "\ufeffa", "\u202eright to left\u202c",
    "שלום עולם",
    "مرحبا بالعالم", "👩‍👩‍👧‍👦🏳️‍🌈", "😀" * 9, "e\u0301\u0323" * 5, "\u200b\u200d\u2060",
    "日本語のテキスト", "ﷺ" * 3,
    "\x1b[31m", "\uffff",
    "<bos>", "<eos><pad>", "Instruct: find\nQuery: ", "{}{0}%s\\n", "\r\n", "A" * 500, "\u0600" * 40,
]  # fmt: skip

any_text = st.sampled_from(AWKWARD) | st.text(st.characters(exclude_categories=()), max_size=40)
"""Any string of Python, lone surrogates included."""

clean_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
"""Any text that a file can hold."""

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | clean_text
    | st.sampled_from(["auto", "settings.pooling", "budget.steps", "encoder", "0", "all", "a.b", "..", "concat", "hub"])
)
any_value = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
"""Anything that a YAML or a JSON file can say."""


def places(value: Any, above: tuple = ()) -> list[tuple]:
    """The paths of all values within a value."""
    found = [above] if above else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        found += places(part, (*above, key))
    return found


@st.composite
def changes_of(draw: st.DrawFn, source: Any) -> Any:
    """The source with up to three values replaced, removed, renamed or put elsewhere."""
    changed = copy.deepcopy(source)
    for _ in range(draw(st.integers(1, 3))):
        known = places(changed)
        if not known:
            break
        *above, key = draw(st.sampled_from(known))
        section = changed
        for part in above:
            section = section[part]
        what = draw(st.sampled_from(["replace", "replace", "remove", "rename", "copy"]))
        if what == "replace":
            section[key] = draw(any_value)
        elif what == "remove":
            del section[key]
        elif what == "rename" and isinstance(section, dict):
            section[draw(clean_text)] = section.pop(key)
        else:
            other: Any = changed
            for part in draw(st.sampled_from(places(changed))):
                other = other[part]
            section[key] = copy.deepcopy(other)
    return changed
