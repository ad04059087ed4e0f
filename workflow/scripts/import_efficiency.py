from pathlib import Path

from causal2vec.reporting.read.schema import read_efficiency
from causal2vec.runtime.files import write_text
from causal2vec.runtime.job import job

with job(snakemake) as s:
    read_efficiency(Path(s.params.file))
    write_text(Path(s.output[0]), Path(s.params.file).read_text(encoding="utf-8-sig"))
