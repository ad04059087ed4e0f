from pathlib import Path

from causal2vec.reporting.read.scores import collect_training
from causal2vec.runtime.job import job

with job(snakemake) as s:
    collect_training([Path(folder) for folder in s.input.models], Path(s.output[0]))
