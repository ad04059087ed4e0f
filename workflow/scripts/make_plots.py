from pathlib import Path

from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.show.figures.draw import write_plots
from causal2vec.runtime.job import job

with job(snakemake) as s:
    study = load_study(Path(s.input.scores).parent, external_efficiency=next(iter(s.input.elsewhere), None))
    write_plots(study, Path(s.output[0]))
