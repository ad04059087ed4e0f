from pathlib import Path

from causal2vec.compute import probe
from causal2vec.config import Compute
from causal2vec.workflow import job

with job(snakemake) as s:
    probe(Path(s.output[0]), Compute(**s.params.compute))
