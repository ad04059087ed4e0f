from pathlib import Path

from causal2vec.fetch.manifest import write_fetch_manifest
from causal2vec.runtime.job import job

with job(snakemake) as s:
    write_fetch_manifest(
        Path(s.output[0]),
        models=[Path(path) for path in s.input.models],
        prepared=[Path(path) for path in s.input.others],
        packages=[Path(path) for path in s.input.packages],
        tasks=[Path(path) for path in s.input.tasks],
        texts=[Path(path) for path in s.input.texts],
        pairs=[Path(path) for path in s.input.pairs],
    )
