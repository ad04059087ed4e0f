from pathlib import Path

from causal2vec.config import Compute, Lora, Simcse
from causal2vec.runtime.job import job, state_of
from causal2vec.runtime.machine import set_up
from causal2vec.training.stages import Computing, pretrain_simcse

with job(snakemake, "sentence_transformers", "peft") as s:
    device, dtype = set_up(Path(s.input.hardware), Compute(**s.params.compute))
    fetched = Path(s.input.texts[0]) if s.input.texts else None
    pretrain_simcse(
        Path(s.input.base),
        Path(s.input.pairs) / "train.parquet",
        Simcse(**s.params.simcse),
        Lora(**s.params.lora),
        s.params.seed,
        Path(s.output[0]),
        state_of(s, "simcse"),
        Computing(device, dtype, s.params.compute["attention"], fetched, s.params.inputs, keep_state=True),
    )
