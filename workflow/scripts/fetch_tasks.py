from causal2vec.fetch.tasks import fetch_tasks
from causal2vec.shared import shared
from causal2vec.workflow import folders_of, job

with job(snakemake) as s:
    state = folders_of(s).state / "fetch_tasks"
    shared(s, lambda output: fetch_tasks(list(s.params.tasks), output, state))
