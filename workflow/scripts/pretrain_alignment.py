from pathlib import Path

from causal2vec.config import Alignment, Compute
from causal2vec.config.runs import Run
from causal2vec.runtime.job import job, state_of
from causal2vec.runtime.machine import set_up
from causal2vec.training.alignment import pretrain_alignment
from causal2vec.training.stages import Computing

with job(snakemake, "sentence_transformers") as s:
    compute = Compute(**s.params.compute)
    device, dtype = set_up(Path(s.input.hardware), compute)
    pretrain_alignment(
        Run.model_validate(s.params.run),
        {"llm": Path(s.input.llm), "encoder": Path(s.input.encoder)},
        Path(s.input.pairs),
        Alignment(**s.params.alignment),
        Path(s.output[0]),
        state_of(s, "alignment"),
        Computing(
            device,
            dtype,
            compute.attention,
            fetched=Path(s.input.texts[0]) if s.input.texts else None,
            keep_state=True,
        ),
    )
