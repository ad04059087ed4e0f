import platform

from causal2vec.compute import probe
from causal2vec.config import Compute
from causal2vec.shared import shared
from causal2vec.workflow import job

with job(snakemake) as s:
    shared(s, lambda output: probe(output, Compute(**s.params.compute)), platform.node())
