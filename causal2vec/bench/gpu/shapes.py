"""What is measured, made on the spot: models of known shapes with random weights, a tokenizer, texts of exact lengths.

What a method costs does not depend on what its weights say, so that nothing has to be downloaded.
"""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "causal2vec": ("causal2vec.modeling_causal2vec.Causal2Vec", {}),
    "last_token": ("baselines.last_token.LastToken", {}),
    "echo": ("baselines.echo.Echo", {}),
    "bidirectional": ("baselines.bidirectional.Bidirectional", {}),
    "in_context": ("baselines.in_context.InContext", {}),
    "encoder_only": ("baselines.encoder_only.EncoderOnly", {}),
}

QUANTILES = (8, 9, 10, 12, 14, 16, 19, 21, 25, 28, 32, 37, 42, 49, 58, 70, 83, 100, 121, 155, 400)
"""Lengths in tokens of the texts that `make bench` draws from the demo's pairs, every twentieth of them."""

INSTRUCTION = "Instruct : find the text that says the same\nQuery :"

MISTRAL_7B = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 32768,
    "sliding_window": None,
}  # fmt: skip
BERT_BASE = {
    "vocab_size": 30522, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 512,
}  # fmt: skip
SMALL = {
    "vocab_size": 1200, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32, "max_position_embeddings": 2048,
    "initializer_range": 0.06, "attention_dropout": 0.0,
}  # fmt: skip
"""Of the checks: four layers."""
SMALL_BERT = {
    "vocab_size": 1200, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 512, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0, "initializer_range": 0.08,
}  # fmt: skip


class Size(NamedTuple):
    """How much is measured."""

    base: str
    """What tables call the LLM."""
    device: str
    dtype: str
    """Number format of the measurements."""
    llm: dict[str, Any]
    encoder: dict[str, Any]
    small: dict[str, Any]
    """Of the checks' LLMs."""
    architectures: tuple[str, ...]
    """transformers' names of them."""
    repetitions: int
    stretches: int
    """Stretches of neighbours by length that a repetition encodes (`causal2vec.bench.encoding.slices`)."""
    batches: tuple[int, ...]
    """Batch sizes that the rival tries."""
    long: int
    """Tokens of the long texts."""
    long_texts: int
    shared: int
    """Tokens of the examples that all queries stand behind."""
    queries: int
    pairs: int
    """Of a training step, of `trained` tokens each."""
    trained: int
    mini_batches: tuple[int, ...]
    """Both sides try all."""
    lengths: tuple[int, ...]
    """Of the efficiency study."""
    examples: tuple[int, ...]
    texts: int
    max_tokens: int

    @property
    def cuda(self) -> bool:
        """Whether this is for a GPU."""
        return self.device == "cuda"


FULL = Size(
    base="Mistral-7B-shape (random)", device="cuda", dtype="bfloat16", llm=MISTRAL_7B, encoder=BERT_BASE, small=SMALL,
    architectures=("llama", "mistral", "qwen3"), repetitions=5, stretches=4, batches=(32, 64, 128, 256),
    long=512, long_texts=64, shared=1000, queries=96, pairs=512, trained=64, mini_batches=(64, 128),
    lengths=(64, 512, 16, 256), examples=(1200, 250), texts=256, max_tokens=8192,
)  # fmt: skip
SHORT = FULL._replace(
    repetitions=2, stretches=1, batches=(64,), long_texts=32, queries=48, pairs=64, mini_batches=(32,),
    lengths=(64,), examples=(1200,), texts=16, max_tokens=4096,
)  # fmt: skip
"""A trial of everything at the full shapes."""

TINY = Size(
    base="tiny (random)", device="cpu", dtype="float32",
    llm={**SMALL, "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2,
         "num_key_value_heads": 1},
    encoder=SMALL_BERT,
    small={**SMALL, "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2,
           "num_key_value_heads": 1},
    architectures=("qwen3",), repetitions=2, stretches=1, batches=(4, 8), long=32,
    long_texts=8, shared=100, queries=8, pairs=4, trained=16, mini_batches=(2,), lengths=(16,), examples=(60, 20),
    texts=4, max_tokens=256,
)  # fmt: skip


def words(count: int) -> list[str]:
    """Made-up words, each of which is one token."""
    syllables = [a + b for a in "bdfgklmnprstv" for b in "aeiou"]
    return [f"{syllables[i % 65]}{syllables[i // 65 % 65]}" for i in range(count)]


WORDS = words(1000)


def tokenizer(kind: str) -> Any:
    """A tokenizer that knows `WORDS`: an LLM's, which puts BOS before a text, or an encoder's."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", "<unk>"]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*special, *WORDS])}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    frame = "<s> $A" if kind == "llm" else "<s> $A </s>"
    made.post_processor = processors.TemplateProcessing(single=frame, special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def text(tokens: int, draw: random.Random) -> str:
    """Random words: so many tokens."""
    return " ".join(draw.choices(WORDS, k=tokens))


def drawn_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of 8 to 400 tokens, of the lengths that `make bench` has; the longest first."""
    draw, generator = random.Random(seed), np.random.default_rng(seed)
    places = np.linspace(0, 1, len(QUANTILES))
    lengths = np.interp(generator.random(count), places, QUANTILES).astype(int)
    return [text(int(length), draw) for length in sorted(lengths, reverse=True)]


def random_model(kind: str, settings: dict[str, Any], device: str, dtype: str, seed: int = 0) -> Any:
    """A transformers model without a head, its weights drawn on the device.

    Args:
        kind: transformers' name of the architecture, such as ``mistral``.
        settings: Of its configuration.
        device, dtype: Where and in which number format.
        seed: Of the weights; they depend on the device.
    """
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **settings, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    with torch.device(device):
        return AutoModel.from_config(config, dtype=getattr(torch, dtype)).eval()


def twin(model: Any) -> Any:
    """Another module of the same weights, which may be configured otherwise."""
    shared = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})


def method(name: str, llm: Any, encoder: Any, **settings: Any) -> Any:
    """A method of `METHODS` on models that exist, as a SentenceTransformer; the LLM's weights are shared."""
    from sentence_transformers import SentenceTransformer

    from causal2vec.models.build import method_class

    path, own = METHODS[name]
    cls = method_class(path)
    parts = {"llm": llm, "encoder": encoder}
    loaded = {part: (twin(parts[part]), tokenizer(part)) for part in cls.parts}
    torch.manual_seed(0)  # of weights that are the method's own: drawn on the processor, the same everywhere
    module = cls(loaded, **{"max_seq_length": 4096, **own, **settings})
    model = SentenceTransformer(modules=[module], device=str(loaded[cls.parts[0]][0].device)).eval()
    module.initialise()
    return model


def library_model(llm: Any, folder: Path, max_length: int, attention: str = "sdpa") -> Any:
    """Last-token pooling by sentence-transformers' own modules, on the same weights.

    The library opens folders only: it opens one of a model with a single narrow layer, which is then exchanged.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    stub = copy.deepcopy(llm.config)
    small = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1,
             "num_key_value_heads": 1, "head_dim": 64}  # fmt: skip
    for key, value in small.items():
        setattr(stub, key, value)
    if getattr(stub, "layer_types", None):
        stub.layer_types = stub.layer_types[:1]
    type(llm)(stub).save_pretrained(folder)
    tokenizer("llm").save_pretrained(folder)
    reader = Transformer(
        str(folder),
        modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
        model_kwargs={"dtype": llm.dtype, "attn_implementation": attention},
        max_seq_length=max_length,
    )
    reader.model = twin(llm)
    reader.model.config._attn_implementation = attention
    pooling = Pooling(int(llm.config.hidden_size), "lasttoken")
    return SentenceTransformer(modules=[reader, pooling], device=str(llm.device))
