"""Whatever a text holds, it becomes a vector: finite, the same every time, whatever stands beside it in the batch."""

from typing import Any

import numpy as np
import pytest
from any_data import AWKWARD, any_text
from conftest import build
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from causal2vec.embedder import Piece, Role, clean, shorten, tokenise
from causal2vec.encoding import encode

TOLERANCE = 1e-5
"""By how much a number of a vector may depend on the texts beside it; docs/reliability.md states it."""

READERS = [
    "causal2vec", "echo", "last_token", "in_context", "bidirectional", "encoder_only", "hierarchical_prepending"
]  # fmt: skip
"""A method of each way to read a text: an encoder before it, twice, behind examples, both ways, in sentences."""

LONG = {
    "one word of a megabyte": "a" * 2**20,
    "a megabyte of emoji and half emoji": "👩‍👧\ud83d" * 2**16,
    "a megabyte of NUL and blanks": "\0 \t" * 2**18,
}


@pytest.fixture(scope="module")
def models(tiny: dict) -> dict[str, Any]:
    """`READERS` on random parts."""
    from sentence_transformers import SentenceTransformer

    return {name: SentenceTransformer(modules=[build(name, tiny, max_seq_length=48)], device="cpu") for name in READERS}


@settings(max_examples=300)
@given(any_text)
def test_a_clean_text_is_valid_and_the_same_but_for_half_characters(text: str) -> None:
    found = clean(text)
    assert found.encode().decode() == found and len(found) == len(text) and clean(found) == found
    assert all(new == old or "\ud800" <= old <= "\udfff" for new, old in zip(found, text, strict=True))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=any_text, text=any_text, copies=st.integers(1, 2), room=st.integers(1, 60))
def test_pieces_share_out_all_tokens_and_fit_the_room(
    models: dict[str, Any], prompt: str, text: str, copies: int, room: int
) -> None:
    tokenizer = models["last_token"][0].tokenizer
    prompt, text = clean(prompt), clean(text)
    row = [Piece(token=1), Piece(prompt), *[Piece(text, Role.TEXT, cut=True)] * copies, Piece(token=2, role=Role.EOS)]
    (tokenised,) = tokenise(tokenizer, [row], end=2)
    own = [ids for piece, ids in tokenised if piece.token is None]
    together = [i for ids in own for i in ids]
    expected = tokenizer(prompt + text * copies, add_special_tokens=False)["input_ids"]
    # A text without a token of its own ends at once, and is not counted in what was tokenised.
    assert together == expected or 2 in together
    assert all(ids for piece, ids in tokenised if piece.cut)
    fixed = sum(len(ids) for piece, ids in tokenised if not piece.cut)
    try:
        spans = shorten(tokenised, room)
    except ValueError as error:
        assert (room - fixed) // copies < 1 and f"max_seq_length={room}" in str(error)
        return
    assert sum(len(ids) for ids, _ in spans) <= room
    assert all(ids for (ids, _), piece in zip(spans, row, strict=True) if piece.cut)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blocks=st.lists(any_text, min_size=1, max_size=5), marks=st.integers(0, 2), room=st.integers(1, 60))
def test_blocks_are_shortened_as_one_text_from_its_end(
    models: dict[str, Any], blocks: list[str], marks: int, room: int
) -> None:
    mark = Piece(token=2, role=Role.PLACEHOLDER)
    row = [Piece(token=1), *(mark._replace(block=n) for n in range(1, len(blocks) + 1) for _ in range(marks))]
    row += [Piece(clean(text), Role.TEXT, cut=True, block=n) for n, text in enumerate(blocks, start=1)]
    (tokenised,) = tokenise(models["last_token"][0].tokenizer, [row], end=2)
    try:
        spans = shorten(tokenised, room)
    except ValueError:
        assert room < 1 + marks + 1
        return
    assert (used := sum(len(ids) for ids, _ in spans)) <= room
    whole, kept = (
        [i for (piece, _), own in zip(tokenised, read, strict=True) if piece.cut for i in own]
        for read in ([ids for _, ids in tokenised], [ids for ids, _ in spans])
    )
    assert kept == whole[: len(kept)] and kept
    assert kept == whole or used + marks >= room, "no room is wasted"
    left = {piece.block for (piece, _), (ids, _) in zip(tokenised, spans, strict=True) if piece.cut and ids}
    for (piece, _), (ids, _) in zip(tokenised, spans, strict=True):
        assert piece.cut or not piece.block or bool(ids) == (piece.block in left)


@pytest.mark.parametrize("method", READERS)
@settings(max_examples=25)
@given(texts=st.lists(any_text, min_size=1, max_size=6), prompt=st.sampled_from([None, "", "find: ", "\ud800\0🙂 "]))
@example(texts=AWKWARD, prompt=None)
@example(texts=AWKWARD[::-1], prompt="<instruct>x\n<query>")
def test_any_texts_become_vectors_that_do_not_depend_on_each_other(
    models: dict[str, Any], method: str, texts: list[str], prompt: str | None
) -> None:
    model = models[method]
    found = encode(model, texts, prompt=prompt)
    assert found.shape == (len(texts), model.get_embedding_dimension()) and found.dtype == np.float32
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, encode(model, texts, prompt=prompt))
    alone = np.concatenate([encode(model, [text], prompt=prompt) for text in texts])
    np.testing.assert_allclose(found, alone, atol=TOLERANCE, rtol=0)
    few = encode(model, texts, prompt=prompt, batch_tokens=16)
    np.testing.assert_allclose(found, few, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", LONG)
def test_a_megabyte_is_a_text_like_any_other(models: dict[str, Any], name: str) -> None:
    model = models["causal2vec"]  # reads it with both tokenizers
    both = encode(model, [LONG[name], "short"])
    assert np.isfinite(both).all()
    np.testing.assert_allclose(both[1:], encode(model, ["short"]), atol=TOLERANCE, rtol=0)
