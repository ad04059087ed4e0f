from pathlib import Path

from causal2vec.config import Config
from causal2vec.efficiency.published import write_predictions
from causal2vec.runtime.job import job

with job(snakemake) as s:
    write_predictions(
        Config(**s.params.config),
        Path(s.input.models[0]).parent.parent,
        Path(s.input.pairs) / "validation.parquet",
        Path(s.input.efficiency),
        Path(s.output.published),
        Path(s.output.law),
    )
