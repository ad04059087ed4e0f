"""Text that LaTeX shows as it is."""

from __future__ import annotations

import re
import unicodedata

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    # In braces, because a row that starts with one would be taken for an argument of the line break before.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "\u200b": "{}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "×": r"$\times$",
    "÷": r"$\div$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "−": "$-$",
    "≈": r"$\approx$",
    "·": r"$\cdot$",
    "°": r"$^{\circ}$",
    "†": r"$^{\dagger}$",
    "µ": r"$\mu$",
    "✓": r"$\surd$",
    "✗": r"$\times$",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
}

_LETTERS = frozenset(
    "".join(chr(code) for code in range(0xC0, 0x180) if len(unicodedata.normalize("NFD", chr(code))) == 2)
)
"""Letters with an accent, which every LaTeX of this century reads as they are."""


def escape_latex(text: str) -> str:
    """Text that LaTeX shows as it is; a character that its plain fonts lack becomes its number, such as U+1F600."""
    # Two hyphens would be set as a dash.
    apart = re.sub(r"-(?=-)", "-\u200b", " ".join(text.split()))
    return "".join(map(_character, apart))


def as_printed(text: str) -> str:
    """The characters that will stand on the page, by which its width can be judged."""
    return "".join(c if c in _LATEX else _character(c) for c in " ".join(text.split()))


def _character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if (character.isascii() and character.isprintable()) or character in _LETTERS:
        return character
    # Fonts without this character would stop the compilation; its number can still be read.
    return f"U+{ord(character):04X}"
