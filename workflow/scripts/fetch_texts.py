from pathlib import Path

from causal2vec.config import TextSource
from causal2vec.training.texts import fetch_texts
from causal2vec.workflow import job

with job(snakemake) as s:
    fetch_texts(TextSource(**s.params.texts), Path(s.output[0]), where=f"{s.wildcards.stage}.texts")
