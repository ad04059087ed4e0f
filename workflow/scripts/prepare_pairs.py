from pathlib import Path

from causal2vec.config import Pairs
from causal2vec.data.pairs.prepare import prepare
from causal2vec.runtime.job import folders_of, job
from causal2vec.runtime.shared import shared

with job(snakemake) as s:
    pairs = Pairs(**s.params.pairs)
    local = [Path(pairs.folder).expanduser()] if pairs.folder else []
    shared(
        s,
        lambda output: prepare(
            pairs,
            folders_of(s).work / "packages",
            output,
            eval_texts=[Path(path) for path in s.input.eval_texts],
            fetched=Path(s.input.fetched[0]) if s.input.fetched else None,
        ),
        *local,
    )
