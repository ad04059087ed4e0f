from pathlib import Path

from causal2vec.evaluation.tasks import write_task_texts
from causal2vec.runtime.job import folders_of, job
from causal2vec.runtime.shared import shared

with job(snakemake) as s:
    shared(
        s,
        lambda output: write_task_texts(
            list(s.params.tasks),
            folders_of(s).work / "tasks",
            output,
            Path(s.input.fetched[0]) if s.input.fetched else None,
        ),
    )
