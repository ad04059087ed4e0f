from pathlib import Path

from causal2vec.reporting.analysis.claims.ledger import refuse_contradicted
from causal2vec.runtime.job import job

with job(snakemake) as s:
    refuse_contradicted(Path(s.input[0]) / "claims.json")
