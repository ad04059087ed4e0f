from pathlib import Path

from causal2vec.evaluation.tasks import write_task_texts
from causal2vec.shared import shared
from causal2vec.workflow import folders_of, job

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
