from causal2vec.config import Pairs
from causal2vec.shared import shared
from causal2vec.training.mixes import fetch_pairs
from causal2vec.workflow import job

with job(snakemake) as s:
    shared(s, lambda output: fetch_pairs(Pairs(**s.params.pairs), output))
