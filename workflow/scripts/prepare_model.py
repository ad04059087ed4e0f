from pathlib import Path

from causal2vec.config import ModelSource
from causal2vec.models.prepare import prepare_model
from causal2vec.runtime.job import job
from causal2vec.runtime.shared import shared

with job(snakemake) as s:
    source, fetched = ModelSource(**s.params.source), Path(s.input[0]) if s.input else None
    local = [Path(source.path).expanduser()] if source.source == "local" and source.path else []
    shared(s, lambda output: prepare_model(s.params.name, source, output, fetched), *local)
