"""What the rules ask about a study: the runs behind wildcards, what a run is built from, what a job needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from causal2vec.config import PACKAGED_TASKS, SWITCHES, Config, Distributed, Switches, load_config, switches_of
from causal2vec.config.prompts import Prompts, prompts_of, study_prompts
from causal2vec.config.runs import Run, measured_runs, runs_of, used_models
from causal2vec.runtime.files import read_yaml
from causal2vec.runtime.folders import Folders
from causal2vec.runtime.gpus import local_gpus


@dataclass(frozen=True)
class Rules:
    """A checked study with its switches. Methods that take ``wildcards`` are Snakemake's input and params functions."""

    config: Config
    asked: Switches

    @classmethod
    def read(cls, settings: dict[str, Any], files: Sequence[str | Path], *, check_files: bool) -> Rules:
        """The study that Snakemake's merged settings describe.

        Args:
            settings: Snakemake's ``config``.
            files: The files that it was merged from.
            check_files: Read them again: Snakemake's loader lets the last of two equal keys win, and reads 060 as 48.

        Raises:
            UserError: A file or a setting is wrong.
        """
        for file in files if check_files else ():
            read_yaml(Path(file), "name another --configfile")
        plain = {key: value for key, value in settings.items() if key not in SWITCHES}
        return cls(load_config(plain, " with ".join(map(str, files)) or "--config"), switches_of(settings))

    @cached_property
    def folders(self) -> Folders:
        """Where the study's files lie."""
        return Folders(self.config.study)

    @cached_property
    def runs(self) -> dict[str, Run]:
        """All runs by their path."""
        return {run.path: run for run in runs_of(self.config)}

    @cached_property
    def prompts(self) -> Prompts:
        """The study's prompts, without any method's examples."""
        return study_prompts(self.config)

    @cached_property
    def packages_evaluated(self) -> bool:
        """Whether a task is made from data packages."""
        return bool(set(self.config.evaluation.tasks) & set(PACKAGED_TASKS))

    @cached_property
    def downloads_tasks(self) -> bool:
        """Whether a task is neither packaged nor the study's own."""
        return not set(self.config.evaluation.tasks) <= {*PACKAGED_TASKS, *self.config.evaluation.own}

    @cached_property
    def shards(self) -> list[str]:
        """Numbers of a model's evaluation jobs.

        A benchmark's name stands for many tasks; how many is not asked here, as that would import mteb.
        """
        evaluation = self.config.evaluation
        most = evaluation.shards if self.downloads_tasks else len(evaluation.tasks)
        return [str(shard) for shard in range(min(evaluation.shards, most))]

    @cached_property
    def gpus(self) -> int:
        """GPUs per process of a heavy job; on a cluster say compute.device: cuda, as the login node may have none."""
        device = self.config.compute.device
        return int(device == "cuda" or (device == "auto" and local_gpus() > 0))

    @cached_property
    def used_models(self) -> list[str]:
        """The configured models that some run is built from."""
        return used_models(list(self.runs.values()))

    @cached_property
    def measured(self) -> list[str]:
        """Paths of the runs that the efficiency study measures."""
        return [run.path for run in measured_runs(list(self.runs.values()))]

    def run_of(self, wildcards: Any) -> Run:
        """The run that a job's wildcards name."""
        return self.runs[f"{wildcards.method}/{wildcards.base}/seed{wildcards.seed}"]

    def settings_of(self, wildcards: Any) -> dict[str, Any]:
        """A run as plain data, the same object for each of its jobs."""
        return self._plain[self.run_of(wildcards).path]

    @cached_property
    def _plain(self) -> dict[str, dict[str, Any]]:
        return {path: run.model_dump() for path, run in self.runs.items()}

    def prompts_for(self, wildcards: Any) -> dict[str, Any]:
        """The prompts of a run's method: an edited example concerns only the runs that are shown it."""
        return self._plain_prompts[self.run_of(wildcards).spec.examples]

    @cached_property
    def _plain_prompts(self) -> dict[str | None, dict[str, Any]]:
        return {
            method.examples: prompts_of(self.prompts, method).model_dump() for method in self.config.methods.values()
        }

    def llm_of(self, wildcards: Any) -> str:
        """The folder of a run's LLM: the base, or what its pre-training made of it."""
        run = self.run_of(wildcards)
        if run.trained and run.spec.simcse:
            return f"<work>/simcse/{'mntp' if run.spec.mntp else 'models'}/{run.base}/seed{run.seed}"
        if run.trained and run.spec.mntp:
            return f"<work>/mntp/{run.base}/seed{run.seed}"
        return f"<work>/models/{run.base}"

    def parts_of(self, wildcards: Any) -> dict[str, str]:
        """What a run is built from: its base, the encoder where the base is an LLM, the pairs where it is trained."""
        run = self.run_of(wildcards)
        pairs = {"pairs": "<work>/pairs"} if self.asked.validate or run.trained else {}
        if self.config.models[run.base].kind == "encoder":
            return {"encoder": f"<work>/models/{run.base}", **pairs}
        aligned = run.trained and run.spec.alignment
        encoder = f"<work>/alignment/{run.path}" if aligned else f"<work>/models/{run.encoder}"
        return {"llm": self.llm_of(wildcards), "encoder": encoder, **pairs}

    def simcse_inputs(self, wildcards: Any) -> dict[str, Any]:
        """How the SimCSE stage feeds a base: as the first method does that goes through it."""
        runs = (r for r in self.runs.values() if r.base == wildcards.base and r.trained and r.spec.simcse)
        inputs = next(runs).inputs
        return {key: inputs[key] for key in ("add_bos", "chat")}

    def from_hub(self, name: str) -> bool:
        """Whether a configured model is downloaded from the model hub."""
        return self.config.models[name].source == "hub"

    def fetched_texts(self, stage: str) -> list[str]:
        """The record that a pre-training stage's text was downloaded, where it comes from the hub."""
        settings = getattr(self.config, stage)
        on_hub = settings and settings.texts and settings.texts.source == "hub"
        return [f"<work>/fetched/texts/{stage}.json"] if on_hub else []

    def section(self, name: str) -> dict[str, Any]:
        """A block of the configuration as plain data: what goes into params is what the DAG tracks."""
        return getattr(self.config, name).model_dump()  # type: ignore[no-any-return]

    def source_of(self, name: str, *unread: str) -> dict[str, Any]:
        """A model's source as plain data, without what a rule does not read."""
        return self.config.models[name].model_dump(exclude={"add_bos", "chat", "prefixes", "distributed", *unread})

    def memory(self, wildcards: Any, attempt: int) -> int:
        """MB for a heavy job; more after a failure, which may have been one of memory."""
        return attempt * self.config.resources.memory_mb

    def runtime(self, wildcards: Any, attempt: int) -> int:
        """Minutes for a heavy job; more after a failure, which may have been the time limit."""
        return attempt * self.config.resources.runtime_minutes

    def spread(self, wildcards: Any) -> Distributed:
        """The nodes and processes of a training; an untrained twin needs one."""
        run = self.run_of(wildcards)
        return run.distributed if run.trained else Distributed()

    def _is_computed(self, wildcards: Any) -> bool:
        return self.asked.validate or self.run_of(wildcards).trained

    def training_threads(self, wildcards: Any) -> int:
        """Threads of a run's training on each node; one to build what is not trained, so that two are built at once."""
        return self.config.compute.threads * self.spread(wildcards).processes if self._is_computed(wildcards) else 1

    def training_gpus(self, wildcards: Any) -> int:
        """GPUs of a run's training on all nodes; none to build what is not trained."""
        return self.gpus * self.spread(wildcards).total * self._is_computed(wildcards)

    def on_several_nodes(self, wildcards: Any, value: Any) -> Any:
        """A resource that only a training over several nodes asks for."""
        return value if self.spread(wildcards).nodes > 1 else None
