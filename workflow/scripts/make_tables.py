from pathlib import Path

from causal2vec.reporting.study import EXTERNAL, load_study
from causal2vec.reporting.tables.build import write_tables
from causal2vec.reporting.tables.layout import load_layout
from causal2vec.workflow import job

with job(snakemake) as s:
    results = Path(s.input.scores).parent
    if not s.input.external:  # of tables that another run has made
        (results / EXTERNAL).unlink(missing_ok=True)
    external = s.input.external[0] if s.input.external else None
    study = load_study(results, external=external, external_efficiency=s.params.external_efficiency)
    write_tables(study, Path(s.output[0]), load_layout(Path(s.input.layout)))
