from pathlib import Path

from causal2vec.reporting.check.checksums import write_checksums
from causal2vec.runtime.job import job

with job(snakemake) as s:
    write_checksums(Path(s.output[0]).parent, [Path(part) for part in s.input], workers=s.threads)
