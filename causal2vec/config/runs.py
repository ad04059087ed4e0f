"""The runs of an experiment: which models are made and evaluated, each with all its settings."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from causal2vec.config import VARIANT, ZERO_SHOT, Ablation, Budget, Config, Distributed, Method, Section
from causal2vec.errors import UserError

SECTIONS, KEYS = ("settings.", "budget."), ("encoder", "evaluation.max_length")
"""What an ablation may vary: all that belongs to one run alone. Data and base models are shared between runs."""


class Run(Section):
    """One model to make and evaluate: a method (or its untrained twin, or a variant) on a base with a seed."""

    method: str
    base: str
    seed: int
    trained: bool
    spec: Method
    settings: dict[str, Any]
    budget: Budget
    encoder: str
    max_length: int
    inputs: dict[str, Any]
    """What the base and the encoder ask of every method: ``add_bos``, ``chat`` and ``prefixes``."""
    distributed: Distributed

    @property
    def path(self) -> str:
        """The run's folder below ``results/models``."""
        return f"{self.method}/{self.base}/seed{self.seed}"


def runs_of(config: Config) -> list[Run]:
    """All runs of an experiment, in the order of the configuration: each method, its twin, its variants.

    Everything runs with every seed, untrained twins too: a seed also decides what the evaluation samples.

    Raises:
        UserError: An ablation names what cannot be varied.
    """
    runs = []
    for name, method in config.methods.items():
        if method.trained:
            runs += _runs(config, name, name, method.bases)
        if method.zero_shot is not False:
            override = method.zero_shot if isinstance(method.zero_shot, dict) else {}
            bases = method.zero_shot_bases or method.bases
            runs += _runs(config, name, name + ZERO_SHOT, bases, override, trained=False)
        for title, ablation in config.ablations.items():
            if ablation.method == name:
                for value in _other_values(config, title, ablation):
                    variant = variant_name(name, ablation.axis, value)
                    runs += _runs(_with(config, title, ablation, value), name, variant, method.bases)
    for title, ablation in config.ablations.items():
        if ablation.method not in config.methods:
            raise UserError(f"ablations.{title}.method: there is no method '{ablation.method}'; name one of methods")
    _refuse_namesakes(runs)
    return runs


def measured_runs(runs: list[Run]) -> list[Run]:
    """One run per method and base, which the efficiency study measures: an untrained twin costs the same.

    Variants of an ablation are left out; most cost what their method costs.
    """
    chosen: dict[tuple[str, str], Run] = {}
    for run in runs:
        if VARIANT not in run.method:
            chosen.setdefault((run.method.removesuffix(ZERO_SHOT), run.base), run)
    return list(chosen.values())


def used_models(runs: list[Run]) -> list[str]:
    """Models that some run is built from."""
    return list(dict.fromkeys(name for run in runs for name in (run.base, run.encoder)))


def _refuse_namesakes(runs: list[Run]) -> None:
    """Two runs of one name would be one folder, and the results of one would pass for the other's."""
    known: dict[str, Run] = {}
    for run in runs:
        if known.setdefault(run.path, run) != run:
            raise UserError(
                f"ablations: two different settings are both called '{run.method}'; choose values whose letters and "
                "digits differ, or vary one key only"
            )


def _runs(
    config: Config,
    source: str,
    name: str,
    bases: list[str] | None,
    override: dict[str, Any] | None = None,
    *,
    trained: bool = True,
) -> list[Run]:
    spec = config.methods[source]
    return [
        Run(
            method=name,
            base=base,
            seed=seed,
            trained=trained,
            spec=spec,
            settings={**spec.settings, **(override or {})},
            budget=config.budget,
            encoder=config.encoder,
            max_length=config.evaluation.max_length,
            inputs=_inputs(config, spec, base),
            distributed=config.models[base].distributed or config.distributed,
        )
        for base in (bases or config.bases)
        for seed in config.seeds
    ]


def _inputs(config: Config, spec: Method, base: str) -> dict[str, Any]:
    model = config.models[base]
    encoder = model if model.kind == "encoder" else config.models[config.encoder]
    return {
        "add_bos": model.add_bos,
        "chat": list(model.chat) if spec.chat and model.chat else None,
        "prefixes": [encoder.prefixes.query, encoder.prefixes.document] if encoder.prefixes else None,
    }


def variant_name(method: str, axis: str, value: object) -> str:
    """The name under which an ablation's variant is filed, for example ``causal2vec+pooling=eos``."""
    text = "".join(c if c.isalnum() or c in "._-" else "_" for c in str(value))
    return f"{method}{VARIANT}{axis.rpartition('.')[2]}={text}"


def _path(title: str, ablation: Ablation) -> list[str]:
    """Where the ablation's axis stands in the configuration."""
    if ablation.axis not in KEYS and not ablation.axis.startswith(SECTIONS):
        raise UserError(
            f"ablations.{title}.axis: '{ablation.axis}' cannot be varied for one method alone; name a key of "
            "settings or budget, or encoder, or evaluation.max_length"
        )
    keys = ablation.axis.split(".")
    return ["methods", ablation.method, *keys] if keys[0] == "settings" else keys


def _other_values(config: Config, title: str, ablation: Ablation) -> list[Any]:
    """The values but the method's own, which its main run already has."""
    own: Any = config.model_dump()
    for key in _path(title, ablation):
        # A setting that the method leaves to its class is None here; any other key has a value.
        if not isinstance(own, dict) or (key not in own and not ablation.axis.startswith("settings.")):
            raise UserError(f"ablations.{title}.axis: the configuration has no key '{ablation.axis}'; correct it")
        own = own.get(key)
    if own not in ablation.values:
        raise UserError(
            f"ablations.{title}.values: the method's own value of {ablation.axis}, {own!r}, must be among them, "
            "as the others are compared with it; add it, or set the key explicitly"
        )
    return [value for value in ablation.values if value != own]


def _with(config: Config, title: str, ablation: Ablation, value: Any) -> Config:
    """The configuration with one value changed, checked again."""
    plain = config.model_dump()
    *above, last = _path(title, ablation)
    target: Any = plain
    for key in above:
        target = target[key]
    target[last] = value
    try:
        return Config.model_validate(plain)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(
            f"ablations.{title}.values: {value!r} does not fit {ablation.axis}: {message}; take another value"
        ) from error
