# What all stages use: the checked configuration, its runs, and the fingerprints of the code behind a stage.
import sys
from importlib.metadata import version
from pathlib import Path

from causal2vec.config import ZERO_SHOT, Config, Run, load_config, runs_of
from causal2vec.corpora.packages import load_packages
from causal2vec.errors import UserError
from causal2vec.evaluation.prompts import load_prompts
from causal2vec.evaluation.tasks import PACKAGED_TASKS
from causal2vec.fingerprint import fingerprint

# Switches of one invocation (--config validate=true) are no part of the experiment.
VALIDATE = str(config.get("validate", False)).lower() == "true"

try:
    CONFIG: Config = load_config(
        {key: value for key, value in config.items() if key != "validate"},
        where=" with ".join(map(str, workflow.configfiles)) or "--config",
    )
    PROMPTS = load_prompts(Path(CONFIG.evaluation.prompts))
except UserError as error:
    # A WorkflowError would go to stdout in a dry run.
    sys.stderr.write(f"error: {error}\n")
    sys.exit(2)

RUNS = {run.path: run for run in runs_of(CONFIG)}
# A benchmark's name stands for many tasks; how many is not asked here, as that would import mteb.
PACKAGED = set(CONFIG.evaluation.tasks) <= set(PACKAGED_TASKS)
MOST = len(CONFIG.evaluation.tasks) if PACKAGED else CONFIG.evaluation.shards
SHARDS = [str(shard) for shard in range(min(CONFIG.evaluation.shards, MOST))]
PACKAGES = load_packages()


wildcard_constraints:
    method="[^/]+",
    base="[^/]+",
    model="[^/]+",
    package="[^/]+",
    seed=r"\d+",
    shard=r"\d+",


def run_of(wildcards) -> Run:
    """The run that a job's wildcards name."""
    return RUNS[f"{wildcards.method}/{wildcards.base}/seed{wildcards.seed}"]


def parts_of(wildcards) -> dict[str, str]:
    """The model folders that a run is built from: its base, and the encoder where the base is an LLM."""
    run = run_of(wildcards)
    if CONFIG.models[run.base].kind == "encoder":
        return {"encoder": f"work/models/{run.base}"}
    llm = (
        f"work/mntp/{run.base}/seed{run.seed}"
        if run.spec.mntp and run.trained
        else f"work/models/{run.base}"
    )
    return {"llm": llm, "encoder": f"work/models/{CONFIG.encoder}"}


def section(name):
    """A block of the configuration as plain data: what goes into params is what the DAG tracks."""
    return getattr(CONFIG, name).model_dump()


def measured_runs() -> list[str]:
    """One run per method and base, the trained one where there is one: an untrained twin costs the same."""
    chosen: dict[tuple[str, str], str] = {}
    for path, run in RUNS.items():
        chosen.setdefault((run.method.removesuffix(ZERO_SHOT), run.base), path)
    return list(chosen.values())


def used_models() -> list[str]:
    """The configured models that some run is built from."""
    return list(dict.fromkeys([*(run.base for run in RUNS.values()), CONFIG.encoder]))


def table_notes() -> list[str]:
    """What stands under every table."""
    mntp = [name for name, m in CONFIG.methods.items() if m.mntp]
    assumed = [
        f"{name}: {', '.join(m.assumed)}"
        for name, m in CONFIG.methods.items()
        if m.assumed
    ]
    return [
        *([CONFIG.scale_note] if CONFIG.scale_note else []),
        *(
            [
                f"{', '.join(mntp)}: after {CONFIG.mntp.steps} steps of masked-next-token pre-training, which the "
                "cost of training does not count (see manifest.json)"
            ]
            if mntp
            else []
        ),
        *(
            [f"assumed, as the paper's recipe is not public: {'; '.join(assumed)}"]
            if assumed
            else []
        ),
    ]


def installed_version(distribution: str) -> str:
    """A library's version, tracked where its numbers depend on it."""
    return version(distribution)
