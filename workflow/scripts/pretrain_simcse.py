from pathlib import Path

from causal2vec.config import Compute, Lora, Simcse
from causal2vec.runtime.files import sha256_json
from causal2vec.runtime.job import folders_of, job
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
        folders_of(s).state / "simcse" / sha256_json([s.output[0], dict(s.params.items())])[:16],
        Computing(device, dtype, s.params.compute["attention"], fetched, s.params.inputs, keep_state=True),
    )
