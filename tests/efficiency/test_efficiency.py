"""The efficiency study: predictions against counts, conditions, clocks, energy counters, the CSV file."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import METHODS, TEXTS, build

from causal2vec.config.settings import Efficiency
from causal2vec.efficiency import machine, worker
from causal2vec.efficiency.architecture import forward_flops
from causal2vec.efficiency.counting import count
from causal2vec.efficiency.machine import architecture, linear_layers, matmul_rate, timed
from causal2vec.efficiency.measure import Machine, measure_efficiency, with_variants
from causal2vec.efficiency.worker import Model, Question, answer, override
from causal2vec.efficiency.workloads import Case, Workload, cases_of, make_workloads, number_of_texts
from causal2vec.errors import UserError
from causal2vec.models.folder import save_model
from causal2vec.reporting.read.schema import read_efficiency

REUSING = {
    "last_token", "echo", "in_context", "mean_causal", "weighted_mean", "hierarchical_prepending", "value_aggregation",
    "generated_tokens",
    "causal2vec+after_instruction",
}  # fmt: skip
"""Methods whose shared beginning can be read once."""

PROMPT = "<instruct>Find it\n<query>Which fox jumps?\n<response>The brown one.\n\n" * 8 + "<instruct>Find it\n<query>"


def wrapped(method, folders, **settings):
    """A method as the SentenceTransformer that a worker loads; `+PLACE` overrides Causal2Vec's place."""
    from sentence_transformers import SentenceTransformer

    name, _, place = method.partition("+")
    model = SentenceTransformer(modules=[build(name, folders, **settings)], device="cpu").eval()
    if place:
        override(model[0], "place", place)
    return model


def demo_parts(demo_models):
    return {"llm": demo_models["SmolLM2-135M-Instruct"], "encoder": demo_models["all-MiniLM-L6-v2-2-layers"]}


def stretches(tokenizer, lengths):
    words = tokenizer(" ".join(TEXTS * 60), add_special_tokens=False)["input_ids"]
    return [tokenizer.decode(words[7 * i : 7 * i + length]) for i, length in enumerate(lengths)]


def ask(model, length, texts, prompt="", setting="plain", reuse=False, batch_tokens=None, task="count"):
    workload = Workload(Case(length, setting, reuse), texts, prompt)
    return answer(model, Question(task, workload, batch_tokens), "cpu", "float32")


def bos(method):
    return {} if method == "encoder_only" else {"add_bos": True}


# -- predictions and counts ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*METHODS, "causal2vec+after_instruction"])
def test_predictions_hold_on_the_real_base(demo_models, method):
    """FLOPs within 20 %, tokens exactly, for texts alone, behind a prompt, and with the prompt read once."""
    model = wrapped(method, demo_parts(demo_models), **bos(method))
    for length in (64, 160):
        texts = stretches(model[0].tokenizer, [length, length - 9, length, length - 4])
        for setting, prompt, reuse in (("plain", "", False), ("examples", PROMPT, False), ("examples", PROMPT, True)):
            found = ask(model, length, texts, prompt, setting, reuse)
            assert (found is None) == (reuse and method not in REUSING), (setting, reuse)
            if found is None:
                continue
            assert found.predicted_tokens == found.computed_tokens
            assert found.predicted_flops == pytest.approx(found.counted_flops, rel=0.2)
            read_once = found.llm_tokens - found.computed_tokens
            assert read_once == pytest.approx(0.75 * found.prompt_tokens, rel=0.03) if reuse else read_once == 0


def test_a_wrong_formula_would_be_noticed(demo_models, monkeypatch):
    """The same comparison fails if attention, or every other layer, were forgotten."""
    import causal2vec.efficiency.counting as counting

    model = wrapped("last_token", demo_parts(demo_models), add_bos=True)
    texts = stretches(model[0].tokenizer, [64] * 4)
    monkeypatch.setattr(counting, "forward_flops", lambda *given: forward_flops(*given) / 2)
    found = ask(model, 64, texts)
    assert found.predicted_flops != pytest.approx(found.counted_flops, rel=0.2)


@pytest.mark.parametrize(
    ("method", "expected"),
    [("last_token", 2 + 5), ("bidirectional", 1 + 5), ("causal2vec", 3 + 5), ("echo", None), ("encoder_only", 0)],
)
def test_tokens_by_hand(tiny, method, expected):
    """BOS, EOS and the Contextual token beside the text; nothing for a method without an LLM."""
    model = wrapped(method, tiny)
    [text] = stretches(model[0].tokenizer, [5])
    found = ask(model, 5, [text] * 3)
    words = len(model[0].tokenizer(text, add_special_tokens=False)["input_ids"])
    if expected is not None:
        assert found.llm_tokens == (expected + words - 5 if expected else 0)
    else:
        assert found.llm_tokens >= 2 * words + 2
    assert found.encoder_tokens == (words + 2 if method in ("causal2vec", "encoder_only") else 0)


def test_flops_by_hand(tiny):
    """Two per weight and token, four per layer, width and pair of tokens, and the projection once per text."""
    model = wrapped("causal2vec", tiny)
    found = ask(model, 30, [TEXTS[0]] * 2)
    llm, encoder = found.llm_tokens, found.encoder_tokens
    linear = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)  # two layers: queries and output, keys and values, MLP
    reads = 2 * (4 * 24 * 24 + 2 * 24 * 48)
    by_hand = llm * (2 * linear + 4 * 2 * 32 * llm) + encoder * (2 * reads + 4 * 2 * 24 * encoder)
    left_out = 2 * 32 * 32 + 3 * 32 * 64  # of the last layer, for all tokens but the Contextual token and EOS
    by_hand -= 2 * (llm - 2) * left_out
    assert found.predicted_flops == by_hand + 2 * (24 * 32 + 32 * 32)
    assert found.counted_flops == pytest.approx(found.predicted_flops, rel=0.2)
    assert architecture(model[0].llm).linear == linear and architecture(model[0].encoder).linear == reads


def test_reuse_is_what_the_row_says_and_the_model_stays_as_it_was(tiny):
    model = wrapped("last_token", tiny, max_seq_length=99)
    model[0].reuses_prefix = True
    for reuse in (False, True):
        found = ask(model, 8, TEXTS, PROMPT, "examples", reuse, batch_tokens=24)
        assert (found.computed_tokens < found.llm_tokens) == reuse
        assert found.batch_size < len(TEXTS)
    assert model.max_seq_length == 99 and model[0].reuses_prefix and model[0].prefixes_read is None


def test_texts_of_one_length_are_not_cut_and_others_as_in_the_evaluation(tiny):
    model = wrapped("last_token", tiny, max_seq_length=20)
    long = [" ".join(TEXTS)] * 2
    whole = len(model[0].tokenizer(long[0], add_special_tokens=False)["input_ids"]) + 2
    assert ask(model, 100, long).llm_tokens == whole
    assert ask(model, "mixed", long).llm_tokens == 20
    shown = ask(model, "task:Some", long, PROMPT, "examples")
    assert 20 <= shown.llm_tokens - shown.prompt_tokens <= 22  # the examples take nothing of the text's room


# -- what is asked for -----------------------------------------------------------------------------------


def test_cases():
    plain = cases_of(Efficiency(lengths=[8, 16], tasks=["T"]))
    assert plain == [Case(length, "plain", reuse=False) for length in (8, 16, "mixed", "task:T")]
    some = cases_of(Efficiency(lengths=[8, 16], settings_lengths=[16]))
    assert [case[1:] for case in some if case.length == 16] == [
        ("plain", False, 0), ("instruction", False, 0), ("instruction", True, 0), ("examples", False, 256),
        ("examples", True, 256),
    ]  # fmt: skip
    assert len(some) == 2 + 5
    everywhere = cases_of(Efficiency(lengths=[8], settings_lengths=None, tasks=["T"]))
    assert len(everywhere) == 3 * 5
    growing = cases_of(Efficiency(lengths=[8, 16], settings_lengths=[16, 8], example_tokens=[40, 20, 80, 40]))
    shown = [(case.length, case.examples) for case in growing if case.setting == "examples" and not case.reuse]
    assert shown == [(8, 40), (16, 40), (16, 20), (16, 80)], "all lengths of examples at the first length asked for"


def test_long_texts_are_fewer():
    settings = Efficiency(texts=32, max_tokens=1000)
    assert [number_of_texts(settings, tokens) for tokens in (10, 100, 5000)] == [32, 10, 2]
    assert number_of_texts(Efficiency(texts=32), 5000) == 32
    assert number_of_texts(settings, 5000, sharing=True) == 8, "what they share is shared out over some"


def pairs_file(folder, amount=8):
    rows = [{"query": f"Which fox {i}?", "positive": TEXTS[2], "source": "s", "pair_id": str(i)} for i in range(amount)]
    pd.DataFrame(rows).to_parquet(folder / "pairs.parquet")
    frame = pd.DataFrame({"task": ["T"] * 6 + ["U"], "text": [*(f"text {i}" for i in range(6)), "other"]})
    frame.to_parquet(folder / "texts.parquet")
    return folder / "pairs.parquet", folder / "texts.parquet"


def test_workloads(tiny, tmp_path):
    from transformers import AutoTokenizer

    pairs, texts = pairs_file(tmp_path)
    settings = Efficiency(lengths=[16], settings_lengths=[16], tasks=["T"], texts=3, example_tokens=150)
    found = {load.case[:3]: load for load in make_workloads(pairs, tiny["llm"], settings, texts)}
    reader = AutoTokenizer.from_pretrained(tiny["llm"])
    examples = found[16, "examples", False].prompt
    shown = examples[: examples.rindex("<instruct>")]
    assert 150 - 70 < len(reader(shown, add_special_tokens=False)["input_ids"]) <= 150
    assert shown.count("<response>") >= 1 and examples.endswith("\n<query>")
    assert found[16, "instruction", True].prompt == f"Instruct: {settings.instruction}\nQuery: "
    assert found[16, "plain", False].prompt == ""
    assert found["task:T", "plain", False].texts == ["text 0", "text 2", "text 4"]
    with pytest.raises(UserError, match="has no texts of V"):
        make_workloads(pairs, tiny["llm"], Efficiency(lengths=[8], texts=2, tasks=["V"]), texts)
    with pytest.raises(UserError, match=r"too few for efficiency\.texts=9"):
        make_workloads(pairs, tiny["llm"], Efficiency(lengths=[8], texts=9), None)


def test_variants(tiny):
    models = [Model("causal2vec", "b", "path", 3), Model("echo", "b", "other", 4)]
    found = with_variants(models, ["causal2vec+place=after_instruction"])
    assert [model.method for model in found] == ["causal2vec", "causal2vec+place=after_instruction", "echo"]
    assert found[1].overrides == (("place", "after_instruction"),) and found[1].path == "path"
    with pytest.raises(UserError, match=r"'ecko\+pooling=last' is not measured \(did you mean 'echo'\?\)"):
        with_variants(models, ["ecko+pooling=last"])
    with pytest.raises(ValueError, match="Causal2Vec has no setting 'colour'"):
        override(build("causal2vec", tiny), "colour", 1)


# -- clocks and counters ---------------------------------------------------------------------------------


def test_a_gpu_is_timed_between_events_with_everything_finished(monkeypatch):
    import torch

    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append("event")

        def elapsed_time(self, end):
            return 1500.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: log.append("wait"))
    assert timed(lambda: log.append("work"), "cuda") == 1.5
    assert log == ["wait", "event", "work", "event", "wait"]


def test_a_gpus_memory_is_what_torch_allocated(monkeypatch):
    import torch

    log = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: log.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 7_000_000)
    machine.reset_peak("cuda")
    assert machine.peak_mb("cuda", 3.0) == 7.0 and log == ["reset"]


def test_matmul_rate_weighs_shapes_by_how_many_there_are(tiny, monkeypatch):
    """Each product takes a millisecond: the rate is the FLOPs of all layers over their number."""
    model = wrapped("last_token", tiny)
    layers = linear_layers(model[0].llm)
    assert layers == {(32, 32): 4, (16, 32): 4, (64, 32): 4, (32, 64): 2}
    monkeypatch.setattr(machine, "timed", lambda work, device: work() is None or 1e-3)
    flops = sum(2 * 10 * out * inner * number for (out, inner), number in layers.items())
    assert matmul_rate(layers, 10, "float32") == pytest.approx(flops / 14e-3 / 1e9)
    monkeypatch.undo()
    assert matmul_rate(layers, 256, "float32") > 0


def rapl(folder, **zones):
    """Zones ``number=(name, energy, range)`` in microjoules as Linux lays them out."""
    for number, (name, value, size) in zones.items():
        zone = folder / f"intel-rapl:{number[1:].replace('_', ':')}"
        zone.mkdir()
        for key, content in (("name", name), ("energy_uj", value), ("max_energy_range_uj", size)):
            (zone / key).write_text(f"{content}\n")
    return folder


def test_rapl_adds_packages_and_memory_and_survives_a_wrap(tmp_path):
    root = rapl(
        tmp_path,
        z0=("package-0", 9_000_000, 10_000_000), z0_0=("core", 5, 10_000_000), z0_1=("dram", 1_000_000, 10_000_000),
        z1=("package-1", 2_000_000, 10_000_000), z2=("psys", 7, 10_000_000),
    )  # fmt: skip
    meter = machine.open_meter("cpu", root)
    before = meter.read()
    assert before == (9.0, 1.0, 2.0)
    assert meter.since(before) is None  # nothing moved: no number rather than none at all
    (root / "intel-rapl:0" / "energy_uj").write_text("500000")  # wrapped: 1.5 J
    (root / "intel-rapl:0:1" / "energy_uj").write_text("1250000")
    (root / "intel-rapl:0:0" / "energy_uj").write_text("9999999")
    assert meter.since(before) == pytest.approx(1.75)


def test_no_energy_where_none_can_be_read(tmp_path):
    assert machine.open_meter("cpu", tmp_path) is None
    root = rapl(tmp_path, z0=("package-0", "not a number", 10))
    assert machine.open_meter("cpu", root) is None
    (root / "intel-rapl:0" / "energy_uj").unlink()
    (root / "intel-rapl:0" / "energy_uj").mkdir()  # an OSError, as without permission; root may read everything
    assert machine.open_meter("cpu", root) is None


def test_nvml_is_asked_for_the_gpu_that_torch_uses(monkeypatch):
    import torch

    asked = []
    counter = iter([1000, 1000, 3500])
    library = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=asked.append,
        nvmlDeviceGetTotalEnergyConsumption=lambda gpu: next(counter),
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid="12-34"))
    meter = machine.open_meter("cuda")
    assert meter.since(meter.read()) == 2.5 and asked == ["GPU-12-34"]
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert machine.open_meter("cuda") is None


def test_latency_with_reuse_reads_the_prompt_beforehand(tiny, monkeypatch):
    model = wrapped("last_token", tiny, max_seq_length=400)
    given = []
    hook = model[0].llm.register_forward_pre_hook(
        lambda _, __, named: given.append(named["inputs_embeds"].shape[1]), with_kwargs=True
    )
    timed_calls = []
    monkeypatch.setattr(worker, "timed", lambda work, device: timed_calls.append(len(given)) or work() or 0.5)
    assert worker._latency(model, TEXTS[:2], PROMPT, "cpu") == 0.5
    hook.remove()
    before, prompt = timed_calls[0], given[0]
    assert before == 2 and prompt > 64  # the prompt's own pass and the first text's, untimed
    assert max(given[before:]) < prompt and model[0].prefixes_read is None


# -- the whole -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tiny, tmp_path_factory):
    """A study of three methods with everything turned on."""
    folder = tmp_path_factory.mktemp("study")
    models = []
    for method in ("causal2vec", "last_token", "encoder_only"):
        manifest = {"method": method, "base": "e" if method == "encoder_only" else "b", "seed": 0, "trained": False}
        save_model(build(method, tiny), folder / method, manifest=manifest, records={})
        models.append(Model(method, manifest["base"], str(folder / method), 7))
    pairs, texts = pairs_file(folder, 24)
    settings = Efficiency(
        lengths=[8, 16], settings_lengths=[16], tasks=["T"], texts=6, repeats=2, example_tokens=150,
        variants=["causal2vec+place=after_instruction"], batch_tokens=96,
    )  # fmt: skip
    table = measure_efficiency(
        models, pairs, tiny["llm"], settings, folder / "efficiency.csv",
        Machine("float32", "cpu", 1), task_texts=texts,
    )  # fmt: skip
    return table, folder / "efficiency.csv", models


def test_the_file_is_what_reporting_reads(study):
    table, file, _ = study
    read = read_efficiency(file)
    assert len(read) == len(table)
    assert set(read["text_tokens"]) == {"8", "16", "mixed", "task:T"}
    key = ["method", "base", "setting", "reuse", "text_tokens"]
    assert not table.duplicated(key).any()
    for name in ("gflops_per_text", "measured_gflops_per_text", "latency_ms", "matmul_gflops", "peak_memory_mb"):
        assert (table[name] > 0).all(), name
    assert (table["latency_ms_min"] <= table["latency_ms"]).all()
    assert (table["batch_tokens"] == 96).all() and table["batch_size"].between(1, 6).all()
    assert table.groupby("base")["matmul_gflops"].nunique().eq(1).all()


def test_rows_with_reuse_are_of_methods_that_compute_less(study):
    table = study[0]
    reused = table[table["reuse"] == "yes"]
    assert set(reused["method"]) == {"last_token", "causal2vec+place=after_instruction"}
    assert (reused["computed_tokens"] < reused["llm_tokens"]).all()
    again = table[(table["reuse"] == "no") & (table["llm_tokens"] > 0)]
    assert (again["computed_tokens"] == again["llm_tokens"]).all()
    rows = table[(table["method"] == "last_token") & (table["setting"] == "examples")].set_index("reuse")
    assert rows.loc["yes", "gflops_per_text"] < rows.loc["no", "gflops_per_text"]
    assert (rows["prompt_tokens"] > 100).all()
    alone = table[(table["method"] == "encoder_only") & (table["text_tokens"] == 16)]
    assert (alone["prompt_tokens"] == 0).all() and alone["encoder_tokens"].nunique() == 1


def test_failures_are_one_sentence(study, tiny, tmp_path):
    _, _, models = study
    pairs, _ = pairs_file(tmp_path)
    settings = Efficiency(lengths=[8], texts=2, repeats=2, variants=["last_token+colour=red"])
    with pytest.raises(UserError, match=r"measuring last_token\+colour=red on b failed: .* has no setting 'colour'"):
        measure_efficiency(models[:2], pairs, tiny["llm"], settings, tmp_path / "e.csv", Machine("float32", "cpu", 1))
    assert not (tmp_path / "e.csv").exists()


def test_describe_reads_the_folder(study, tmp_path):
    from causal2vec.efficiency.__main__ import describe

    (tmp_path / "manifest.json").write_text(json.dumps({"method": "echo", "base": "b"}))
    assert describe(tmp_path) == Model("echo", "b", str(tmp_path), 0)
    (tmp_path / "training.json").write_text(json.dumps({"trainable_parameters": 5}))
    assert describe(tmp_path).trainable_parameters == 5


def test_counting_leaves_no_hook_behind(tiny):
    model = wrapped("causal2vec", tiny)
    count(model, TEXTS, "", None)
    assert not model[0]._forward_pre_hooks and not model[0].llm._forward_pre_hooks


# -- one method more -------------------------------------------------------------------------------------


def test_a_new_method_takes_turns_with_one_of_before(study, tiny, tmp_path, monkeypatch):
    """Only it is measured, and its times are set to the machine as it was; one of another content is new."""
    from causal2vec.efficiency import measure

    models = study[2]
    pairs, _ = pairs_file(tmp_path, 24)
    settings = Efficiency(lengths=[8, 16], texts=6, repeats=2, batch_tokens=96)
    slow, served = [1.0], []
    ask, worker_of = measure._ask, measure._worker

    def asked(pipe, model, question):
        found = ask(pipe, model, question)
        return found._replace(seconds=slow[0], latency=slow[0]) if question.task == "time" else found

    def served_by(model, *where):
        served.append(model.method)
        return worker_of(model, *where)

    monkeypatch.setattr(measure, "_ask", asked)
    monkeypatch.setattr(measure, "_worker", served_by)

    def measured(chosen, folder="kept"):
        served.clear()
        return measure_efficiency(
            chosen, pairs, tiny["llm"], settings, tmp_path / "e.csv",
            Machine("float32", "cpu", 1), kept=tmp_path / folder,
        )  # fmt: skip

    first = measured([models[0], models[2]])
    assert served == ["causal2vec", "encoder_only"]
    slow[0] = 3.0  # the machine is three times as slow now
    table = measured(models)
    assert served == ["causal2vec", "last_token"]
    assert table[table["method"] != "last_token"].reset_index(drop=True).equals(first)
    times = table[table["text_tokens"] == 8].set_index("method")
    assert times.loc["last_token", "seconds_per_1000_texts"] == times.loc["causal2vec", "seconds_per_1000_texts"]
    assert times.loc["last_token", "latency_ms"] == pytest.approx(1000, rel=1e-4)
    assert times.loc["last_token", "texts_per_second"] == times.loc["causal2vec", "texts_per_second"]
    assert table.groupby("base")["matmul_gflops"].nunique().eq(1).all()
    assert measured(models).equals(table) and served == [], "a plain run measures nothing"
    assert measured([models[2]]).equals(table[table["method"] == "encoder_only"].reset_index(drop=True))
    assert served == [], "nor does one without a method"
    measured(models, "another")
    assert len(served) == 3
