"""One undisturbed run that the disturbed ones are compared with."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def undisturbed(tiny: dict[str, Path], packages_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import study

    folder = study.prepare(tmp_path_factory.mktemp("whole") / "study", study.configuration(tiny), packages_folder)
    done = study.run(folder)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder
