from pathlib import Path

from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.show.report.page import report_study
from causal2vec.runtime.job import job

with job(snakemake) as s:
    report_study(
        load_study(
            Path(s.input.scores).parent,
            external=next(iter(s.input.external), None),
            external_efficiency=next(iter(s.input.elsewhere), None),
        ),
        Path(s.input.layout),
        Path(s.input.claims),
        Path(s.input.plots),
        Path(s.output[0]),
    )
