from pathlib import Path

from causal2vec.config import Pairs
from causal2vec.training.pairs import prepare_pairs
from causal2vec.workflow import job

with job(snakemake) as s:
    pairs = Pairs(**s.params.pairs)
    prepare_pairs(
        Path(s.input.packages[0]).parent,
        Path(s.output[0]),
        sources=pairs.sources,
        validation=pairs.validation,
        seed=pairs.seed,
        eval_texts=[Path(s.input.eval_texts)],
        ngram=pairs.decontaminate_ngram,
    )
