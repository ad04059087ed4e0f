from pathlib import Path

from causal2vec.runtime.job import folders_of, job
from causal2vec.runtime.manifest import write_manifest

with job(snakemake) as s:
    write_manifest(
        Path(s.output[0]),
        config=s.params.config,
        models=[Path(folder) for folder in s.input.models],
        sources=[Path(folder) for folder in s.input.sources],
        pairs=Path(s.input.pairs),
        scores=Path(s.input.scores),
        hardware=Path(s.input.hardware),
        benchmarks=folders_of(s).benchmarks,
    )
