from pathlib import Path

from causal2vec.reporting.read.others import evaluated, keep_external, read_external
from causal2vec.reporting.read.scores import read_scores
from causal2vec.runtime.job import job

with job(snakemake) as s:
    ours = evaluated(read_scores(Path(s.input.scores)))
    keep_external(read_external(Path(s.params.folder), ours=ours), Path(s.output[0]))
