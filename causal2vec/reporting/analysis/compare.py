"""What is compared with what: everything on one base, and the controls beside it.

A suite may name the bases that it compares. Whatever stands on another base (a small encoder alone, say) is a
control: it belongs beside every compared base, or nothing would be gained by running it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from causal2vec.errors import UserError
from causal2vec.reporting.analysis.summary import Entry, entry_name, is_untrained, is_variant, twin_of
from causal2vec.reporting.read.schema import UNTRAINED_SUFFIX
from causal2vec.reporting.read.types import listed

TRAINED_TITLE = "Trained on the same pairs"
UNTRAINED_TITLE = f"Untrained ({UNTRAINED_SUFFIX})"
VARIANTS_TITLE = "Ablation variants"

Block = Literal["trained", "untrained", "variants"]
"""Which entries: trained methods, untrained twins, or ablation variants of either."""


@dataclass(frozen=True)
class Panel:
    """Entries that are compared with each other.

    Attributes:
        base: The base that all but the controls share.
        entries: The entries, in display order.
        title: What tells it from other panels; empty where there is but one.
    """

    base: str
    entries: list[Entry]
    title: str = ""

    def heading(self, text: str) -> str:
        """``text`` with the base, where other panels have other bases."""
        return f"{text}, base {self.base}" if self.title else text


def check_bases(entries: list[Entry], bases: Sequence[str] | None) -> None:
    """Refuse a compared base that nothing stands on.

    Raises:
        UserError: A base has no scores; most likely its name is misspelt.
    """
    found = sorted({base for _, base in entries})
    for base in bases or []:
        if base not in found:
            raise UserError(f"the compared base {base!r} has no scores; name some of these: {', '.join(found)}")


def compare(entries: list[Entry], bases: Sequence[str] | None) -> list[Panel]:
    """One panel per compared base, each with all controls; without ``bases`` every base is compared."""
    if not bases:
        shown, controls = sorted({base for _, base in entries}), set[str]()
    else:
        present = {base for _, base in entries}
        # A file that only knows controls (of the training, say) still shows them, once.
        shown = [base for base in dict.fromkeys(bases) if base in present] or [bases[0]]
        controls = present - set(bases)
    return [
        Panel(base, [e for e in entries if e[1] == base or e[1] in controls], base if len(shown) > 1 else "")
        for base in shown
    ]


def block_of(entry: Entry) -> Block:
    """Which block of a table an entry belongs to."""
    method, _ = entry
    return "variants" if is_variant(method) else "untrained" if is_untrained(method) else "trained"


def split_blocks(panels: list[Panel], blocks: Sequence[str]) -> list[Panel]:
    """For each of ``blocks`` (see `Block`), each panel's entries of it, titled; none of them empty."""
    titles: dict[str, str] = {"trained": TRAINED_TITLE, "untrained": UNTRAINED_TITLE, "variants": VARIANTS_TITLE}
    parts = []
    for block in blocks:
        for panel in panels:
            members = [e for e in panel.entries if block_of(e) == block]
            if members:
                parts.append(Panel(panel.base, members, panel.heading(titles[block])))
    return parts


def split_trained(panels: list[Panel]) -> list[Panel]:
    """Each panel's trained entries, then each panel's untrained ones, without ablation variants."""
    return split_blocks(panels, ["trained", "untrained"])


def counterpart(entry: Entry) -> Entry:
    """The untrained twin of a method on the same base, or the method of a twin."""
    method, base = entry
    return (twin_of(method) if is_untrained(method) else f"{method}{UNTRAINED_SUFFIX}"), base


def short_name(entry: Entry, entries: list[Entry]) -> str:
    """A name for figures, where hollow markers tell twins: no suffix, unless bases must be told apart too."""
    method, _ = entry
    alone = len({b for m, b in entries if twin_of(m) == twin_of(method)}) == 1
    return twin_of(method) if alone else entry_name(entry, entries)


def control_notes(entries: list[Entry], bases: Sequence[str] | None) -> list[str]:
    """One sentence that names the controls with their bases, if there are any."""
    controls = [f"{method} ({base})" for method, base in entries if bases and base not in bases]
    return [f"Controls, on another base than {listed(list(bases or []))}: {listed(controls)}."] if controls else []
