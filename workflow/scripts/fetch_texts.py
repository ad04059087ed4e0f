from causal2vec.config import TextSource
from causal2vec.shared import shared
from causal2vec.training.texts import fetch_texts
from causal2vec.workflow import job

with job(snakemake) as s:
    shared(s, lambda output: fetch_texts(TextSource(**s.params.texts), output, where=f"{s.wildcards.stage}.texts"))
