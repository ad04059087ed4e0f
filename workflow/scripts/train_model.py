from pathlib import Path

from causal2vec.compute import set_up
from causal2vec.config import Compute
from causal2vec.evaluation.prompts import Prompts
from causal2vec.files import sha256_json
from causal2vec.runs import Run
from causal2vec.training.contrastive import make_model
from causal2vec.workflow import job

with job(snakemake) as s:
    device, dtype = set_up(Path(s.input.hardware), Compute(**s.params.compute))
    make_model(
        Run.model_validate(s.params.run),
        {part: Path(s.input[part]) for part in ("llm", "encoder") if hasattr(s.input, part)},
        Path(s.input.pairs),
        Prompts(**s.params.prompts),
        Path(s.output[0]),
        Path("work/state/train") / sha256_json([s.output[0], dict(s.params.items())])[:16],
        device=device,
        dtype=dtype,
        validate=s.params.validate,
    )
