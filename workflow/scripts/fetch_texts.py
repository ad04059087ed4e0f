from causal2vec.config import TextSource
from causal2vec.data.pairs.texts import fetch_texts
from causal2vec.runtime.job import job
from causal2vec.runtime.shared import shared

with job(snakemake) as s:
    shared(s, lambda output: fetch_texts(TextSource(**s.params.texts), output, where=f"{s.wildcards.stage}.texts"))
