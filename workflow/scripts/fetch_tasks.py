from causal2vec.evaluation.tasks.download import fetch_tasks
from causal2vec.runtime.job import folders_of, job
from causal2vec.runtime.shared import shared

with job(snakemake) as s:
    state = folders_of(s).state / "fetch_tasks"
    shared(s, lambda output: fetch_tasks(list(s.params.tasks), output, state))
