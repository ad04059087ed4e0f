from pathlib import Path

from causal2vec.reporting.report.page import report_study
from causal2vec.reporting.study import load_study
from causal2vec.workflow import job

with job(snakemake) as s:
    report_study(
        load_study(
            Path(s.input.scores).parent,
            external=s.input.external[0] if s.input.external else None,
            external_efficiency=s.params.external_efficiency,
        ),
        Path(s.input.layout),
        Path(s.input.claims),
        Path(s.input.plots),
        Path(s.output[0]),
    )
