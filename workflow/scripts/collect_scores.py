from pathlib import Path

from causal2vec.reporting.read.scores import collect_items, collect_scores
from causal2vec.runtime.job import job

with job(snakemake) as s:
    jobs = [Path(folder) for folder in s.input.jobs]
    collect_scores(jobs, Path(s.output.mteb), Path(s.output.scores))
    collect_items(jobs, Path(s.output.per_item))
