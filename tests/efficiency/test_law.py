"""The closed form of costs beside what is counted while models compute."""

from __future__ import annotations

import math

import pytest
from conftest import METHODS, TEXTS, build
from hypothesis import given
from hypothesis import strategies as st

from causal2vec.efficiency.counting import count
from causal2vec.efficiency.law import (
    Cost,
    Law,
    Lengths,
    Linear,
    Part,
    Reading,
    Shape,
    Speed,
    append_cost,
    cost,
    law_of,
    shape_of,
    speed_of,
)
from causal2vec.efficiency.names import saved

INSTRUCTION = "Instruct: Find the passage that answers it\nQuery: "
SHOWN = "<instruct>Find it\n<query>Which fox jumps?\n<response>The brown one.\n\n" * 8
LAST, FULL = Part(100.0, 2, 8, 40.0), Linear(2, 1, 1)


def wrapped(method, folders, **settings):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(modules=[build(method, folders, **settings)], device="cpu").eval()


def tokens(tokenizer, text):
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("reuse", [False, True], ids=["every time", "once"])
@pytest.mark.parametrize("prompt", ["", "instruction", "examples"])
@pytest.mark.parametrize("method", METHODS)
def test_law_is_what_is_counted(method, prompt, reuse, tiny):
    """Tokens and FLOPs within 2 %, of texts that are all of one length; where strings meet, tokens may merge."""
    model = wrapped(method, tiny, **({} if method == "encoder_only" else {"add_bos": True}))
    module = model[0]
    if hasattr(module, "reuses_prefix"):
        module.reuses_prefix = reuse
    shows = hasattr(module, "examples_max_length")
    instruction = INSTRUCTION if not shows else "<instruct>Find the passage that answers it\n<query>"
    before = "" if not prompt else (SHOWN if shows and prompt == "examples" else "") + instruction
    text = " ".join(TEXTS)[:200]
    part = "llm" if "llm" in module.parts else "encoder"
    examples = before[: len(before) - len(instruction)]
    strings = (text, before and instruction, examples)
    lengths = [
        Lengths(*(tokens(module.tokenizers[name], string) for string in strings), sentences=text.count(". ") + 1)
        for name in (part, "encoder")
        if name in module.tokenizers
    ]
    counted = count(model, [text] * 6, before, None)
    ratio = lengths[-1].text / lengths[0].text
    found = cost(
        law_of(module), shape_of(module), lengths[0], reuse=reuse, texts=6, per_batch=counted.batch_size,
        encoder_ratio=ratio,
    )  # fmt: skip
    assert found.llm_tokens == pytest.approx(counted.llm_tokens, rel=0.02)
    assert found.encoder_tokens == pytest.approx(counted.encoder_tokens, rel=0.02)
    assert found.flops == pytest.approx(counted.predicted_flops, rel=0.02)
    assert found.flops == pytest.approx(counted.counted_flops, rel=0.03)
    if part == "llm":
        assert found.computed_tokens == pytest.approx(counted.predicted_tokens, rel=0.02)


def test_reading_twice_can_never_save_more_than_half():
    """Why 85 % cannot be meant against Echo: it reads 2n tokens and a template, one token more than n is the least."""
    once = Law(
        Reading(Linear(3, 1, 1), Linear(), Linear(), Linear(2)), Reading(Linear(3, 1), Linear(), Linear(), Linear(2))
    )
    twice = Law(
        Reading(Linear(8, 2, 1), Linear(), Linear(), Linear(0, 1)),
        Reading(Linear(8, 2), Linear(), Linear(), Linear(0, 1)),
    )
    shape = Shape(LAST)
    for text in (64, 512, 4096):
        found = [cost(law, shape, Lengths(text)).llm_tokens for law in (once, twice)]
        assert 0 < saved(*found) <= 50 + 100 * 8 / found[1]


lengths_ = st.builds(Lengths, st.floats(1, 2000), st.floats(0, 200), st.floats(0, 2000), st.integers(0, 100))


@given(lengths_, st.integers(2, 64))
def test_reading_a_beginning_once_never_costs_more(lengths, texts):
    reading = Reading(Linear(2, 1, 1, 1), Linear(), Linear(1, 0, 1, 1), Linear(1))
    law, shape = Law(reading, reading), Shape(LAST)
    whole, once = (cost(law, shape, lengths, reuse=reuse, texts=texts) for reuse in (False, True))
    assert once.computed_tokens <= whole.computed_tokens and once.llm_tokens == whole.llm_tokens
    head = reading.head.of(lengths)
    shared = head + (whole.llm_tokens - head) * texts
    assert once.computed_tokens * texts in (pytest.approx(shared), pytest.approx(whole.llm_tokens * texts))


@given(lengths_, st.floats(1, 100))
def test_costs_rise_with_every_length(lengths, more):
    law, shape = Law(*[Reading(FULL, Linear(2, 1), Linear(1, 0, 1), Linear(1))] * 2), Shape(LAST, Part(10.0, 1, 4), 5.0)
    longer = lengths._replace(text=lengths.text + more)
    assert cost(law, shape, longer).flops > cost(law, shape, lengths).flops > 0


def test_what_grows_is_read_anew_only_where_it_must_be():
    """Keys and values stay for a causal method without a summary of the whole text; the others start over."""
    last = Reading(Linear(2, 1, 1), Linear(), Linear(1, 0, 1), Linear(1))
    echo = Reading(Linear(6, 2, 1), Linear(), Linear(2, 0, 1), Linear(0, 1))
    full = Reading(Linear(2, 1, 1), Linear(), Linear(), Linear(0, 1))
    summary = Reading(Linear(3, 1, 1), Linear(2, 1), Linear(1), Linear(2))
    lengths, shape, two = Lengths(100, 10), Shape(LAST), Shape(LAST, Part(10.0, 1, 4))
    grown = [append_cost(Law(r, r), s, lengths, 32).llm_tokens for r, s in ((last, shape), (summary, two))]
    assert grown == [144, 145]
    readings = {"last": (last, shape), "echo": (echo, shape), "full": (full, shape), "summary": (summary, two)}
    anew = {name: append_cost(Law(r, r), s, lengths, 32).computed_tokens for name, (r, s) in readings.items()}
    assert anew == {"last": 32 + 1, "echo": 32 + 4 + 100 + 32, "full": 144, "summary": 144}


@given(st.floats(1e8, 1e15), st.floats(0, 1), st.floats(0, 1))
def test_time_is_that_of_the_flops_and_a_little_for_each_text_and_batch(flops, text, batch):
    """A machine whose times follow the law is found again, whatever it is, from texts of other sizes."""
    made = Speed(flops, text, batch)
    points = [(size, many, made.seconds(size, many)) for size in (1e9, 3e10, 4e11) for many in (1, 8, 32)]
    found = speed_of(points)
    for size, many in ((2e9, 4), (1e11, 16), (5e10, math.inf)):
        assert found.seconds(size, many) == pytest.approx(made.seconds(size, many), rel=1e-6)


def test_one_size_of_text_tells_no_speed():
    assert speed_of([]) is None and speed_of([(1e9, 4, 0.1), (1e9, 8, 0.1)]) is None


def test_costs_name_their_columns():
    assert Cost._fields == ("llm_tokens", "encoder_tokens", "computed_tokens", "flops")
