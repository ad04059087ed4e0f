from pathlib import Path

from causal2vec.config import Compute
from causal2vec.config.prompts import Prompts
from causal2vec.config.runs import Run
from causal2vec.evaluation.audit import audit_run
from causal2vec.runtime.job import job
from causal2vec.runtime.machine import set_up

with job(snakemake, "sentence_transformers") as s:
    device, dtype = set_up(Path(s.input.hardware), Compute(**s.params.compute))
    audit_run(
        Run.model_validate(s.params.run),
        Path(s.input.model),
        Path(s.input.pairs),
        Prompts(**s.params.prompts),
        Path(s.output[0]),
        device=device,
        dtype=dtype,
    )
