from pathlib import Path

from causal2vec.reporting.claims.ledger import load_claims, write_claims
from causal2vec.reporting.study import load_study
from causal2vec.workflow import job

with job(snakemake) as s:
    write_claims(load_study(Path(s.input.scores).parent), load_claims(Path(s.input.claims)), Path(s.output[0]))
