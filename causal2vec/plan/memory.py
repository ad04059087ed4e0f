"""How much memory a job needs at its peak: weights, gradients, optimizer, activations.

Activations follow Korthikanti et al. (arXiv 2205.05198, section 4.1), who count what each layer keeps for its
backward pass. Their factors are for another block, so ours were counted on transformers' Llama and BERT with
torch's saved-tensor hooks, adapters on all linear layers; tests/plan/test_plan.py counts again. Torch's fused attention
keeps no attention matrix, except for BERT with dropout on a processor.
"""

from __future__ import annotations

from typing import NamedTuple

from causal2vec.efficiency.architecture import Architecture

CONTEXT = 1.0e9
"""Bytes of a CUDA context with its libraries' workspaces (assumed)."""

PROCESS, TRAINER = 0.6e9, 0.5e9
"""Bytes of a Python process with torch and sentence-transformers on a processor, and of a trainer with its data on top
(measured, roughly)."""

SLACK = {"cpu": 1.3, "cuda": 1.1}
"""What an allocator holds beside the live activations (processor: measured, roughly; GPU: assumed)."""

ADAM = 8
"""Bytes of AdamW's two moments per weight that learns; the weight and its gradient take four each."""

LOGITS = {"bfloat16": 14, "float32": 12}
"""Bytes per token and word of the vocabulary at the peak of a language-modelling loss: logits, their log-softmax and
its gradient in 32 bits; in bfloat16 the logits and their gradient in 16 bits too."""


class Memory(NamedTuple):
    """Peak memory of one process by kind, in bytes."""

    weights: float
    learning: float
    activations: float
    base: float

    @property
    def total(self) -> float:
        """All kinds together."""
        return sum(self)


class Load(NamedTuple):
    """What a model computes on at once: so many rows of so many tokens."""

    architecture: Architecture
    rows: float
    width: float
    frozen: bool
    """Adapters learn, the weights do not."""
    decoder: bool


def bytes_per_token(architecture: Architecture, dtype: str, *, decoder: bool) -> float:
    """Bytes that one layer keeps of a token for the backward pass.

    With width h, feed-forward width i and attention width a. Decoder (norms in float32, SwiGLU, adapters):
    ``16 (h + i + a)`` in float32; ``18 h + 8 i + 10 a`` in bfloat16, where every adapter casts its own input.
    Encoder (GELU, dropout): ``40 h + 8 i`` in float32; ``34 h + 4 i`` in bfloat16.
    """
    h, i, a = architecture.width, architecture.inner, architecture.attention
    if decoder:
        return 16 * (h + i + a) if dtype == "float32" else 18 * h + 8 * i + 10 * a
    return 40 * h + 8 * i if dtype == "float32" else 34 * h + 4 * i


def activations(load: Load, dtype: str, device: str, *, checkpointing: bool) -> float:
    """Bytes that all layers keep; with gradient checkpointing each keeps its input, and one at a time all else."""
    model, tokens = load.architecture, load.rows * load.width
    layer = tokens * bytes_per_token(model, dtype, decoder=load.decoder)
    if not load.decoder and device == "cpu":
        layer += 12 * tokens * load.width * model.heads  # attention with dropout: three matrices in float32
    if not checkpointing or not load.decoder:  # only the LLM is checkpointed
        return model.layers * layer
    stream = 2 if load.frozen and dtype == "bfloat16" else 4
    return model.layers * tokens * stream * model.width + layer


def training_memory(
    loads: list[Load],
    trainable: int,
    dtype: str,
    device: str,
    *,
    checkpointing: bool = False,
    processes: int = 1,
    sharded: bool = False,
    logits_tokens: float = 0.0,
) -> Memory:
    """Peak of one training process.

    Args:
        loads: The models and what each computes on at once, with gradients: a mini-batch under gradient caching.
        trainable: Weights that learn, in float32 with their gradients and AdamW's moments.
        dtype, device: A frozen LLM lies in 16 bits where that is what is computed in, else in 32 bits; on a
            processor bfloat16 costs a cast copy of every weight that learns, and the file a model was read from stays
            mapped.
        processes, sharded: FSDP splits weights and what learns over the processes; DDP keeps a second gradient.
        logits_tokens: Tokens whose next word is predicted at once.
    """
    weights: float = sum(_held(load, dtype, device) * load.architecture.parameters for load in loads)
    learning: float = trainable * (8 + ADAM + (4 if processes > 1 and not sharded else 0))
    if sharded:
        weights, learning = weights / processes, learning / processes
    kept = sum(activations(load, dtype, device, checkpointing=checkpointing) for load in loads)
    kept += sum(8 * load.rows * load.width * load.architecture.inner for load in loads)  # work space of one layer
    kept += LOGITS[dtype] * logits_tokens * (loads[0].architecture.vocabulary if loads else 0)
    return Memory(weights, learning, kept * SLACK[device], CONTEXT if device == "cuda" else PROCESS + TRAINER)


def _held(load: Load, dtype: str, device: str) -> float:
    """Bytes per weight while a model trains."""
    if device == "cuda":
        return 2 if dtype == "bfloat16" and load.frozen else 4
    if dtype == "bfloat16" and load.frozen:
        return 6
    return 8 + (2 if dtype == "bfloat16" else 0)


def encoding_memory(loads: list[Load], dtype: str, device: str) -> Memory:
    """Peak of one encoding process: weights in the number format of the evaluation, one layer's work space."""
    size = 2 if dtype == "bfloat16" else 4
    copies, orders = (1, 0) if device == "cuda" else (2, 1)  # the file stays mapped; `causal2vec.speed.cpu_layers`
    weights = sum(size * (copies * load.architecture.parameters + orders * load.architecture.linear) for load in loads)
    work = sum(
        load.rows * load.width * (4 * size * load.architecture.width + 3 * size * load.architecture.inner)
        for load in loads
    )
    return Memory(weights, 0.0, work, CONTEXT if device == "cuda" else PROCESS)
