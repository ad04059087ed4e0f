import sys
from pathlib import Path

from causal2vec.reporting.analysis.claims.ledger import load_claims
from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.show.claims import claims_text, write_claims
from causal2vec.runtime.job import job

with job(snakemake) as s:
    study = load_study(Path(s.input.scores).parent, external_efficiency=next(iter(s.input.elsewhere), None))
    verdicts = write_claims(study, load_claims(Path(s.input.claims)), Path(s.output[0]))
    sys.stdout.write(claims_text(verdicts))
