import platform

from causal2vec.config import Compute
from causal2vec.runtime.job import job
from causal2vec.runtime.machine import probe
from causal2vec.runtime.shared import shared

with job(snakemake) as s:
    shared(s, lambda output: probe(output, Compute(**s.params.compute)), platform.node())
