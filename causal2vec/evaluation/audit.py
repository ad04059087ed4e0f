"""``python -m causal2vec.evaluation.audit``: does a model use what its method gives it?

An audit on held-back training pairs, for every trained model. Are the kept states spread over texts, or the same for
all (spread)? Does the LLM look at the Contextual token: what changes when every text gets another text's token, or the
mean token (swap test)? How much attention goes to it? What does each part of the embedding find alone, and what the
whole (MRR)? For a method without a Contextual token the spread and the whole are what applies.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causal2vec.config.prompts import Prompts, load_prompts
from causal2vec.config.runs import Run
from causal2vec.errors import UserError
from causal2vec.runtime.cli import run_cli
from causal2vec.runtime.files import write_json, write_text
from causal2vec.runtime.folders import WORK, the_only

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from causal2vec.embedder import Embedder

USED_POINTS = 1.0
"""Points of MRR (times 100) that h(EOS) loses at least without its text's token, where the token is called used."""

BATCH = 64
ATTENTION_TEXTS = 64
RESAMPLES = 2000

Parts = dict[str, np.ndarray]
"""Part of the embedding (``contextual``, ``eos``, ``whole``) -> its vectors ``(texts, width)``."""


def audit(module: Embedder, validation: Path, prompts: Prompts, *, device: str = "cpu") -> dict[str, Any]:
    """Audit a model on validation pairs.

    Args:
        module: The method, trained or not.
        validation: ``validation.parquet``.
        prompts: Instructions by source, as in training.
        device: Where to compute.

    Returns:
        ``mrr``: per swap (``own``, and with a Contextual token ``mean`` and ``other``) and part, x 100, mean over
        sources. ``spread``: per part, see `spread_of`. With a Contextual token also ``moved``: per swap and part, mean
        cosine distance of a text's state from what it was; ``attention``: per layer, the share that EOS and the text's
        tokens give to the token, in [0, 1]; ``loss_without``: MRR points that h(EOS) loses with the mean token, with a
        95 % interval over queries; and ``token_used``, whether that is at least `USED_POINTS` and certain.
    """
    from causal2vec.data.pairs.files import read_pairs

    module = module.to(device).eval()
    frame = read_pairs(validation).to_pandas()
    sides = _sides(frame, prompts)
    swaps: dict[str, Callable[[Tensor], Tensor] | None] = {"own": None}
    if has_token := hasattr(module, "contextual_token"):
        mean = _tokens(module, sides).mean(dim=0)
        swaps |= {"mean": lambda tokens: mean.to(tokens).expand_as(tokens), "other": lambda tokens: tokens.roll(1, 0)}
    states = {name: {side: _states(module, rows, swap) for side, rows in sides.items()} for name, swap in swaps.items()}
    ranks = {
        name: {part: _reciprocal_ranks(own["query"][part], own["positive"][part], frame) for part in own["query"]}
        for name, own in states.items()
    }
    found: dict[str, Any] = {
        "texts": len(frame),
        "mrr": {
            name: {part: round(100 * _by_source(values, frame), 2) for part, values in parts.items()}
            for name, parts in ranks.items()
        },
        "spread": {part: spread_of(vectors) for part, vectors in states["own"]["positive"].items()},
    }
    if has_token:
        found["moved"] = {
            name: {part: _distance(states["own"], swapped, part) for part in swapped["query"]}
            for name, swapped in states.items()
            if name != "own"
        }
        found["attention"] = attention_to_token(module, [text for text, _ in sides["positive"]])
        found["loss_without"] = _loss(ranks["own"]["eos"] - ranks["mean"]["eos"], frame)
        found["token_used"] = found["loss_without"]["points"] >= USED_POINTS and found["loss_without"]["low"] > 0
    return found


def audit_run(run: Run, model: Path, pairs: Path, prompts: Prompts, output: Path, *, device: str, dtype: str) -> None:
    """Audit a finished model and write the record to ``output``, with the run's method, base and seed.

    Raises:
        UserError: The model cannot be opened.
    """
    from causal2vec.models.folder import load_model

    module = load_model(str(model), device, dtype, max_length=run.max_length, trusted=True)[0]  # made by this study
    names = {"method": run.method, "base": run.base, "seed": run.seed}
    write_json(output, {**names, **audit(module, pairs / "validation.parquet", prompts, device=device)})


def spread_of(vectors: np.ndarray) -> dict[str, float]:
    """How different the states ``(texts, width)`` of unrelated texts are.

    Returns:
        ``cosine``: mean over pairs of texts. ``effective_rank``: of the centred states, the exponential of the entropy
        of their normalised singular values (Roy and Vetterli, EUSIPCO 2007); 1 to the smaller of texts and width.
        ``top3``: share of the mean square in the three largest dimensions, in [0, 1]. ``norm``: mean length.
    """
    x = vectors.astype(np.float64)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    n = len(x)
    energy = np.sort(np.square(x).mean(axis=0))[::-1]
    strengths = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    shares = strengths[strengths > 0] / strengths.sum()
    return {
        "cosine": round(float((np.square(unit.sum(axis=0)).sum() - n) / (n * (n - 1))), 4),
        "effective_rank": round(float(np.exp(-(shares * np.log(shares)).sum())), 1),
        "top3": round(float(energy[:3].sum() / energy.sum()), 4),
        "norm": round(float(np.linalg.norm(x, axis=1).mean()), 2),
    }


def attention_to_token(module: Any, texts: list[str]) -> dict[str, list[float]]:
    """Per layer, the share of attention that goes to the Contextual token, mean over heads and texts.

    Returns:
        ``eos``: from EOS; ``text``: from the text's tokens. Texts stand without a prompt.
    """
    import torch

    from causal2vec.embedder import Role

    features = _on_device(module, module.preprocess(texts[:ATTENTION_TEXTS]))
    roles, mask, config = features["roles"], features["attention_mask"], module.llm.config
    before = config._attn_implementation
    module.llm.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
            weights = module.llm(
                inputs_embeds=module.embed(features),
                attention_mask=mask,
                position_ids=positions,
                output_attentions=True,
                use_cache=False,
            ).attentions
    finally:
        module.llm.set_attn_implementation(before)
    column = (roles == Role.CONTEXTUAL).float().argmax(dim=1)
    shares: dict[str, list[float]] = {"eos": [], "text": []}
    for layer in weights:
        given = layer.float().mean(dim=1).gather(2, column[:, None, None].expand(-1, layer.shape[2], 1)).squeeze(2)
        for name, role in (("eos", Role.EOS), ("text", Role.TEXT)):
            shares[name].append(round(float(given[roles == role].mean()), 4))
    return shares


def _sides(frame: Any, prompts: Prompts) -> dict[str, list[tuple[str, str]]]:
    """Text and prompt of every query and every document."""
    own = [prompts.for_training(str(source)) for source in frame["source"]]
    return {
        side: [(text, prompt.get(side, "")) for text, prompt in zip(frame[side], own, strict=True)]
        for side in ("query", "positive")
    }


def _batches(module: Any, rows: list[tuple[str, str]]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Places and features of texts that share a prompt, `BATCH` at a time."""
    by_prompt: dict[str, list[int]] = {}
    for place, (_, prompt) in enumerate(rows):
        by_prompt.setdefault(prompt, []).append(place)
    for prompt, places in by_prompt.items():
        for start in range(0, len(places), BATCH):
            some = places[start : start + BATCH]
            yield some, _on_device(module, module.preprocess([rows[place][0] for place in some], prompt))


def _tokens(module: Any, sides: dict[str, list[tuple[str, str]]]) -> Tensor:
    """The Contextual token of every text, ``(texts, width)``."""
    import torch

    batches = (features for rows in sides.values() for _, features in _batches(module, rows))
    with torch.inference_mode():
        return torch.cat([module.contextual_token(features).float() for features in batches])


def _states(module: Any, rows: list[tuple[str, str]], swap: Callable[[Tensor], Tensor] | None) -> Parts:
    """The parts of every text's embedding, in the texts' order."""
    import torch

    found: dict[str, list[np.ndarray]] = {}
    order: list[int] = []
    with torch.inference_mode(), _swapped(module, swap):
        for places, features in _batches(module, rows):
            order += places
            for part, vectors in _parts(module, features).items():
                found.setdefault(part, []).append(vectors.float().cpu().numpy())
    back = np.argsort(order)
    return {part: np.concatenate(vectors)[back] for part, vectors in found.items()}


def _parts(module: Any, features: dict[str, Tensor]) -> dict[str, Tensor]:
    """The whole embedding; of a method with a Contextual token also the states there and at EOS, pooled or not."""
    from causal2vec.embedder import Role, mean_pool

    if not hasattr(module, "contextual_token"):
        return {"whole": module(features)["sentence_embedding"]}
    roles = features["roles"]
    states = module.states(features)
    return {
        "contextual": mean_pool(states, roles == Role.CONTEXTUAL),
        "eos": mean_pool(states, roles == Role.EOS),
        "whole": module.pool(states, roles),
    }


@contextmanager
def _swapped(module: Any, swap: Callable[[Tensor], Tensor] | None) -> Iterator[None]:
    """Every text's Contextual token is what ``swap`` makes of the batch's."""
    if swap is None:
        yield
        return
    own = module.contextual_token
    module.contextual_token = lambda features: swap(own(features))
    try:
        yield
    finally:
        del module.contextual_token


def _on_device(module: torch.nn.Module, features: dict[str, Tensor]) -> dict[str, Tensor]:
    device = next(module.parameters()).device
    return {name: value.to(device) for name, value in features.items()}


def _reciprocal_ranks(queries: np.ndarray, documents: np.ndarray, frame: Any) -> np.ndarray:
    """Per pair, one over the rank of the query's positive among the positives of its source, by cosine."""
    found = np.zeros(len(frame))
    for _, rows in frame.reset_index(drop=True).groupby("source", sort=True):
        places = rows.index.to_numpy()
        q, d = (x[places] / np.linalg.norm(x[places], axis=1, keepdims=True) for x in (queries, documents))
        similar = q @ d.T
        own = np.diag(similar)[:, None]
        # Of texts that are all alike, the positive is as likely anywhere among them.
        found[places] = 1 / (((similar > own).sum(axis=1) + (similar >= own).sum(axis=1) + 1) / 2)
    return found


def _by_source(values: np.ndarray, frame: Any) -> float:
    """Mean over sources of the mean over a source's pairs."""
    import pandas as pd

    return float(pd.Series(values).groupby(frame["source"].to_numpy()).mean().mean())


def _distance(own: dict[str, Parts], swapped: dict[str, Parts], part: str) -> float:
    """Mean cosine distance between the states of the same texts, in [0, 2]."""
    distances = []
    for side, parts in own.items():
        a, b = parts[part], swapped[side][part]
        distances.append(1 - (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))
    return round(float(np.concatenate(distances).mean()), 4)


def _loss(differences: np.ndarray, frame: Any) -> dict[str, float]:
    """Mean over sources of a difference per query, x 100, with its 95 % bootstrap interval over queries."""
    generator = np.random.default_rng(0)
    groups = [differences[frame["source"].to_numpy() == source] for source in sorted(frame["source"].unique())]
    drawn = np.mean(
        [values[generator.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1) for values in groups],
        axis=0,
    )
    low, high = np.percentile(drawn, [2.5, 97.5])
    points = float(np.mean([values.mean() for values in groups]))
    return {key: round(100 * float(value), 2) for key, value in (("points", points), ("low", low), ("high", high))}


def main() -> None:
    """Parse the command line and audit one saved model."""
    parser = argparse.ArgumentParser(prog="python -m causal2vec.evaluation.audit", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the folder of a model of this suite")
    parser.add_argument("--pairs", type=Path, help="folder with validation.parquet; default: the one study's")
    parser.add_argument("--prompts", type=Path, default=Path("config/prompts.yaml"), help="instructions by source")
    parser.add_argument("--output", type=Path, help="a JSON file; default: standard output")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that the model brings")
    options = parser.parse_args()
    from causal2vec.models.folder import load_model

    model = load_model(str(options.model), "cpu", "float32", trusted=options.trust_remote_code)
    if not hasattr(model[0], "pieces") and not hasattr(model[0], "encoder_states"):
        raise UserError(f"{options.model} is no model of this suite, whose kept states are known; name one of those")
    pairs = options.pairs or the_only(WORK, "pairs", "--pairs") / "pairs"
    found = audit(model[0], pairs / "validation.parquet", load_prompts(options.prompts))
    text = json.dumps(found, indent=2)
    if options.output:
        write_text(options.output, text + "\n")
    else:
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    run_cli(main)
