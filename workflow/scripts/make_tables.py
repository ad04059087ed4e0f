from pathlib import Path

from causal2vec.reporting.study import load_study
from causal2vec.reporting.tables.build import write_tables
from causal2vec.reporting.tables.layout import load_layout
from causal2vec.workflow import job

with job(snakemake) as s:
    write_tables(
        load_study(
            Path(s.input.scores).parent,
            external=s.params.external,
            external_efficiency=s.params.external_efficiency,
        ),
        Path(s.output[0]),
        load_layout(Path(s.input.layout)),
    )
