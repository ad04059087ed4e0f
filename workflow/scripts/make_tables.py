from pathlib import Path

from causal2vec.reporting.analysis.study import ELSEWHERE, EXTERNAL, load_study
from causal2vec.reporting.show.tables.build import write_tables
from causal2vec.reporting.show.tables.layout import load_layout
from causal2vec.runtime.job import job

with job(snakemake) as s:
    results = Path(s.input.scores).parent
    external, elsewhere = (next(iter(given), None) for given in (s.input.external, s.input.elsewhere))
    for name, shown in ((EXTERNAL, external), (ELSEWHERE, elsewhere)):
        if not shown:  # of tables that another run has made
            (results / name).unlink(missing_ok=True)
    study = load_study(results, external=external, external_efficiency=elsewhere)
    write_tables(study, Path(s.output[0]), load_layout(Path(s.input.layout)))
