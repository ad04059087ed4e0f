import sys
from pathlib import Path

from causal2vec.reporting.check.verify import verify_results
from causal2vec.runtime.job import folders_of, job

with job(snakemake) as s:
    found = verify_results(
        folders_of(s).results,
        layout=Path(s.params.layout),
        claims=Path(s.params.claims),
        external=Path(s.params.external) if s.params.external else None,
        external_efficiency=Path(s.params.external_efficiency) if s.params.external_efficiency else None,
        workers=s.threads,
    )
    sys.stdout.write("".join(f"{line}\n" for line in found.lines()))
    sys.stdout.flush()
    if found.failures:
        sys.exit(1)
