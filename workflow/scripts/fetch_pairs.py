from causal2vec.config import Pairs
from causal2vec.runtime.job import job
from causal2vec.runtime.shared import shared
from causal2vec.training.mixes import fetch_pairs

with job(snakemake) as s:
    shared(s, lambda output: fetch_pairs(Pairs(**s.params.pairs), output))
