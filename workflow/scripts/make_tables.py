from pathlib import Path

from causal2vec.reporting.tables import write_tables
from causal2vec.workflow import job

with job(snakemake) as s:
    write_tables(
        Path(s.input.scores),
        Path(s.input.efficiency),
        [Path(folder) / "training.json" for folder in s.input.training],
        Path(s.output[0]),
        notes=list(s.params.notes),
        order=list(s.params.order),
        bases=list(s.params.bases),
    )
