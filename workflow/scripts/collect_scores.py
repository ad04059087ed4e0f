from pathlib import Path

from causal2vec.reporting.scores import collect_scores
from causal2vec.workflow import job

with job(snakemake) as s:
    collect_scores([Path(folder) for folder in s.input.jobs], Path(s.output.mteb), Path(s.output.scores))
