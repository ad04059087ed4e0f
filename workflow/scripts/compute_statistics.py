from pathlib import Path

from causal2vec.reporting.analysis.statistics import compute_statistics
from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.read.benchmarks import load_benchmarks
from causal2vec.runtime.job import job

with job(snakemake) as s:
    study = load_study(Path(s.input.scores).parent)
    compute_statistics(
        Path(s.input.scores).parent,
        Path(s.output[0]),
        bases=study.bases,
        order=study.order,
        benchmarks=load_benchmarks(),
        workers=s.threads,
        **s.params.statistics,
    )
