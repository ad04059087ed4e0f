"""A model's shape without its weights, from its config.json on torch's meta device, and the arithmetic that it needs.

FLOPs follow Kaplan et al. (arXiv 2001.08361, section 2.1) and Hoffmann et al. (arXiv 2203.15556, appendix F): a token
costs two FLOPs per weight that it is multiplied with, plus attention; the backward pass costs the same again for the
gradients of the activations and once more for those of the weights, which a frozen weight does not have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.config import Lora, ModelSource
from causal2vec.errors import UserError
from causal2vec.runtime.files import read_yaml

SHIPPED_BYTES = 2
"""Bytes per weight in which LLMs and encoders are downloaded and prepared, where their config does not say."""


class Architecture(NamedTuple):
    """What the formulas need to know of a model; lengths in numbers of features."""

    name: str
    source: str
    model: Any
    parameters: int
    linear: int
    """Weights of the linear layers, which are what a token is multiplied with."""
    layers: int
    width: int
    attention: int
    """Width of all query heads together."""
    heads: int
    inner: int
    """Width between the two halves of a feed-forward block."""
    vocabulary: int
    weight_bytes: int

    def until(self, layer: int) -> Architecture:
        """What is computed of it where no later layer is read; it holds them all the same."""
        return self._replace(layers=layer, linear=self.linear * layer // self.layers)


def load_architecture(name: str, source: ModelSource, work: Path) -> Architecture:
    """The shape of a configured model, blocks cut as ``keep_layers`` says.

    Taken from the first of these that there is: the prepared model in ``work``'s ``models``, a local folder, the hub's
    cache, the built-in table ``architectures.yaml``, the hub (config.json alone is fetched; last, as without a network
    its client tries for half a minute).

    Raises:
        UserError: There is none of these, or the configuration is of no known kind.
    """
    import torch
    from transformers import AutoModel

    config, where = _config(name, source, work / "models" / name)
    if source.keep_layers and source.keep_layers < config.num_hidden_layers:
        config.num_hidden_layers = source.keep_layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[: source.keep_layers]
    try:
        with torch.device("meta"):
            model = AutoModel.from_config(config)
    except (ValueError, KeyError) as error:
        raise UserError(
            f"models.{name}: {where} describes no model that transformers can build "
            f"({' '.join(str(error).split())[:160]}); correct the model's source"
        ) from error
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    weight_bytes = getattr(config.dtype, "itemsize", SHIPPED_BYTES) if config.dtype else SHIPPED_BYTES
    return architecture_of(model, name, where, linear, weight_bytes)


def architecture_of(model: Any, name: str, source: str, linear: int, weight_bytes: int) -> Architecture:
    """The shape of a built model by its configuration."""
    config = model.config
    heads = int(config.num_attention_heads)
    return Architecture(
        name,
        source,
        model,
        parameters=sum(p.numel() for p in model.parameters()),
        linear=linear,
        layers=int(config.num_hidden_layers),
        width=int(config.hidden_size),
        attention=heads * int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        heads=heads,
        inner=int(getattr(config, "intermediate_size", 4 * config.hidden_size)),
        vocabulary=int(config.vocab_size),
        weight_bytes=weight_bytes,
    )


def lora_parameters(architecture: Architecture, lora: Lora) -> int:
    """Weights of the adapters: ``rank * (inputs + outputs)`` for every targeted layer (arXiv 2106.09685).

    Raises:
        UserError: None of the targets is in the model.
    """
    from torch import nn

    count = sum(
        lora.rank * (module.in_features + module.out_features)
        for path, module in architecture.model.named_modules()
        if isinstance(module, nn.Linear) and path.rpartition(".")[2] in lora.targets
    )
    if not count:
        raise UserError(
            f"budget.lora.targets {lora.targets} fit no layer of {architecture.name}; name its linear layers"
        )
    return count


def _config(name: str, source: ModelSource, prepared: Path) -> tuple[Any, str]:
    """The configuration, and in words where it was found."""
    from transformers import AutoConfig

    local = Path(source.path).expanduser() if source.path else None
    for folder, where in ((prepared, "prepared"), (local, "local")):
        if folder is not None and (folder / "config.json").is_file():
            try:
                return AutoConfig.from_pretrained(folder), where
            except (OSError, ValueError, KeyError) as error:
                reason = " ".join(str(error).split())[:160]
                raise UserError(
                    f"models.{name}: {folder / 'config.json'} cannot be read as a model's configuration ({reason}); "
                    "delete the folder and prepare the model again, or name another"
                ) from error
    on_hub = source.source == "hub"
    found = (on_hub and _from_hub(source, cached=True)) or _built_in(name, source) or (on_hub and _from_hub(source))
    if found:
        return found
    raise UserError(
        f"the shape of models.{name} is not known: it is neither prepared in {prepared} nor on the model hub nor among "
        f"the built-in ones; run `snakemake --cores 1 {prepared}` first, or check its source"
    )


def _from_hub(source: ModelSource, *, cached: bool = False) -> tuple[Any, str] | None:
    """The configuration from the hub or its cache, config.json alone; None where it cannot be had."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError
    from transformers import AutoConfig

    from causal2vec.fetch.client import bounded_client
    from causal2vec.fetch.retry import Patience, TransientError

    name = source.repository or ""
    try:
        with bounded_client(Patience.from_environment()):  # asked once: a plan is made in a moment, or without the hub
            path = hf_hub_download(name, "config.json", revision=source.revision, local_files_only=cached)
        return AutoConfig.from_pretrained(Path(path).parent), "hub's cache" if cached else "hub"
    except (HfHubHTTPError, TransientError, OSError, ValueError, KeyError, RuntimeError):
        return None  # no network, gated without a token, or a damaged cache


def _built_in(name: str, source: ModelSource) -> tuple[Any, str] | None:
    from transformers import AutoConfig

    table = read_yaml(Path(__file__).with_name("architectures.yaml"), "reinstall the suite")
    for asked in ((source.repository or "").rpartition("/")[2], name):
        fitting = [known for known in table if asked.lower().startswith(known.lower())]
        if asked and fitting:
            known = max(fitting, key=len)
            return AutoConfig.for_model(**table[known]), f"built-in ({known})"
    return None


class Part(NamedTuple):
    """What the arithmetic of an LLM or encoder depends on."""

    linear: float
    """Weights of the linear layers, which a token is multiplied with."""
    layers: int
    attention: int
    """Width of all query heads together."""
    last: float = 0.0
    """Weights of the last layer that a token is not multiplied with where its state is not looked at."""


def forward_flops(architecture: Architecture | Part, tokens: float, context: float) -> float:
    """FLOPs of one forward pass: ``tokens * (2 * linear weights + 4 * layers * attention width * context)``.

    Args:
        tokens: Tokens in all, padding included, as it is computed on too.
        context: Tokens per row: each attends to all. A causal mask does not halve this here: with padding the mask
            is explicit, and torch's attention then computes the whole square. An upper bound for fused kernels.
    """
    return tokens * (2 * architecture.linear + 4 * architecture.layers * architecture.attention * context)


def training_flops(
    architecture: Architecture,
    tokens: float,
    context: float,
    *,
    adapters: int | None,
    checkpointing: bool = False,
    caching: bool = False,
) -> float:
    """FLOPs of forward and backward passes.

    Args:
        tokens, context: As for `forward_flops`.
        adapters: LoRA weights on a frozen model (2 + 2 FLOPs per frozen weight and token, 6 per adapter weight);
            None: every weight learns (6 FLOPs).
        checkpointing: Gradient checkpointing runs the forward pass once more.
        caching: Gradient caching (arXiv 2101.06983) embeds everything once without gradients before.
    """
    # In units of two FLOPs per weight and token: forward, gradients of activations, gradients of weights.
    passes = 2 + (adapters is None) + checkpointing + caching
    return passes * forward_flops(architecture, tokens, context) + 2 * 3 * (adapters or 0) * tokens


def prediction_flops(architecture: Architecture, tokens: float) -> float:
    """FLOPs of a language model's frozen head over all tokens, there and back: ``4 * width * vocabulary`` each."""
    return 4 * architecture.width * architecture.vocabulary * tokens
