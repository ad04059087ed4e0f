from pathlib import Path

from causal2vec.config import load_config
from causal2vec.plan.calibrate import calibrate
from causal2vec.runtime.job import folders_of, job
from causal2vec.runtime.machine import set_up

with job(snakemake) as s:
    config = load_config(s.params.config)
    device, dtype = set_up(Path(s.input.hardware), config.compute)
    calibrate(config, folders_of(s), device=device, dtype=dtype)
