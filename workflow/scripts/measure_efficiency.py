from pathlib import Path

from causal2vec.config import Compute, Efficiency
from causal2vec.efficiency.__main__ import describe
from causal2vec.efficiency.measure import Machine, measure_efficiency
from causal2vec.runtime.job import folders_of, job
from causal2vec.runtime.machine import set_up

if __name__ == "__main__":  # the workers that measure import this file, and must not start workers themselves
    with job(snakemake) as s:
        compute = Compute(**s.params.compute)
        device, dtype = set_up(Path(s.input.hardware), compute)
        settings = Efficiency(**s.params.efficiency)
        measure_efficiency(
            [describe(Path(folder), trusted=True) for folder in s.input.models],
            Path(s.input.pairs) / "validation.parquet",
            Path(s.input.tokenizer),
            settings,
            Path(s.output[0]),
            Machine(dtype, device, settings.threads or compute.threads),
            task_texts=Path(s.input.task_texts[0]) if s.input.task_texts else None,
            kept=folders_of(s).work / "costs" / s.params.code,
        )
