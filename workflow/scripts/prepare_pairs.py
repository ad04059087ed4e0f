from pathlib import Path

from causal2vec.config import Pairs
from causal2vec.training.pairs import prepare
from causal2vec.workflow import job

with job(snakemake) as s:
    prepare(
        Pairs(**s.params.pairs),
        Path("work/packages"),
        Path(s.output[0]),
        eval_texts=[Path(path) for path in s.input.eval_texts],
        fetched=Path(s.input.fetched[0]) if s.input.fetched else None,
    )
