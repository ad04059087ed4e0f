"""A wrong input, how it is given to the suite, and the one sentence that must come back."""

import contextlib
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from causal2vec.errors import UserError
from causal2vec.runtime.cli import run_cli

ROOT = Path(__file__).parents[2]


class Case(NamedTuple):
    """One wrong input.

    ``run`` gets an empty folder of its own, makes the input there and gives it to the suite; ``says`` is the
    sentence expected, in which ``{path}`` stands for that folder and ``…`` for any text.
    """

    id: str
    run: Callable[[Path], Any]
    says: str


def sentence_of(case: Case, folder: Path) -> str:
    """What a case says, with ``{path}`` for the folder; an error that is no `UserError` is not caught."""
    try:
        case.run(folder)
    except UserError as error:
        return str(error).replace(str(folder), "{path}")
    raise AssertionError(f"{case.id} was accepted")


def check(case: Case, folder: Path) -> None:
    """The sentence is the expected one, stands in one line and is no longer than a paragraph."""
    said = sentence_of(case, folder)
    assert re.fullmatch(".*".join(map(re.escape, case.says.split("…"))), said), said
    assert said.isprintable() and len(said) < 700


def command(main: Callable[[], None], *arguments: object) -> None:
    """Run a command line in this process; what it says on stderr before exit status 2 becomes the error."""
    errors = io.StringIO()
    argv = ["causal2vec", *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stderr(errors):
        try:
            run_cli(main)
        except SystemExit as stopped:
            assert stopped.code == 2, "bad input must end with exit status 2"
            # argparse writes its usage first; the last line is what is wrong
            last = errors.getvalue().splitlines()[-1]
            raise UserError(last.partition("error: ")[2]) from None


def write(path: Path, text: str | bytes) -> Path:
    """A file of this text, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path
