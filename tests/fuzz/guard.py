"""What a harness needs besides its input: a folder, a guard that sees every write, and a way to start the fuzzer."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
_armed: list[str] = []
"""The folder that may be written to while code is being tried; empty in between."""
_strays: list[str] = []


def _audit(event: str, arguments: tuple) -> None:
    if not _armed:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            return
        paths = [path]
    elif event in _WRITES:
        paths = [argument for argument in arguments[:2] if isinstance(argument, str | bytes | os.PathLike)]
    elif event in ("os.system", "subprocess.Popen", "socket.connect", "os.exec"):
        _strays.append(f"{event} {arguments!r:.200}")
        return
    else:
        return
    for path in paths:
        full = os.path.realpath(os.fsdecode(path))
        if full != _armed[0] and not full.startswith(_armed[0] + os.sep):
            _strays.append(f"{event} {full!r}")


sys.addaudithook(_audit)
sys.dont_write_bytecode = True  # a codec that is first needed by some input is no stray write


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Any write out of ``folder``, and any new process or connection, is an error, even one that is caught."""
    _armed.append(os.path.realpath(folder))
    _strays.clear()
    try:
        yield
    finally:
        _armed.clear()
    if _strays:
        raise AssertionError(f"left its folder: {_strays[0]}")


class Scratch:
    """A folder below the current one, which `run` removes at the end, with a fresh sub-folder for every input."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="fuzz-", dir=Path.cwd()))

    def fresh(self, name: str) -> Path:
        """An empty folder of this name."""
        folder = self.root / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder


def fuzz(try_one: Callable[[bytes], None]) -> None:
    """Start the fuzzer on a harness; the arguments of the command line are libFuzzer's."""
    import atheris

    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()
