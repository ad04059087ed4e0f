from pathlib import Path

from causal2vec.reporting.plots import write_plots
from causal2vec.workflow import job

with job(snakemake) as s:
    write_plots(
        Path(s.input.scores),
        Path(s.input.efficiency),
        [Path(folder) / "training.json" for folder in s.input.training],
        Path(s.output[0]),
        note=s.params.note,
        order=list(s.params.order),
        bases=list(s.params.bases),
    )
