from pathlib import Path

from causal2vec.config.settings import OwnTask
from causal2vec.evaluation.tasks import build_task_data
from causal2vec.runtime.job import job
from causal2vec.runtime.shared import shared

with job(snakemake) as s:
    packages = Path(s.input.packages[0]).parent if s.input.packages else None
    own = {name: OwnTask(**task) for name, task in s.params.own.items()}
    shared(s, lambda output: build_task_data(packages, output, own))
