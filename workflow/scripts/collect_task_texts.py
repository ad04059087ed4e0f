from pathlib import Path

from causal2vec.evaluation.tasks import write_task_texts
from causal2vec.workflow import job

with job(snakemake) as s:
    write_task_texts(
        list(s.params.tasks),
        Path("work/tasks"),
        Path(s.output[0]),
        Path(s.input.fetched[0]) if s.input.fetched else None,
    )
