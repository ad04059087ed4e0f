import sys

from causal2vec.config import load_config
from causal2vec.config.prompts import Prompts
from causal2vec.plan.build import make_plan, whole_number
from causal2vec.plan.render import write_plan
from causal2vec.runtime.job import folders_of, job

with job(snakemake) as s:
    plan = make_plan(
        load_config(s.params.config),
        Prompts(**s.params.prompts),
        gpus=whole_number(s.params.gpus),
        accelerator=s.params.accelerator,
    )
    sys.stdout.write(write_plan(plan, folders_of(s).plan))
