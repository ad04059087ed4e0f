"""What a study may say, its runs and its prompts: typed settings, the single source of truth for a configuration file.

Light on purpose: the Snakefile imports this at parse time, so nothing here may import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from causal2vec.config.settings import (
    PACKAGED_TASKS,
    VARIANT,
    ZERO_SHOT,
    Ablation,
    Alignment,
    Budget,
    Compute,
    Distributed,
    Efficiency,
    Evaluation,
    Lora,  # noqa: F401 (named from here)
    Method,
    Mntp,
    ModelSource,
    Name,
    Pairs,
    Reporting,
    Resources,
    Section,
    Simcse,
    Statistics,
    TextSource,  # noqa: F401
    Whole,
)
from causal2vec.errors import UserError, checked, hint, module_exists
from causal2vec.runtime.files import fault_of, located, read_yaml
from causal2vec.runtime.folders import RESERVED, UNNAMED


class Config(Section):
    """A whole experiment."""

    title: str
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)] = Field(
        UNNAMED, description="its results are in results/STUDY, its working files in work/STUDY"
    )
    scale_note: str | None = Field(
        None, description="stands under every table and figure; null: made from the settings where the study is small"
    )
    seeds: list[Annotated[Whole, Field(ge=0, lt=2**32)]] = Field([0], min_length=1)
    models: dict[Name, ModelSource]
    bases: list[Name] = Field(min_length=1, description="the LLMs that are compared on")
    encoder: Name = Field(description="the small encoder that Causal2Vec reads with and encoder_only is")
    methods: dict[Name, Method] = Field(min_length=1)
    pairs: Pairs
    budget: Budget
    mntp: Mntp | None = None
    simcse: Simcse | None = None
    alignment: Alignment | None = None
    evaluation: Evaluation
    efficiency: Efficiency = Efficiency()
    ablations: dict[Name, Ablation] = Field(default_factory=dict)
    statistics: Statistics = Statistics()
    reporting: Reporting = Reporting()
    compute: Compute = Compute()
    distributed: Distributed = Distributed()
    resources: Resources = Resources()

    def _check_lists(self) -> None:
        """What stands twice in a list would be made twice under one name; and what must not be empty or too long."""
        lists: dict[str, list[Any]] = {
            "seeds": self.seeds,
            "bases": self.bases,
            "evaluation.tasks": self.evaluation.tasks,
            "efficiency.lengths": self.efficiency.lengths,
            **{f"ablations.{name}.values": ablation.values for name, ablation in self.ablations.items()},
        }
        for key, values in lists.items():
            if twice := [value for place, value in enumerate(values) if value in values[:place]]:
                raise ValueError(f"{key} holds {twice[0]!r} twice; remove one")
        if self.study.lower() in RESERVED:
            raise ValueError(f"study is '{self.study}', which is a folder for all studies; choose another name")
        if not self.pairs.sources:
            raise ValueError("pairs.sources names no source; name at least one with its number of pairs")
        if self.budget.warmup_steps >= self.budget.steps:
            raise ValueError(
                f"budget.warmup_steps is {self.budget.warmup_steps}, but there are only {self.budget.steps} steps, so "
                "that the learning rate would never be reached; lower it"
            )

    def _check_models(self) -> None:
        """Settings that only one kind of model has, batches that processes can share out evenly, names of methods."""
        for name, model in self.models.items():
            for key, kind in (("chat", "llm"), ("prefixes", "encoder")):
                if getattr(model, key) and model.kind != kind:
                    raise ValueError(f"models.{name}.{key}: only a model of kind {kind} can have it; remove it")
            processes = (model.distributed or self.distributed).total
            if self.budget.batch_size % processes:
                raise ValueError(
                    f"budget.batch_size {self.budget.batch_size} cannot be shared out evenly among the {processes} "
                    f"processes that train {name}; make it a multiple or change distributed"
                )
        for name in (variant.partition(VARIANT)[0] for variant in self.efficiency.variants):
            if name not in self.methods:
                raise ValueError(f"efficiency.variants: '{name}' is not among methods{hint(name, list(self.methods))}")
        for base in self.mntp.bases if self.mntp else ():
            if base not in self.models:
                raise ValueError(f"mntp.bases: '{base}' is not among models{hint(base, list(self.models))}")

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        for where, name, kind in [
            *(("bases", b, "llm") for b in self.bases),
            ("encoder", self.encoder, "encoder"),
        ]:
            if name not in self.models:
                raise ValueError(f"{where}: '{name}' is not among models{hint(name, list(self.models))}")
            if self.models[name].kind != kind:
                raise ValueError(
                    f"{where}: '{name}' is of kind {self.models[name].kind}, but {kind} is needed; name another model"
                )
        self._check_models()
        self._check_lists()
        for name, method in self.methods.items():
            # The class itself is looked at only when it is built, as that imports torch.
            if not method.module.rpartition(".")[2].isidentifier():
                raise ValueError(
                    f"methods.{name}.module: '{method.module}' does not end with the name of a class, as "
                    "baselines.echo.Echo does; correct it"
                )
            if not module_exists(method.module.rpartition(".")[0]):
                raise ValueError(
                    f"methods.{name}.module: no Python module '{method.module.rpartition('.')[0] or method.module}' "
                    "can be found; check its import path"
                )
            for base in [*(method.bases or []), *(method.zero_shot_bases or [])]:
                if base not in self.models:
                    raise ValueError(
                        f"methods.{name}: base '{base}' is not among models{hint(base, list(self.models))}"
                    )
            for stage in ("mntp", "simcse", "alignment"):
                if getattr(method, stage) and getattr(self, stage) is None:
                    raise ValueError(f"methods.{name}.{stage} is true, but the {stage} section is missing; add it")
            for sign, maker in ((ZERO_SHOT, "zero_shot"), (VARIANT, "ablations")):
                if sign in name:
                    raise ValueError(f"methods.{name}: '{sign}' is put there by '{maker}', drop it from the name")
        return self


MANY_PAIRS = 100_000
"""A training that sees fewer pairs is small-scale: published recipes have five times as many and more."""


def scale_note(config: Config) -> str:
    """What makes a study small, and its scores incomparable with published ones; empty where nothing does."""
    trained = [method for method in config.methods.values() if method.trained]
    pairs = config.budget.steps * config.budget.batch_size
    own = [task for task in config.evaluation.tasks if task in {*PACKAGED_TASKS, *config.evaluation.own}]
    used = [*config.bases, config.encoder]
    if not (own or any(config.models[name].keep_layers for name in used) or (trained and pairs < MANY_PAIRS)):
        return ""
    kept = {name: config.models[name].keep_layers for name in used}
    said = [f"{name} with only its first {_count(k, 'layer')}" if k else name for name, k in kept.items()]
    words = [", ".join(said[:-1]), f"encoder {said[-1]}"]
    if trained:
        words.append(f"{_count(config.budget.steps, 'training step')} of {config.budget.batch_size} pairs")
    words.append(_count(len(config.seeds), "seed"))
    if own:
        words.append(f"{len(own)} of {_count(len(config.evaluation.tasks), 'task')} are our own")
    return f"small-scale: {', '.join(words)}; not comparable with published scores"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


@dataclass(frozen=True)
class Switches:
    """What one invocation asks for, as in ``--config validate=true``; no part of the experiment."""

    validate: bool = False
    """Measure retrieval within the validation pairs after each training."""
    strict: bool = False
    """``claims=strict``: fail where a claim is contradicted or not reached."""
    external_results: str | None = None
    """A folder of other models' results."""
    external_efficiency: str | None = None
    """A file of costs that were measured elsewhere."""
    gpus: Any = None
    accelerator: Any = None
    """For the plan, which checks them."""


SWITCHES = ("validate", "claims", "external_results", "external_efficiency", "gpus", "accelerator")
"""The names of the switches."""


DEMO = Path("config/demo.yaml")
"""What a study is laid over that has no methods of its own."""

_OVERLAY = 2
"""A file that lacks more sections than these is one that changes another."""


def switches_of(config: dict[str, Any]) -> Switches:
    """The switches among the settings that Snakemake hands over.

    Raises:
        UserError: A switch has a value that it does not know, which must not pass for off.
    """
    given = {name: config[name] for name in SWITCHES if config.get(name) is not None}
    validate = str(given.get("validate", False)).lower()
    if validate not in ("true", "false"):
        raise UserError(f"validate is {given['validate']!r}; say --config validate=true, or leave it out")
    claims = given.get("claims", "")
    if claims not in ("", "strict"):
        raise UserError(f"claims is {claims!r}; say --config claims=strict, or leave it out")
    results, costs = (_place(given.get(name)) for name in ("external_results", "external_efficiency"))
    if not (results is None or (isinstance(results, str) and Path(results).is_dir())):
        raise UserError(f"external_results is {results!r}, which is no folder; name one with mteb's results")
    if not (costs is None or (isinstance(costs, str) and Path(costs).is_file())):
        raise UserError(f"external_efficiency is {costs!r}, which is no file; name an efficiency.csv")
    return Switches(validate == "true", claims == "strict", results, costs, given.get("gpus"), given.get("accelerator"))


def _place(given: Any) -> Any:
    """A path, with what ``~`` stands for; all else as it is."""
    return str(Path(given).expanduser()) if isinstance(given, str) else given


def laid_over(lower: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    """Two settings as Snakemake lays one file over another: mappings are merged, all else is replaced."""
    merged = dict(lower)
    for key, value in upper.items():
        below = lower.get(key)
        merged[key] = laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def load_config(source: Path | Sequence[Path] | dict[str, Any], where: str = "the configuration") -> Config:
    """Read and check a configuration.

    Args:
        source: A YAML file; several, each laid over those before it, as Snakemake does with ``--configfile``; or a
            mapping as Snakemake hands it over. Files without ``methods`` are laid over the demo.
        where: What to call a mapping in errors: the files that it was merged from.

    Raises:
        UserError: One sentence per fault, with its key; the file's name when there is one.
    """
    files = [source] if isinstance(source, Path) else source
    # Anything else than paths is no mapping either, and told so below.
    if isinstance(files, list | tuple) and files and all(isinstance(file, Path) for file in files):
        where = " with ".join(map(str, files))
        source = _read(list(files))
    if fault := fault_of(source):  # a mapping did not come through `read_yaml`
        raise UserError(f"{where}: {fault}; correct it")
    required = [name for name, field in Config.model_fields.items() if field.is_required()]
    lacking = [name for name in required if isinstance(source, dict) and name not in source]
    if len(lacking) > _OVERLAY:
        raise UserError(
            f"{where} lacks {', '.join(lacking)}; if it only changes a study, name that before it: "
            f"config/demo.yaml {where} (both, behind one --configfile of snakemake or one --config)"
        )
    config: Config = checked(Config, source, where, "", also=SWITCHES)
    return config if config.scale_note is not None else config.model_copy(update={"scale_note": scale_note(config)})


def add_config_option(parser: Any, what: str = "the experiment") -> None:
    """The command-line option ``--config``, as `load_config` takes it."""
    parser.add_argument(
        "--config", type=Path, nargs="+", default=[DEMO], metavar="FILE",
        help=f"{what}; of several files a later one is laid over those before it (default: {DEMO})",
    )  # fmt: skip


def _read(files: list[Path]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for file in files:
        read = read_yaml(file, "name a file such as config/demo.yaml")
        if not isinstance(read, dict):
            raise UserError(f"{file} must hold a mapping of settings; see config/demo.yaml for one")
        merged = laid_over(merged, read)
    return merged if "methods" in merged else laid_over(_read([located(DEMO)]), merged)
