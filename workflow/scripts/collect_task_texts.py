from pathlib import Path

from causal2vec.evaluation.tasks import write_task_texts
from causal2vec.workflow import job

with job(snakemake) as s:
    write_task_texts(list(s.params.tasks), Path(s.input[0]), Path(s.output[0]))
