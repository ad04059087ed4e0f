"""What an embedding costs, in closed form: tokens, FLOPs and seconds from lengths.

How many tokens a method reads is linear in the lengths of a text and of what stands before it. The method's own code is
asked for the coefficients (`law_of`), so that a new method has its law without a line of its own; everything else here
is a pure function of them. FLOPs are those of `causal2vec.efficiency.architecture`. Where a beginning is read once for
all texts (`reuse`), its cost is shared out over them. Seconds follow from FLOPs by the `Speed` that one method was
measured at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from causal2vec.efficiency.architecture import Part, forward_flops
from causal2vec.errors import UserError


class Lengths(NamedTuple):
    """One text and what stands before it, in tokens of the LLM's vocabulary."""

    text: float
    instruction: float = 0.0
    examples: float = 0.0
    """All that a prompt of examples adds before the instruction; read only by methods that show examples."""
    sentences: float = 0.0
    """Of the text, for methods that read it sentence by sentence; 0: as many as a text of its length has, one on
    `SENTENCE` tokens."""


SENTENCE = 20
"""Tokens of a sentence: SmolLM2's, of the demo's pairs."""


class Linear(NamedTuple):
    """A number of tokens: ``fixed + text * lengths.text + instruction * lengths.instruction + ...``."""

    fixed: float = 0.0
    text: float = 0.0
    instruction: float = 0.0
    examples: float = 0.0
    sentences: float = 0.0

    def of(self, lengths: Lengths) -> float:
        """Tokens at these lengths."""
        if not lengths.sentences:
            lengths = lengths._replace(sentences=max(1.0, lengths.text / SENTENCE))
        return self.fixed + sum(a * b for a, b in zip(self[1:], lengths, strict=True))


class Reading(NamedTuple):
    """What a method makes of one text, in tokens."""

    llm: Linear
    encoder: Linear
    """In tokens of the encoder's vocabulary, for a text of as many of these."""
    head: Linear
    """Of the LLM's tokens, the beginning that all texts share and that attention lets be read once."""
    kept: Linear
    """Of the LLM's tokens, those whose last states are looked at."""


class Law(NamedTuple):
    """How one method reads: a text behind a prompt, and a text on its own (a document)."""

    prompted: Reading
    bare: Reading
    rewrites: bool = False
    """Whether states change between layers, so that all behind the beginning depends on all of the text."""

    def reading(self, lengths: Lengths) -> Reading:
        """Which of the two it is."""
        return self.prompted if lengths.instruction or lengths.examples else self.bare


class Shape(NamedTuple):
    """The parts of a method's model; ``own`` are weights that a text is multiplied with once (a projection).

    ``own_token`` and ``own_batch`` are those of each token whose state is looked at, and of each batch.
    """

    llm: Part | None
    encoder: Part | None = None
    own: float = 0.0
    own_token: float = 0.0
    own_batch: float = 0.0


class Cost(NamedTuple):
    """Of one text, in the mean over those that share a beginning."""

    llm_tokens: float
    """Read by the LLM."""
    encoder_tokens: float
    computed_tokens: float
    """Read, but for a beginning that is read once; in the LLM, where there is one."""
    flops: float


def cost(
    law: Law,
    shape: Shape,
    lengths: Lengths,
    *,
    reuse: bool = False,
    texts: float = 1.0,
    per_batch: float = math.inf,
    encoder_ratio: float = 1.0,
) -> Cost:
    """What one text costs.

    Args:
        law: How the method reads.
        shape: What it reads with.
        lengths: In tokens.
        reuse: Whether a shared beginning is read once for all texts; it is done where that saves at least
            `causal2vec.speed.packing.WORTHWHILE` tokens per batch, and the method's attention allows it.
        texts: Texts that share the beginning.
        per_batch: Texts per batch.
        encoder_ratio: Tokens of the encoder's vocabulary per token of the LLM's, of the same text.
    """
    from causal2vec.speed.packing import WORTHWHILE

    reading = law.reading(lengths)
    llm, head = reading.llm.of(lengths), reading.head.of(lengths)
    encoder = reading.encoder.of(Lengths(*(encoder_ratio * length for length in lengths)))
    saves = reuse and texts > 1 and head * (min(per_batch, texts) - 1) >= WORTHWHILE
    skipped = head if saves else 0.0
    flops = 2 * (shape.own + shape.own_token * reading.kept.of(lengths) + shape.own_batch / per_batch)
    if shape.encoder:
        flops += forward_flops(shape.encoder, encoder, encoder)
    if shape.llm:
        flops += forward_flops(shape.llm, llm - skipped, llm) + forward_flops(shape.llm, skipped, skipped) / texts
        flops -= 2 * shape.llm.last * _left_out(reading.kept.of(lengths), llm - skipped)
    return Cost(llm, encoder, llm - skipped + skipped / texts, flops)


def texts_per_batch(law: Law, lengths: Lengths, tokens: float, *, reuse: bool = False) -> float:
    """Texts of these lengths in a batch of so many tokens, where a beginning that all share may be read once."""
    reading = law.reading(lengths)
    read = reading.llm.of(lengths) or reading.encoder.of(lengths)
    return max(1.0, tokens // max(1.0, read - (reading.head.of(lengths) if reuse else 0.0)))


def append_cost(law: Law, shape: Shape, lengths: Lengths, more: float, *, encoder_ratio: float = 1.0) -> Cost:
    """What is computed anew when a text that was embedded before grows by ``more`` tokens at its end.

    With causal attention the keys and values of all that stands before the new tokens stay as they are, unless a token
    there depends on the whole text: then only the shared beginning stays. A method that reads the text twice keeps
    its first copy.
    """
    reading, grown = law.reading(lengths), lengths._replace(text=lengths.text + more)
    llm, encoder = reading.llm.of(grown), reading.encoder.of(Lengths(*(encoder_ratio * x for x in grown)))
    head = reading.head.of(lengths)
    causal = reading.head != Linear()
    stays = head + lengths.text if causal and shape.encoder is None and not law.rewrites else head
    flops = 2 * (shape.own + shape.own_token * reading.kept.of(grown))
    flops += forward_flops(shape.encoder, encoder, encoder) if shape.encoder else 0.0
    if shape.llm:
        flops += forward_flops(shape.llm, llm - stays, llm)
        flops -= 2 * shape.llm.last * _left_out(reading.kept.of(grown), llm - stays)
    return Cost(llm, encoder, llm - stays, flops)


class Speed(NamedTuple):
    """How fast a machine embeds: a batch takes its FLOPs at a steady rate, and a little besides."""

    flops: float
    """Per second."""
    text: float = 0.0
    """Seconds that each text takes besides."""
    batch: float = 0.0
    """Seconds that each batch takes besides."""

    def seconds(self, flops: float, per_batch: float = math.inf) -> float:
        """Time of a text of so many FLOPs, in a batch of so many."""
        return flops / self.flops + self.text + self.batch / per_batch


def speed_of(points: Sequence[tuple[float, float, float]]) -> Speed | None:
    """The `Speed` that comes nearest to measured times, by relative error.

    Args:
        points: (FLOPs of a text, texts per batch, seconds per text), measured with one method.

    Returns:
        The speed; None without points of different sizes.
    """
    import numpy as np
    from scipy.optimize import nnls

    known = np.array(points, dtype=float).reshape(-1, 3)
    if len(np.unique(known[:, 0])) < 2:
        return None
    flops, per_batch, seconds = known.T
    # In units of the largest, as the solver compares with zero.
    unit = flops.max()
    terms = np.column_stack([flops / unit, np.ones(len(known)), 1 / per_batch])
    slope, text, batch = nnls(terms / seconds[:, None], np.ones(len(known)))[0]
    return Speed(unit / slope, float(text), float(batch)) if slope > 0 else None


def law_of(module: Any) -> Law:
    """Ask a method's own code how it reads.

    Args:
        module: The first module of a SentenceTransformer of this suite.

    Raises:
        UserError: What it reads is not linear in the lengths, so that there is no such law.
    """
    return Law(_reading(module, prompted=True), _reading(module, prompted=False), _rewrites(module))


def shape_of(module: Any) -> Shape:
    """The shape of a loaded method."""
    from causal2vec.efficiency.counting import as_read, own_products

    with as_read(module):
        parts = {name: _part(getattr(module, name)) for name in module.parts}
    return Shape(parts.get("llm"), parts.get("encoder"), *own_products(module))


def _left_out(kept: float, tokens: float) -> float:
    """As `causal2vec.speed.last_layer.left_out`, for one text of many like it."""
    from causal2vec.speed.last_layer import FEW

    return tokens - kept if kept <= FEW * tokens else 0.0


def _part(model: Any) -> Part:
    from causal2vec.efficiency.machine import architecture
    from causal2vec.speed.last_layer import weights_left_out

    found = architecture(model)
    return Part(found.linear, found.layers, found.attention, weights_left_out(model))


_PROBES = ((8, 4, 0, 1), (16, 4, 0, 1), (8, 9, 0, 1), (8, 4, 12, 1), (16, 4, 0, 4), (21, 11, 30, 2))
"""Words of text, instruction and examples, and sentences: five for the coefficients and one to check them."""


def _reading(module: Any, *, prompted: bool) -> Reading:
    import numpy as np

    probes = [_probe(module, *words, prompted=prompted) for words in _PROBES]
    found = []
    for k in range(len(Reading._fields)):
        rows = np.array([(1.0, *(probe.encoder if k == 1 else probe.llm)) for probe in probes])
        counts = np.array([probe.counts[k] for probe in probes])
        coefficients = np.linalg.lstsq(rows[:-1], counts[:-1], rcond=None)[0]
        if abs(rows[-1] @ coefficients - counts[-1]) > 1.5:
            raise UserError(
                f"{type(module).__name__} does not read the same number of tokens more for each token more of a text, "
                "so that its cost has no closed form; leave it out of the efficiency law"
            )
        found.append(Linear(*(round(float(c), 6) + 0.0 for c in coefficients)))
    return Reading(*found)


_WORDS = ["The", "fox", "and", "the", "dog", "of", "this", "house", "are", "old"]
"""A text that starts as texts do: where two strings meet, a tokenizer may make one token of two."""


def _rewrites(module: Any) -> bool:
    """Whether a layer is given other states than the one before it made."""
    import torch

    if not hasattr(module, "between"):
        return False
    roles = module.preprocess(["text"])["roles"]
    states = torch.rand(*roles.shape, 1)
    layers = range(1, int(module.llm.config.num_hidden_layers))
    return any(module.between(layer, states, roles) is not states for layer in layers)


class _Probe(NamedTuple):
    llm: Lengths
    encoder: Lengths
    counts: tuple[float, float, float, float]


def _probe(module: Any, text: int, instruction: int, examples: int, sentences: int, *, prompted: bool) -> _Probe:
    """One text through the method's ``preprocess``, and how long everything is by itself."""
    from baselines.in_context import INSTRUCT, RESPONSE

    shows = hasattr(module, "examples_max_length")
    start, ask = (INSTRUCT, "\n<query>") if shows else ("Instruct: ", "\nQuery: ")
    stops = [k * text // sentences - 1 for k in range(1, sentences)]
    words, task, example = (
        " ".join(_WORDS[k % len(_WORDS)] + "." * (k in ends) for k in range(n))
        for n, ends in ((text, stops), (instruction, []), (examples, []))
    )
    before = f"{start}{task}{ask}" if prompted else ""
    shown = f"{before}{example}{RESPONSE}{example}\n\n" if prompted and shows and examples else ""
    features = module.preprocess([words], prompt=shown + before or None)
    read = float(features["attention_mask"].sum())
    lengths = {
        part: Lengths(
            *(float(len(tokenizer(x, add_special_tokens=False)["input_ids"])) for x in (words, before, shown))
        )._replace(sentences=sentences)
        for part, tokenizer in module.tokenizers.items()
    }
    known = Lengths(0, 0, 0)
    if "llm" not in module.parts:
        return _Probe(known, lengths["encoder"], (0.0, read, 0.0, 0.0))
    causal = getattr(module.llm.config, "is_causal", True) and getattr(module, "reuses_prefix", False)
    head = float(features["head"][0]) if causal and "head" in features else 0.0
    looked_at = module.kept(features["roles"]) if hasattr(module, "kept") else None
    kept = read if looked_at is None else float((looked_at * features["attention_mask"]).sum())
    encoder = float(features["pre_mask"].sum()) if "pre_mask" in features else 0.0
    return _Probe(lengths["llm"], lengths.get("encoder", known), (read, encoder, head, kept))
