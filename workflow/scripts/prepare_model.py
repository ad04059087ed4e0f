from pathlib import Path

from causal2vec.backbone import prepare_model
from causal2vec.config import ModelSource
from causal2vec.workflow import job

with job(snakemake) as s:
    prepare_model(
        s.params.name,
        ModelSource(**s.params.source),
        Path(s.output[0]),
        Path(s.input[0]) if s.input else None,
    )
