"""The cost plan: counts against hand-made numbers and real modules, the schedule, the command, bad input."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import METHODS, ROOT, build
from support.studies import snakemake

from causal2vec.config import Lora, ModelSource, load_config
from causal2vec.config.prompts import Prompts
from causal2vec.config.runs import runs_of
from causal2vec.efficiency.architecture import forward_flops, load_architecture, lora_parameters, training_flops
from causal2vec.efficiency.reading import CHARACTERS_PER_TOKEN, Reader, StandInTokenizer
from causal2vec.errors import UserError
from causal2vec.plan.build import make_plan, whole_number
from causal2vec.plan.estimate import batches, sample_pairs, stage_widths
from causal2vec.plan.jobs import Task, longest_path, makespan
from causal2vec.plan.memory import Load, activations, bytes_per_token, training_memory
from causal2vec.plan.rates import ASSUMED, accelerators, choose, merge
from causal2vec.plan.render import compare, count, hours_text, report, write_plan

LORA = Lora(rank=4, alpha=8)
TASKS = ["HPOSynonymPairClassification", "WordSim353STS"]


def study(tiny, **changes) -> dict:
    """A small study on the tiny models; top-level keys can be changed."""

    def method(name, **more):
        path, settings = METHODS[name]
        return {"module": path, "settings": settings, **more}

    return {
        "title": "tiny",
        "models": {
            "tiny-llm": {"kind": "llm", "source": "local", "path": str(tiny["llm"])},
            "tiny-encoder": {"kind": "encoder", "source": "local", "path": str(tiny["encoder"])},
        },
        "bases": ["tiny-llm"],
        "encoder": "tiny-encoder",
        "methods": {
            "causal2vec": method("causal2vec"),
            "echo": method("echo", zero_shot=True),
            "bidirectional": method("bidirectional", mntp=True, simcse=True),
            "encoder_only": method("encoder_only", bases=["tiny-encoder"]),
        },
        "pairs": {"sources": {"recipe_title": 300}, "validation": 60},
        "budget": {"steps": 6, "batch_size": 8, "max_length": 64, "lora": {"rank": 4, "alpha": 8}},
        "mntp": {"steps": 2, "batch_size": 4, "max_length": 32},
        "simcse": {"steps": 2, "batch_size": 4, "max_length": 32},
        "evaluation": {"tasks": TASKS, "max_length": 64, "batch_size": 8, "shards": 2},
        "efficiency": {"lengths": [8], "texts": 4, "repeats": 2},
        "compute": {"threads": 1, "device": "cpu"},
        **changes,
    }  # fmt: skip


def plan_of(tiny, tmp_path, *, gpus=None, accelerator=None, **changes):
    config = load_config(study(tiny, **changes))
    prompts = Prompts(sources={"recipe_title": "find"}, types={"STS": "alike"})
    return make_plan(
        config, prompts, gpus=gpus, accelerator=accelerator, work=tmp_path / "work", calibration=tmp_path / "c.json"
    )


def shape(folder, kind="llm", **more):
    return load_architecture("m", ModelSource(kind=kind, source="local", path=str(folder), **more), Path("/nowhere"))


# -- models ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repository", "billions", "layers"),
    [
        ("princeton-nlp/Sheared-LLaMA-1.3B", 1.28, 24),
        ("meta-llama/Llama-2-7b-chat-hf", 6.61, 32),
        ("mistralai/Mistral-7B-Instruct-v0.2", 7.11, 32),
        ("intfloat/e5-base-v2", 0.109, 12),
    ],
)
def test_well_known_models_are_counted_without_a_network(monkeypatch, tmp_path, repository, billions, layers):
    def only_the_cache(*_, local_files_only=False, **__):
        assert local_files_only, "asked the network"
        raise FileNotFoundError

    monkeypatch.setattr("huggingface_hub.hf_hub_download", only_the_cache)
    source = ModelSource(kind="llm", source="hub", repository=repository, revision="0" * 40)
    found = load_architecture("mine", source, tmp_path)
    # published sizes, less the output head, which an embedding model does not have
    assert found.parameters / 1e9 == pytest.approx(billions, rel=0.01)
    assert found.layers == layers and found.source.startswith("built-in")
    assert all(p.device.type == "meta" for p in found.model.parameters())


def test_a_cut_model_has_the_layers_that_are_kept(tiny):
    whole, cut = shape(tiny["llm"]), shape(tiny["llm"], keep_layers=1)
    assert (whole.layers, cut.layers) == (2, 1)
    assert whole.linear == 2 * cut.linear


def test_layers_that_a_method_does_not_read_are_not_planned(tiny, tmp_path):
    def evaluated(layer):
        method = {"module": METHODS["prompt_eol"][0], "settings": {"layer": layer}, "trained": False, "zero_shot": True}
        table = plan_of(tiny, tmp_path, methods={"m": method}).table
        return table[table.stage == "evaluate_model"].iloc[0]

    early, whole = evaluated(1), evaluated(None)
    assert (early.tokens, early.parameters) == (whole.tokens, whole.parameters)
    assert 2 * early.flops == pytest.approx(whole.flops)


def test_a_prepared_model_is_believed_before_anything_else(tiny, tmp_path):
    shutil.copytree(tiny["llm"], tmp_path / "models" / "SmolLM2-135M-Instruct")
    source = ModelSource(kind="llm", source="hub", repository="x/SmolLM2-135M", revision="0" * 40)
    found = load_architecture("SmolLM2-135M-Instruct", source, tmp_path)
    assert found.source == "prepared" and found.width == 32


def test_a_model_without_a_shape_is_refused_in_one_sentence(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    source = ModelSource(kind="llm", source="hub", repository="nobody/unheard-of", revision="0" * 40)
    with pytest.raises(
        UserError, match=r"the shape of models\.mine is not known: .*run `snakemake --cores 1 "
    ) as caught:
        load_architecture("mine", source, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_damaged_configuration_names_the_model(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"models\.m: .*config\.json cannot be read"):
        shape(tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_trainable_weights_are_those_of_the_real_training(tiny, tmp_path, method):
    from causal2vec.training.lora import attach_lora, trainable_count

    real = build(method, tiny)
    total = sum(p.numel() for p in real.parameters())
    attach_lora(real, LORA)
    base = "tiny-encoder" if method == "encoder_only" else "tiny-llm"
    path, settings = METHODS[method]
    methods = {method: {"module": path, "settings": settings, "bases": [base]}}
    table = plan_of(tiny, tmp_path, methods=methods).table
    row = table[table.stage == "train_model"].iloc[0]
    assert row.trainable_parameters == trainable_count(real)
    assert row.parameters == total


def test_targets_that_fit_nothing_are_refused(tiny):
    with pytest.raises(UserError, match="fit no layer of m; name its linear layers"):
        lora_parameters(shape(tiny["llm"]), Lora(targets=["nothing"]))


# -- arithmetic --------------------------------------------------------------------------------------------


def test_forward_flops_are_those_that_torch_counts(tiny):
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModel

    model, found = AutoModel.from_pretrained(tiny["llm"], attn_implementation="eager"), shape(tiny["llm"])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.ones(3, 40, dtype=torch.long), use_cache=False)
    assert forward_flops(found, 3 * 40, 40) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_training_flops_of_adapters_are_those_that_torch_counts(tiny):
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModel

    from causal2vec.training.lora import adapted

    found = shape(tiny["llm"])
    model = adapted(AutoModel.from_pretrained(tiny["llm"], attn_implementation="eager"), LORA).train()
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.ones(3, 40, dtype=torch.long), use_cache=False).last_hidden_state.sum().backward()
    ours = training_flops(found, 120, 40, adapters=lora_parameters(found, LORA))
    assert ours == pytest.approx(counter.get_total_flops(), rel=0.15)  # the first layer has nothing to pass back to


def test_checkpointing_and_caching_cost_a_forward_pass_each(tiny):
    found = shape(tiny["llm"])
    once = forward_flops(found, 100, 10)
    plain = training_flops(found, 100, 10, adapters=None)
    assert plain == 3 * once
    assert training_flops(found, 100, 10, adapters=None, checkpointing=True, caching=True) == plain + 2 * once


# -- memory ------------------------------------------------------------------------------------------------


def kept_bytes(layers: int, rows: int, dtype: str, *, decoder: bool) -> float:
    """Bytes that a forward pass keeps for the backward pass, counted by torch's hooks."""
    import torch
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

    from causal2vec.training.lora import adapted

    sizes = {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 160, "num_hidden_layers": layers}
    if decoder:
        model = adapted(LlamaModel(LlamaConfig(vocab_size=50, **sizes)), LORA)
    else:
        model = BertModel(BertConfig(vocab_size=50, **sizes), add_pooling_layer=False)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}
    alive = []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    mask = torch.ones(rows, 48, dtype=torch.long)
    mask[0, :5] = 0
    inputs = {"input_ids": torch.ones_like(mask), "attention_mask": mask}
    half = torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), half:
        model.train()(**inputs)
    return float(sum(kept.values()))


@pytest.mark.parametrize("decoder", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_activations_are_those_that_torch_keeps(tmp_path, dtype, decoder):
    from transformers import BertConfig, LlamaConfig

    def kept(layers, rows):
        return kept_bytes(layers, rows, dtype, decoder=decoder)

    # Differences in rows leave the cast weights out, differences in layers the embedding.
    real = (kept(3, 8) - kept(3, 4)) - (kept(2, 8) - kept(2, 4))
    maker = LlamaConfig if decoder else BertConfig
    maker(
        vocab_size=50, hidden_size=64, num_attention_heads=2, intermediate_size=160, num_hidden_layers=1
    ).save_pretrained(tmp_path)
    load = Load(shape(tmp_path, "llm" if decoder else "encoder"), 4, 48, frozen=decoder, decoder=decoder)
    assert activations(load, dtype, "cpu", checkpointing=False) == pytest.approx(real, rel=0.08)


def test_checkpointing_sharding_and_mini_batches_save_memory(tiny):
    load = Load(shape(tiny["llm"]), 64, 64, frozen=True, decoder=True)
    small = load._replace(rows=8)
    plain = training_memory([load], 1000, "bfloat16", "cuda")
    assert training_memory([load], 1000, "bfloat16", "cuda", checkpointing=True).activations < plain.activations / 1.5
    assert training_memory([small], 1000, "bfloat16", "cuda").activations == pytest.approx(plain.activations / 8)
    sharded = training_memory([load], 1000, "bfloat16", "cuda", processes=4, sharded=True)
    assert (sharded.weights, sharded.learning) == (plain.weights / 4, plain.learning / 4)
    assert training_memory([load], 1000, "bfloat16", "cuda", processes=4).learning > plain.learning
    assert training_memory([load], 1000, "float32", "cuda").weights == 2 * plain.weights


def test_bigger_models_keep_more(tiny):
    found = shape(tiny["llm"])
    wider = found._replace(inner=2 * found.inner)
    for dtype in ("float32", "bfloat16"):
        assert bytes_per_token(wider, dtype, decoder=True) > bytes_per_token(found, dtype, decoder=True)


# -- tokens ------------------------------------------------------------------------------------------------


def reader_of(tiny, method, **settings):
    path, defaults = METHODS[method]
    base = "tiny-encoder" if method == "encoder_only" else "tiny-llm"
    own = {"m": {"module": path, "settings": {**defaults, **settings}, "bases": [base]}}
    config = load_config(study(tiny, methods=own))
    encoder = shape(tiny["encoder"], "encoder")
    parts = {"encoder": encoder} if base == "tiny-encoder" else {"llm": shape(tiny["llm"]), "encoder": encoder}
    return Reader(runs_of(config)[0], parts)


TEN = "x" * round(10 * CHARACTERS_PER_TOKEN)


@pytest.mark.parametrize(
    ("method", "llm", "encoder"),
    [
        ("last_token", 12, 0),  # BOS, ten tokens, EOS
        ("bidirectional", 11, 0),
        ("causal2vec", 13, 11),  # the Contextual token; the encoder's one special token of the stand-in
        ("encoder_only", 0, 11),
        ("generated_tokens", 13, 0),  # two soft tokens
    ],
)
def test_a_method_says_itself_how_much_it_reads(tiny, method, llm, encoder):
    found = reader_of(tiny, method).count([TEN], "", 64)
    assert (found.llm, found.encoder) == (pytest.approx(llm, abs=1), pytest.approx(encoder, abs=1))


def test_echo_reads_twice_and_all_are_cut(tiny):
    once, twice = reader_of(tiny, "last_token"), reader_of(tiny, "echo")
    assert twice.count([TEN], "", 64).llm > 1.9 * once.count([TEN], "", 64).llm
    assert {r.count([TEN * 20], "", 64).llm for r in (once, twice)} <= {63.0, 64.0}
    assert once.count([TEN, "a"], "", 64).llm == once.count([TEN], "", 64).llm, "a batch is padded to its longest"


def test_a_method_that_cannot_be_asked_counts_as_one_reading(tiny):
    found = reader_of(tiny, "causal2vec", place="nowhere")
    assert not found.understood
    assert found.count([TEN], "", 64).llm == pytest.approx(12, abs=1)


def test_the_stand_in_tokenizer_covers_a_text_with_its_tokens():
    text = "y" * 50
    found = StandInTokenizer()([text], add_special_tokens=False, return_offsets_mapping=True)
    assert len(found["input_ids"][0]) == 12 and found["offset_mapping"][0][-1][1] == 50
    assert StandInTokenizer()([text, "z"], truncation=True, max_length=8, return_tensors="pt")["input_ids"].shape == (
        2,
        8,
    )


def test_prepared_pairs_replace_the_assumed_lengths(tiny, tmp_path):
    pairs = load_config(study(tiny)).pairs
    assert sample_pairs(pairs, tmp_path).assumed and sample_pairs(pairs, tmp_path).pairs == 300
    table = pd.DataFrame({"query": ["q"] * 40, "positive": ["p" * 99] * 40, "source": ["s"] * 40, "pair_id": range(40)})
    table.to_parquet(tmp_path / "train.parquet")
    found = sample_pairs(pairs, tmp_path)
    assert not found.assumed and found.pairs == 40
    [(source, columns)] = batches(found, 8, 1)
    assert source == "s" and [set(map(len, c)) for c in columns] == [{1}, {99}] and len(columns[0]) == 8
    assert stage_widths(found, "mntp", False, 4, 512) == pytest.approx(25, abs=1)
    assert stage_widths(found, "mntp", False, 4, 16) == 16


# -- schedule ----------------------------------------------------------------------------------------------

DIAMOND = {
    "a": Task(1.0, 1, ()),
    "b": Task(2.0, 1, ("a",)),
    "c": Task(5.0, 1, ("a",)),
    "d": Task(1.0, 2, ("b", "c")),
}


def test_the_schedule_of_a_diamond():
    tasks = {**DIAMOND, "d": DIAMOND["d"]._replace(devices=1)}
    assert makespan(tasks, 1) == 9.0
    assert makespan(tasks, 2) == makespan(tasks, 8) == 7.0
    assert longest_path(DIAMOND) == (7.0, ["a", "c", "d"])
    assert longest_path({}) == (0.0, [])


def test_the_longest_way_ahead_goes_first():
    tasks = {"a": Task(3.0, 1, ()), "b": Task(3.0, 1, ()), "head": Task(1.0, 1, ()), "tail": Task(5.0, 1, ("head",))}
    assert makespan(tasks, 1) == 12.0
    assert makespan(tasks, 2) == 6.0
    beside = {"big": Task(4.0, 2, ()), "light": Task(3.0, 0, ()), "small": Task(1.0, 1, ())}
    assert makespan(beside, 2) == 5.0


@pytest.mark.parametrize(("gpus", "message"), [(0, "at least one is needed"), (1, "job 'd' runs on 2 at once")])
def test_too_few_devices_are_refused(gpus, message):
    with pytest.raises(UserError, match=message):
        makespan(DIAMOND, gpus)


# -- accelerators ------------------------------------------------------------------------------------------


def calibration(path: Path, **changes) -> Path:
    facts = {
        "device": "cpu", "device_name": "mine", "dtype": "float32", "training_flops": 2e11, "encoding_flops": 4e11,
        "memory_bytes": 1e9, "imports_seconds": 3.0, **changes,
    }  # fmt: skip
    path.write_text(json.dumps({key: value for key, value in facts.items() if value is not None}))
    return path


def test_a_calibration_is_taken_where_it_fits(tmp_path):
    path = calibration(tmp_path / "c.json")
    assert choose(None, "cpu", path).name == "mine"
    assert "calibrate" in choose(None, "cpu", path).training_source and choose("A100", "cpu").training_source == ASSUMED
    assert choose(None, "cuda", path).key == "H100", "a processor's rate says nothing of a GPU"
    assert choose("A100", "cpu", path).key == "A100"
    assert choose(None, "cpu", tmp_path / "none").key == "cpu"
    assert all(a.training > 0 and a.encoding > 0 for a in accelerators(path).values())


RATES_ASSUMED = """# Of today.
H100: {name: NVIDIA H100 80 GB SXM, peak: 989.0e+12, training: 0.35, encoding: 0.25, memory: 80.0e+9, device: cuda}
A100: {name: NVIDIA A100 80 GB, peak: 312.0e+12, training: 0.40, encoding: 0.30, memory: 80.0e+9, device: cuda}
"""
MEASURED = "H100: {name: NVIDIA H100 80GB HBM3, training: 4.125e+14, encoding: null, memory: 8.5e+10, "
MEASURED += "device: cuda, measured: 2026-11-28, commit: 0e12345}\n"


def merged(tmp_path: Path, entry: str) -> Path:
    (tmp_path / "assumed.yaml").write_text(RATES_ASSUMED)
    (tmp_path / "measured.yaml").write_text(entry)
    (tmp_path / "table.yaml").write_text(merge(tmp_path / "measured.yaml", tmp_path / "assumed.yaml"))
    return tmp_path / "table.yaml"


def test_measured_rates_stand_beside_assumed_ones(tmp_path):
    none, table = tmp_path / "none", merged(tmp_path, MEASURED)
    before, after = accelerators(none, tmp_path / "assumed.yaml"), accelerators(none, table)
    assert after["H100"].training == 4.125e14 and after["H100"].memory == 8.5e10
    assert after["H100"].training_source == "measured on NVIDIA H100 80GB HBM3, 2026-11-28, commit 0e12345"
    assert after["H100"].encoding == before["H100"].encoding and after["H100"].encoding_source == ASSUMED
    assert {**after, "H100": before["H100"]} == before
    old, new = RATES_ASSUMED.splitlines(), table.read_text().splitlines()
    assert [a for a, b in zip(old, new, strict=True) if a != b] == [line for line in old if line.startswith("H100:")]
    assert merge(tmp_path / "measured.yaml", table) == table.read_text()
    (tmp_path / "measured.yaml").write_text(MEASURED.replace("null", "5.0e+14").replace("4.125e+14", "null"))
    table.write_text(merge(tmp_path / "measured.yaml", table))
    later = accelerators(none, table)["H100"]
    assert later.encoding == 5e14 and "measured" in later.encoding_source
    assert later.training == before["H100"].training and later.training_source == ASSUMED, "of another day"


def test_a_card_that_the_table_lacks_is_added(tmp_path):
    entry = MEASURED.replace("H100", "B300").replace("null", "5e+14")
    table = merged(tmp_path, entry)
    assert accelerators(tmp_path / "none", table)["B300"].encoding == 5e14
    assert table.read_text().startswith(RATES_ASSUMED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("H100", "B300"), "no rate of encoding"),
        (("cuda", "cpu"), "trial on a processor"),
        (("4.125e+14", "quick"), "H100 is no accelerator"),
        (("H100:", "- H100:"), "no single accelerator"),
        ((", measured: 2026-11-28", ""), "H100 is no accelerator"),
    ],
)
def test_bad_measured_rates_are_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        merged(tmp_path, MEASURED.replace(*change))


def test_the_plan_says_of_each_rate_where_it_is_from(tiny, tmp_path, monkeypatch):
    table = merged(tmp_path, MEASURED)
    known = accelerators(tmp_path / "none", table)
    monkeypatch.setattr("causal2vec.plan.rates.accelerators", lambda path: known)
    monkeypatch.setattr("causal2vec.plan.build.accelerators", lambda path: known)
    text = write_plan(plan_of(tiny, tmp_path, accelerator="H100", compute={"device": "cuda"}), tmp_path / "plan")
    source = "measured on NVIDIA H100 80GB HBM3, 2026-11-28, commit 0e12345"
    assert f"412 TFLOP/s in training ({source}), 247 in encoding (assumed)" in text
    assert "NVIDIA A100 80 GB: 125 TFLOP/s in training (assumed)" in text


@pytest.mark.parametrize(
    ("asked", "change", "message"),
    [
        ("A10", {}, r"accelerator: 'A10' is not known \(did you mean 'A100'\?\); name a known one, or run"),
        ("TPU", {}, r"accelerator: 'TPU' is not known \(known: H100, A100, L40S, cpu, calibrated\); name"),
        (None, {"training_flops": None}, r"c\.json is no calibration .*training_flops.*run `snakemake calibrate`"),
        (None, {"training_flops": "fast"}, r"c\.json is no calibration"),
    ],
)
def test_bad_accelerators_are_refused_in_one_sentence(tmp_path, asked, change, message):
    path = calibration(tmp_path / "c.json", **change)
    with pytest.raises(UserError, match=message) as caught:
        choose(asked, "cpu", path)
    assert "\n" not in str(caught.value)


def test_calibrated_without_a_calibration_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist; run `snakemake calibrate` first"):
        choose("calibrated", "cpu", tmp_path / "c.json")


def test_calibrating_gives_back_the_measured_seconds(tiny, tmp_path, monkeypatch):
    import torch

    from causal2vec.plan import calibrate as module

    monkeypatch.setattr(module, "MIN_SECONDS", 0.01)
    monkeypatch.setattr(module, "_imports", lambda: 1.0)
    threads = torch.get_num_threads()
    facts = module.calibrate(
        load_config(study(tiny)), tmp_path / "c.json", device="cpu", dtype="float32", work=tmp_path / "work"
    )
    torch.set_num_threads(threads)
    assert facts["training_shape"] == [16, 64] and facts["encoding_shape"] == [8, 64]
    flops = training_flops(shape(tiny["llm"]), 16 * 64, 64, adapters=lora_parameters(shape(tiny["llm"]), LORA))
    assert facts["training_flops"] * facts["training_seconds"] == pytest.approx(flops, rel=0.05)
    assert choose(None, "cpu", tmp_path / "c.json").training == facts["training_flops"]


def test_calibration_draws_weights_where_it_computes(tiny, tmp_path):
    from causal2vec.plan.calibrate import _model

    weights = list(_model(shape(tiny["llm"]), tmp_path, "meta", "bfloat16").parameters())
    assert {(str(weight.device), str(weight.dtype)) for weight in weights} == {("meta", "torch.bfloat16")}


# -- the plan ----------------------------------------------------------------------------------------------


def test_a_plan_has_every_job(tiny, tmp_path):
    plan = plan_of(tiny, tmp_path)
    jobs = plan.table.groupby("stage").jobs.sum()
    assert (jobs.train_model, jobs.evaluate_model, jobs.pretrain_mntp, jobs.pretrain_simcse) == (5, 10, 1, 1)
    by_method = plan.table[plan.table.stage == "train_model"].set_index("method")
    assert by_method.flops["echo-zero_shot"] == 0 and (by_method.flops.drop("echo-zero_shot") > 0).all()
    evaluated = plan.table[plan.table.stage == "evaluate_model"].set_index("method").tokens
    assert evaluated["echo"] > evaluated["bidirectional"], "echo reads every text twice"
    assert plan.critical[1][-1] == "write_report" and plan.critical[0] <= min(plan.walls.values()) + 1e-6
    assert max(plan.walls.values()) == pytest.approx(plan.walls[1])


def test_more_seeds_cost_as_much_each(tiny, tmp_path):
    one, two = (plan_of(tiny, tmp_path, seeds=seeds).table for seeds in ([0], [0, 1]))
    for stage in ("train_model", "evaluate_model", "pretrain_mntp"):
        first, second = (t[t.stage == stage] for t in (one, two))
        assert second.flops.sum() == pytest.approx(2 * first.flops.sum())


def test_gpus_share_a_training_and_what_does_not_fit_is_flagged(tiny, tmp_path, monkeypatch):
    changes = {"compute": {"device": "cuda", "dtype": "bfloat16"}, "distributed": {"processes": 2}}
    plan = plan_of(tiny, tmp_path, **changes)
    rows = plan.table[plan.table.method == "causal2vec"].set_index("stage")
    assert rows.devices.train_model == 2 and rows.devices.evaluate_model == 1
    assert {"device_hours_H100", "device_hours_A100"} <= set(plan.table)
    assert min(plan.walls) == 2
    assert set(plan.table.fits[plan.table.flops > 0]) == {"yes"}
    with pytest.raises(UserError, match="runs on 2 at once"):
        plan_of(tiny, tmp_path, gpus=1, **changes)
    path = calibration(tmp_path / "c.json", device="cuda", memory_bytes=1e8, dtype="bfloat16")
    assert path.is_file()
    small = plan_of(tiny, tmp_path, **changes)
    assert "NO" in set(small.table.fits) and small.accelerator.name == "mine"
    assert "DOES NOT FIT" in write_plan(small, tmp_path / "out")


@pytest.mark.parametrize("gpus", [0, -1])
def test_no_gpus_are_refused(tiny, tmp_path, gpus):
    with pytest.raises(UserError, match=f"gpus is {gpus}, but at least one is needed"):
        plan_of(tiny, tmp_path, gpus=gpus)


def test_gpus_must_be_a_whole_number():
    assert whole_number("8") == 8 and whole_number(None) is None
    with pytest.raises(UserError, match="gpus is 'many', which is no whole number"):
        whole_number("many")


def test_equal_input_gives_equal_bytes(tiny, tmp_path):
    for name in ("a", "b"):
        write_plan(plan_of(tiny, tmp_path), tmp_path / name)
    for file in ("plan.md", "plan.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    text = (tmp_path / "a" / "plan.md").read_text()
    assert "assumed" in text and "tiny-llm (local)" in text and "nan" not in text.lower()


def test_numbers_are_written_for_people():
    assert [count(n) for n in (7, 1280, 6.6e9, 3e17)] == ["7", "1.28 k", "6.6 G", "300 P"]
    assert [hours_text(h) for h in (42.04, 0.05, 0.004)] == ["42.0", "0.05", "0.004"]


# -- predicted against measured ----------------------------------------------------------------------------


def benchmark(folder: Path, name: str, seconds: float, rss: object = 1000.0) -> None:
    path = folder / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"s": seconds, "max_rss": rss}) + "\n")


def test_predictions_are_held_against_benchmarks(tiny, tmp_path):
    plan = plan_of(tiny, tmp_path)
    write_plan(plan, tmp_path / "plan")
    row = plan.table[(plan.table.stage == "train_model") & (plan.table.method == "echo")].iloc[0]
    folder = tmp_path / "benchmarks"
    benchmark(folder, "train_model/echo/tiny-llm/seed0", row.seconds_per_job / 2)
    for shard, seconds in ((0, 4.0), (1, 6.0)):
        benchmark(folder, f"evaluate_model/echo/tiny-llm/seed0/shard{shard}", seconds, "NA")
    benchmark(folder, "pretrain_simcse/mntp/tiny-llm/seed0", 1.0)
    benchmark(folder, "probe_machine", 4.0)
    benchmark(folder, "train_model/unplanned/tiny-llm/seed0", 1.0)
    table = compare(tmp_path / "plan" / "plan.csv", folder).set_index("stage")
    assert set(table.index) == {"train_model", "evaluate_model", "pretrain_simcse", "probe_machine"}
    assert table.ratio_s["train_model"] == pytest.approx(2.0, abs=0.1)
    assert table.measured_s["evaluate_model"] == 5.0 and table.measured["evaluate_model"] == 2
    assert table.measured_gb["train_model"] == pytest.approx(1.05, abs=0.01)
    assert re.search(r"Within a factor of 1\.5: \d of 4 in seconds\.", report(table.reset_index()))


def test_a_comparison_says_what_is_missing(tiny, tmp_path):
    with pytest.raises(UserError, match=r"plan\.csv does not exist; run `snakemake plan` first"):
        compare(tmp_path / "plan.csv", tmp_path)
    write_plan(plan_of(tiny, tmp_path), tmp_path)
    with pytest.raises(UserError, match="holds no benchmark files"):
        compare(tmp_path / "plan.csv", tmp_path / "none")
    benchmark(tmp_path / "b", "train_model/other/base/seed0", 1.0)
    with pytest.raises(UserError, match="holds no measurement of a job in"):
        compare(tmp_path / "plan.csv", tmp_path / "b")
    (tmp_path / "b" / "broken.jsonl").write_text("{")
    with pytest.raises(UserError, match=r"broken\.jsonl, line 1, is no benchmark of Snakemake"):
        compare(tmp_path / "plan.csv", tmp_path / "b")


# -- the command -------------------------------------------------------------------------------------------


def test_snakemake_plan_prints_and_writes_a_plan_each_time(tiny, tmp_path):
    config = study(tiny)
    config["evaluation"]["prompts"] = str(ROOT / "config" / "prompts.yaml")
    config["reporting"] = {name: str(ROOT / "config" / f"{name}.yaml") for name in ("tables", "claims")}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(tmp_path, "--cores", "1", "plan", "--config", "gpus=2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("# Plan: tiny") and "| jobs at once" in done.stdout
    assert len(pd.read_csv(tmp_path / "work" / "default" / "plan" / "plan.csv")) > 10
    assert not (tmp_path / "work" / "default" / "models").exists(), "nothing is prepared for a plan"
    again = snakemake(tmp_path, "--cores", "1", "plan", "--config", "gpus=0")
    assert again.returncode != 0
    assert "error: gpus is 0, but at least one is needed; set it to a positive number" in again.stderr


def test_planning_modules_are_light():
    code = (
        "import causal2vec.plan, causal2vec.plan.rates, causal2vec.plan.preflight, sys; "
        "print([m for m in ('torch', 'transformers', 'mteb', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
