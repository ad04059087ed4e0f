from pathlib import Path

from causal2vec.reporting.figures.draw import write_plots
from causal2vec.reporting.study import load_study
from causal2vec.workflow import job

with job(snakemake) as s:
    write_plots(
        load_study(Path(s.input.scores).parent, external_efficiency=s.params.external_efficiency), Path(s.output[0])
    )
