from pathlib import Path

from causal2vec.reporting.benchmarks import load_benchmarks
from causal2vec.reporting.statistics import compute_statistics
from causal2vec.workflow import job

if __name__ == "__main__":  # worker processes import this file again
    with job(snakemake) as s:
        compute_statistics(
            Path(s.input.scores),
            Path(s.input.per_item),
            Path(s.output[0]),
            bases=list(s.params.bases),
            order=list(s.params.order),
            benchmarks=load_benchmarks(),
            workers=s.threads,
            **s.params.statistics,
        )
