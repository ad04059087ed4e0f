from causal2vec.config import Pairs
from causal2vec.data.pairs.mixes import fetch_pairs
from causal2vec.runtime.job import job
from causal2vec.runtime.shared import shared

with job(snakemake) as s:
    shared(s, lambda output: fetch_pairs(Pairs(**s.params.pairs), output))
