"""``torchrun ... -m causal2vec.training.worker JOB.json``: one process of a training spread over several."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from causal2vec.errors import UserError
from causal2vec.runtime.files import write_json
from causal2vec.training import ranks
from causal2vec.training.job import FAILURE, read_job
from causal2vec.training.launch import perform


def main() -> None:
    """Read the job, do this process's part of it, and leave word of a failure for `causal2vec.training.launch`."""
    parser = argparse.ArgumentParser(prog="causal2vec.training.worker", description=__doc__)
    parser.add_argument("job", type=Path, help="the job file, which a training leaves in its state folder")
    path = parser.parse_args().job
    try:
        perform(read_job(path))
        ranks.leave()
    except UserError as error:
        if ranks.rank() == 0 or not (path.parent / FAILURE).exists():
            write_json(path.parent / FAILURE, {"error": str(error), "rank": ranks.rank(), "status": error.status})
        sys.stderr.write(f"error: {error}\n" if ranks.rank() == 0 else "")
        sys.exit(1)


if __name__ == "__main__":
    main()
