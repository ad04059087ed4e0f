from causal2vec.config import ModelSource
from causal2vec.fetch.models import fetch_model
from causal2vec.runtime.job import job
from causal2vec.runtime.shared import shared

with job(snakemake) as s:
    shared(s, lambda output: fetch_model(s.params.name, ModelSource(**s.params.source), output))
