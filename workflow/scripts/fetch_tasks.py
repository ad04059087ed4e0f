from pathlib import Path

from causal2vec.fetch.tasks import fetch_tasks
from causal2vec.workflow import job

with job(snakemake) as s:
    fetch_tasks(list(s.params.tasks), Path(s.output[0]), Path("work/state/fetch_tasks"))
