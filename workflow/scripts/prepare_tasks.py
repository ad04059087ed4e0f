from pathlib import Path

from causal2vec.evaluation.tasks import build_task_data
from causal2vec.shared import shared
from causal2vec.workflow import job

with job(snakemake) as s:
    shared(s, lambda output: build_task_data(Path(s.input[0]).parent, output))
