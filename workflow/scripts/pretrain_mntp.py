from pathlib import Path

from causal2vec.config import Compute, Lora, Mntp
from causal2vec.runtime.job import job, state_of
from causal2vec.runtime.machine import set_up
from causal2vec.training.stages import Computing, pretrain_mntp

with job(snakemake, "transformers", "peft") as s:
    device, dtype = set_up(Path(s.input.hardware), Compute(**s.params.compute))
    fetched = Path(s.input.texts[0]) if s.input.texts else None
    pretrain_mntp(
        Path(s.input.base),
        Path(s.input.pairs) / "train.parquet",
        Mntp(**s.params.mntp),
        Lora(**s.params.lora),
        s.params.seed,
        Path(s.output[0]),
        state_of(s, "mntp"),
        Computing(device, dtype, s.params.compute["attention"], fetched, keep_state=True),
    )
