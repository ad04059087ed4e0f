from pathlib import Path

from causal2vec.config import Pairs
from causal2vec.training.mixes import fetch_pairs
from causal2vec.workflow import job

with job(snakemake) as s:
    fetch_pairs(Pairs(**s.params.pairs), Path(s.output[0]))
