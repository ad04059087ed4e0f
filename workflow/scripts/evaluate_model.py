from pathlib import Path

from causal2vec.config import Compute, Evaluation
from causal2vec.config.prompts import Prompts
from causal2vec.config.runs import Run
from causal2vec.evaluation.run import Evaluating, evaluate_run
from causal2vec.runtime.folders import SHARED
from causal2vec.runtime.job import folders_of, job, state_of
from causal2vec.runtime.machine import set_up

with job(snakemake, "sentence_transformers", "mteb") as s:
    compute = Compute(**s.params.compute)
    device, dtype = set_up(Path(s.input.hardware), compute)
    # With what this machine chose: what another one left unfinished is not gone on with in another number format.
    state = state_of(s, "evaluation", device, dtype)
    settings = Evaluation(**s.params.evaluation)
    what = Evaluating(
        settings.tasks,
        folders_of(s).work / "tasks",
        Path(s.output[0]),
        state,
        Prompts(**s.params.prompts),
        batch_size=settings.batch_size,
        batch_tokens=settings.batch_tokens,
        cache=SHARED / "vectors",
        cache_gb=settings.cache_gb,
        fetched=Path(s.input.fetched[0]) if s.input.fetched else None,
        keep_state=True,
    )
    evaluate_run(
        Run.model_validate(s.params.run),
        Path(s.input.model),
        what,
        (int(s.wildcards.shard), s.params.shards),
        device=device,
        dtype=dtype,
        attention=compute.attention,
    )
