from pathlib import Path

from causal2vec.config import Compute
from causal2vec.config.prompts import Prompts
from causal2vec.config.runs import Run
from causal2vec.runtime.job import folders_of, job, state_of
from causal2vec.runtime.machine import set_up
from causal2vec.training.job import Job
from causal2vec.training.launch import launch

# The processes of a training that is spread import for themselves.
run = Run.model_validate(snakemake.params.run)
imports = () if run.trained and run.distributed.total > 1 else ("sentence_transformers", "peft")

with job(snakemake, *imports) as s:
    compute = Compute(**s.params.compute)
    device, dtype = set_up(Path(s.input.hardware), compute)
    launch(
        Job(
            run=run,
            folders={part: Path(s.input[part]) for part in ("llm", "encoder") if hasattr(s.input, part)},
            pairs=Path(s.input.get("pairs", folders_of(s).work / "pairs")),
            prompts=Prompts(**s.params.prompts),
            output=Path(s.output[0]),
            state=state_of(s, "train"),
            device=device,
            dtype=dtype,
            attention=compute.attention,
            threads=compute.threads,
            validation=s.params.validate,
            keep_state=True,
        )
    )
