from pathlib import Path

from causal2vec.evaluation.tasks import build_task_data
from causal2vec.workflow import job

with job(snakemake) as s:
    build_task_data(Path(s.input[0]).parent, Path(s.output[0]))
