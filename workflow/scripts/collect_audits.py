from pathlib import Path

from causal2vec.reporting.read.scores import collect_audits
from causal2vec.runtime.job import job

with job(snakemake) as s:
    collect_audits([Path(path) for path in s.input.audits], Path(s.output[0]))
