from causal2vec.config import ModelSource
from causal2vec.fetch.models import fetch_model
from causal2vec.shared import shared
from causal2vec.workflow import job

with job(snakemake) as s:
    shared(s, lambda output: fetch_model(s.params.name, ModelSource(**s.params.source), output))
