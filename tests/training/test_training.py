"""Training: equal terms for all, gradients that are what they claim, and nothing lost when it is stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import warnings
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import METHODS, TEXTS, build
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from causal2vec.config.prompts import Prompts
from causal2vec.config.runs import Run
from causal2vec.config.settings import Budget, Distributed, LearningRates, Lora, Method, Mntp, TextSource
from causal2vec.data.pairs.files import read_pairs
from causal2vec.data.pairs.texts import read_texts
from causal2vec.errors import UserError
from causal2vec.models.folder import load_model, save_model
from causal2vec.runtime.machine import attention_backend
from causal2vec.training import contrastive
from causal2vec.training.batches import column_prompts, load_training_data
from causal2vec.training.checkpoints import is_whole, last_checkpoint, mark_whole
from causal2vec.training.job import Job
from causal2vec.training.lora import adapted, attach_lora, build_to_train
from causal2vec.training.stages import _collator
from causal2vec.training.trainer import make_loss

PROMPTS = Prompts(sources={"a": "find", "b": "match"}, symmetric=["b"])
BUDGET = Budget(steps=6, batch_size=4, max_length=48, temperature=0.05, save_steps=2, lora=Lora(rank=4, alpha=8))
RATES = LearningRates(lora=5e-3, encoder=5e-3, projection=5e-3)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [
        {"query": f"question {i} of {s}", "positive": f"{TEXTS[i % 4]} answer {i}", "source": s, "pair_id": f"{s}{i}"}
        for s in ("a", "b")
        for i in range(24)
    ]
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name in ("train", "validation"):
        pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet")
    return folder


def run_of(method: str, *, trained: bool = True, seed: int = 0) -> Run:
    path, settings = METHODS[method]
    spec = Method(module=path, settings=settings)
    return Run(
        method=method, base="tiny", seed=seed, trained=trained, spec=spec, settings=settings, budget=BUDGET,
        encoder="tiny-encoder", max_length=64, inputs={"add_bos": None, "chat": None, "prefixes": None},
        distributed=Distributed(),
    )  # fmt: skip


def make(run: Run, tiny, pairs: Path, folder: Path, budget: Budget = BUDGET, **options) -> Path:
    run = run.model_copy(update={"budget": budget})
    more = {"folders": tiny, "pairs": pairs, "prompts": PROMPTS, "output": folder / "model", "state": folder / "state"}
    contrastive.make_model(Job(run=run, **more, **options))
    return folder / "model"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.relative_to(folder)}:{name}": tensor
        for path in folder.rglob("*.safetensors")
        for name, tensor in load_file(path).items()
    }


LAYOUTS = {
    "views": pa.string_view(), "large": pa.large_string(), "categories": pa.dictionary(pa.int32(), pa.string()),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_text_is_text_in_every_layout_that_arrow_has(layout, pairs):
    before = {source: part[:] for source, part in load_training_data(pairs).items()}
    table = pq.read_table(pairs / "train.parquet")
    pq.write_table(table.cast(pa.schema([(name, layout) for name in table.column_names])), pairs / "train.parquet")
    assert {source: part[:] for source, part in load_training_data(pairs).items()} == before
    assert read_pairs(pairs / "train.parquet").to_pylist() == table.to_pylist()
    source = TextSource(source="local", path=str(pairs), files="train.parquet", column="query")
    texts = read_texts(source, pairs / "none", 100, seed=0, where="mntp.texts")
    assert texts == table["query"].to_pylist()


def test_every_method_sees_the_same_pairs_in_the_same_order(tiny, pairs, tmp_path):
    records = [json.loads((make(run_of(m), tiny, pairs, tmp_path / m) / "training.json").read_text()) for m in METHODS]
    assert len({record["order_sha256"] for record in records}) == 1
    assert {record["pairs"] for record in records} == {24}
    other = make(run_of("last_token", seed=1), tiny, pairs, tmp_path / "other")
    assert json.loads((other / "training.json").read_text())["order_sha256"] != records[0]["order_sha256"]


@pytest.fixture
def without_dropout(tiny, tmp_path) -> dict[str, Path]:
    """The tiny models; the encoder's dropout, which drowns what so small a model can learn, is off."""
    folder = tmp_path / "encoder"
    shutil.copytree(tiny["encoder"], folder)
    config = json.loads((folder / "config.json").read_text())
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps({**config, **rates}))
    return {**tiny, "encoder": folder}


@pytest.mark.parametrize("method", METHODS)
def test_training_lowers_the_loss_and_changes_what_it_should(method, without_dropout, pairs, tmp_path):
    tiny = without_dropout
    budget = BUDGET.model_copy(update={"steps": 30, "save_steps": 100, "learning_rates": RATES})
    trained = make(run_of(method), tiny, pairs, tmp_path, budget)
    losses = [entry["loss"] for entry in json.loads((trained / "training.json").read_text())["loss"]]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5]), losses
    before = weights(make(run_of(method, trained=False), tiny, pairs, tmp_path / "untrained"))
    after = weights(trained)
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    kinds = {"own" if name.startswith("own") else name.split("/")[0] for name in changed}
    special = {"causal2vec": {"llm", "encoder", "own"}, "encoder_only": {"encoder"}, "latent_attention": {"llm", "own"}}
    assert kinds == special.get(method, {"llm"})
    assert not any("embed_tokens" in name for name in changed)


def test_hard_negatives_are_used_and_read_as_positives_are(tiny, pairs, tmp_path):
    def first_loss(name: str) -> float:
        folder = make(run_of("last_token"), tiny, pairs, tmp_path / name)
        return json.loads((folder / "training.json").read_text())["loss"][0]["loss"]

    without = first_loss("without")
    table = pd.read_parquet(pairs / "train.parquet")
    table["negative_1"] = [f"{row.positive} but not quite" for row in table.itertuples()]
    table.to_parquet(pairs / "train.parquet")
    data = load_training_data(pairs)
    assert data["a"].column_names == ["query", "positive", "negative_1"]
    prompts = column_prompts(PROMPTS, data)
    assert prompts["a"] == {"query": "Instruct: find\nQuery: ", "positive": "", "negative_1": ""}
    assert len(set(prompts["b"].values())) == 1 and prompts["b"]["negative_1"]
    assert first_loss("with") > without, "the same batch with more candidates is harder"


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_training_warns_of_nothing_that_a_user_could_not_mend(checkpointing, tiny, pairs, tmp_path):
    budget = BUDGET.model_copy(update={"gradient_checkpointing": checkpointing})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        make(run_of("causal2vec"), tiny, pairs, tmp_path, budget)
    assert not [str(warning.message) for warning in said if warning.category is FutureWarning]


def test_a_model_with_its_validation_opens(tiny, pairs, tmp_path):
    folder = make(run_of("last_token"), tiny, pairs, tmp_path, validation=True)
    assert (folder / "validation.json").is_file()
    assert load_model(str(folder), "cpu", "float32").encode(TEXTS).shape[0] == len(TEXTS)


@pytest.mark.parametrize(
    "name", ["negative", "neg", "negatives", "hard_negative", "negative1", "Negative", "hard-neg-2"]
)
def test_hard_negatives_by_another_name_are_not_overlooked(name, pairs):
    table = pd.read_parquet(pairs / "train.parquet")
    table[name] = "not this"
    table.to_parquet(pairs / "train.parquet")
    with pytest.raises(UserError, match=rf"column '{name}' would not be read; call it negative_1"):
        load_training_data(pairs)


def test_columns_that_are_none_of_ours_do_no_harm(pairs):
    table = pd.read_parquet(pairs / "train.parquet").assign(note="n", label=1, negation="no")
    table.to_parquet(pairs / "train.parquet")
    assert load_training_data(pairs)["a"].column_names == ["query", "positive"]


def test_hard_negatives_that_some_pairs_lack_are_counted_aloud(tiny, pairs, tmp_path, capsys):
    table = pd.read_parquet(pairs / "train.parquet")
    table["negative_1"] = [None if i == 7 else f"not {i}" for i in range(len(table))]
    table["negative_2"] = None
    table.to_parquet(pairs / "train.parquet")
    make(run_of("last_token"), tiny, pairs, tmp_path)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(said) == 1 and "1 of the 24 pairs of a have no negative_1" in said[0]


def test_sources_that_fill_no_batch_are_named(tiny, pairs, tmp_path, capsys):
    table = pd.read_parquet(pairs / "train.parquet")
    table[table.index < 27].to_parquet(pairs / "train.parquet")
    record = json.loads((make(run_of("last_token"), tiny, pairs, tmp_path) / "training.json").read_text())
    assert record["steps"] == BUDGET.steps
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(said) == 1 and "the source b has 3 pairs, which fill no batch of 4" in said[0]


def test_batch_of_one_pair_teaches_nothing(tiny, pairs, tmp_path):
    alone = BUDGET.model_copy(update={"batch_size": 1})
    with pytest.raises(UserError, match=r"budget\.batch_size is 1, and the pairs of a, b have no hard negatives"):
        make(run_of("last_token"), tiny, pairs, tmp_path, alone)
    table = pd.read_parquet(pairs / "train.parquet").assign(negative_1="something else")
    table.to_parquet(pairs / "train.parquet")
    losses = json.loads((make(run_of("last_token"), tiny, pairs, tmp_path, alone) / "training.json").read_text())[
        "loss"
    ]
    assert all(entry["loss"] > 0 for entry in losses)


def test_frozen_encoder_stays_as_it_is(tiny, pairs, tmp_path):
    run = run_of("causal2vec")
    run = run.model_copy(update={"settings": {**run.settings, "freeze_encoder": True}})
    after = weights(make(run, tiny, pairs, tmp_path))
    before = load_file(tiny["encoder"] / "model.safetensors")
    assert all(torch.equal(before[name.partition(":")[2]], after[name]) for name in after if name.startswith("encoder"))


def gradients(method: str, tiny, budget: Budget) -> dict[str, torch.Tensor]:
    """Of one batch, without dropout: each chunk would draw its own."""
    from sentence_transformers import SentenceTransformer

    torch.manual_seed(0)
    module = build(method, tiny)
    attach_lora(module, budget.lora, gradient_checkpointing=budget.gradient_checkpointing)
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    if "encoder" in module.parts:
        module.encoder.eval()
    model = SentenceTransformer(modules=[module], device="cpu")
    features = [module.preprocess([f"{t} {side}" for t in TEXTS], "Instruct: find\nQuery: ") for side in ("x", "y z")]
    make_loss(model, budget)(features, None).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_cached_and_recomputed_gradients_equal_plain_gradients(method, checkpointing, tiny):
    plain = gradients(method, tiny, BUDGET)
    for chunk in (2,) if not checkpointing else (None, 2):
        update = {"mini_batch_size": chunk, "gradient_checkpointing": checkpointing}
        other = gradients(method, tiny, BUDGET.model_copy(update=update))
        assert plain.keys() == other.keys() and plain
        for name in plain:
            assert torch.allclose(plain[name], other[name], rtol=1e-3, atol=1e-5), name


def test_recomputing_happens_when_it_is_asked_for(tiny):
    counts = []
    for checkpointing in (False, True):
        module = build("last_token", tiny)
        attach_lora(module, BUDGET.lora, gradient_checkpointing=checkpointing)
        layer, calls = module.llm.get_base_model().layers[0].mlp, []
        layer.register_forward_pre_hook(lambda *args, calls=calls: calls.append(1))
        module(module.preprocess(TEXTS))["sentence_embedding"].sum().backward()
        counts.append(len(calls))
    assert counts == [1, 2]


def stop_at(step: int, number: signal.Signals | None = None):
    """A check of the loss that ends the training, or sends this process a signal, in the middle of a step."""

    def check(loss: float, now: int) -> None:
        if now == step and number is None:
            raise KeyboardInterrupt
        if now == step:
            os.kill(os.getpid(), number)

    return check


def test_stopped_training_ends_in_the_same_weights(tiny, pairs, tmp_path, monkeypatch):
    whole = weights(make(run_of("causal2vec"), tiny, pairs, tmp_path / "whole"))
    monkeypatch.setattr("causal2vec.training.trainer.check_finite", stop_at(5))
    with pytest.raises(KeyboardInterrupt):
        make(run_of("causal2vec"), tiny, pairs, tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "model").exists(), "nothing half-written is taken for finished"
    monkeypatch.undo()
    folder = make(run_of("causal2vec"), tiny, pairs, tmp_path / "stopped")
    assert json.loads((folder / "training.json").read_text())["resumed"] is True
    resumed = weights(folder)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not (tmp_path / "stopped" / "state").exists()


@pytest.mark.parametrize("damage", ["truncate", "delete", "no mark"])
def test_checkpoint_that_is_not_whole_is_passed_over(damage, tiny, pairs, tmp_path, monkeypatch):
    whole = weights(make(run_of("last_token"), tiny, pairs, tmp_path / "whole"))
    monkeypatch.setattr("causal2vec.training.trainer.check_finite", stop_at(6))
    with pytest.raises(KeyboardInterrupt):
        make(run_of("last_token"), tiny, pairs, tmp_path / "stopped")
    monkeypatch.undo()
    newest = tmp_path / "stopped" / "state" / "checkpoint-4"
    assert is_whole(newest)
    victim = newest / ("whole.json" if damage == "no mark" else "optimizer.pt")
    if damage == "truncate":
        victim.write_bytes(victim.read_bytes()[:-1])
    else:
        victim.unlink()
    folder = make(run_of("last_token"), tiny, pairs, tmp_path / "stopped")
    assert json.loads((folder / "training.json").read_text())["resumed_from_step"] == 2
    resumed = weights(folder)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_newest_whole_checkpoint_is_taken_and_broken_ones_go(tmp_path):
    assert last_checkpoint(tmp_path / "nothing") is None
    for step in (8, 16, 120):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "weights").write_bytes(b"12345")
        mark_whole(tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-120" / "weights").write_bytes(b"123")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-16", "checkpoint-8"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signal_stops_after_the_step_with_a_checkpoint(number, tiny, pairs, tmp_path, monkeypatch):
    before = signal.getsignal(number)
    monkeypatch.setattr("causal2vec.training.trainer.check_finite", stop_at(3, number))
    with pytest.raises(UserError, match=f"stopped by {number.name} at step 3 of 6; the same command goes on"):
        make(run_of("last_token"), tiny, pairs, tmp_path)
    assert signal.getsignal(number) is before
    assert last_checkpoint(tmp_path / "state") == str(tmp_path / "state" / "checkpoint-3")


def test_signal_in_the_last_step_stops_nothing(tiny, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr("causal2vec.training.trainer.check_finite", stop_at(6, signal.SIGTERM))
    assert (make(run_of("last_token"), tiny, pairs, tmp_path) / "training.json").is_file()


def test_frozen_llm_in_bfloat16_leaves_what_learns_in_float32(tiny, pairs, tmp_path):
    module = build_to_train(METHODS["causal2vec"][0], tiny, {"place": "after_bos"}, "bfloat16")
    attach_lora(module, BUDGET.lora)
    formats = {(p.requires_grad, p.dtype) for p in module.parameters()}
    assert formats == {(True, torch.float32), (False, torch.bfloat16)}
    exact = load_file(tiny["encoder"] / "model.safetensors")
    assert all(torch.equal(p, exact[name]) for name, p in module.encoder.named_parameters())
    budget = BUDGET.model_copy(update={"steps": 30, "save_steps": 100, "learning_rates": RATES})
    trained = make(run_of("causal2vec"), tiny, pairs, tmp_path, budget, dtype="bfloat16")
    record = json.loads((trained / "training.json").read_text())
    losses = [entry["loss"] for entry in record["loss"]]
    assert record["frozen_dtype"] == "bfloat16" and sum(losses[-5:]) < sum(losses[:5])
    after, before = weights(trained), load_file(tiny["llm"] / "model.safetensors")
    assert torch.equal(after["llm/model.safetensors:embed_tokens.weight"], before["model.embed_tokens.weight"])
    assert not torch.equal(
        after["llm/model.safetensors:layers.0.mlp.up_proj.weight"], before["model.layers.0.mlp.up_proj.weight"]
    )


def test_record_says_how_attention_was_computed_and_in_which_formats(tiny, pairs, tmp_path):
    folder = make(run_of("causal2vec"), tiny, pairs, tmp_path, attention="eager")
    record = json.loads((folder / "training.json").read_text())
    assert record["attention"] == {"llm": "eager", "encoder": "eager"}
    assert (record["dtype"], record["frozen_dtype"], record["processes"]) == ("float32", "float32", 1)


@pytest.mark.parametrize("method", METHODS)
def test_every_way_of_computing_attention_gives_the_same_vectors(method, tiny, tmp_path):
    module = build(method, tiny)
    save_model(module, tmp_path / "model", manifest={"method": method, "base": "tiny", "seed": 0, "trained": False},
               records={})  # fmt: skip
    vectors = []
    for attention in ("eager", "sdpa", None):
        model = load_model(str(tmp_path / "model"), "cpu", "float32", attention=attention)
        used = getattr(model[0], model[0].parts[0]).config._attn_implementation
        assert used.removeprefix("packed_") == (attention or "sdpa")
        vectors.append(model.encode(TEXTS, convert_to_tensor=True, normalize_embeddings=True))
    assert torch.allclose(vectors[0], vectors[1], atol=1e-5) and torch.equal(vectors[1], vectors[2])


@pytest.mark.parametrize(
    ("setting", "device", "dtype", "installed", "chosen"),
    [
        ("auto", "cpu", "float32", True, "sdpa"),
        ("auto", "cuda", "bfloat16", False, "sdpa"),
        ("auto", "cuda", "float32", True, "sdpa"),
        ("auto", "cuda", "bfloat16", True, "flash_attention_2"),
        ("eager", "cuda", "bfloat16", True, "eager"),
        ("flash_attention_2", "cuda", "bfloat16", True, "flash_attention_2"),
    ],
)
def test_attention_that_fits_the_machine_is_chosen(setting, device, dtype, installed, chosen, monkeypatch):
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: installed)
    assert attention_backend(setting, device, dtype) == chosen


@pytest.mark.parametrize(("device", "message"), [("cuda", "not installed here"), ("cpu", "needs a GPU and bfloat16")])
def test_flash_attention_that_cannot_be_had_is_refused(device, message, monkeypatch):
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: False)
    with pytest.raises(UserError, match=f"compute.attention is flash_attention_2, .*{message}"):
        attention_backend("flash_attention_2", device, "bfloat16")


def test_same_seed_gives_the_same_revision(tiny, pairs, tmp_path):
    first, second = (make(run_of("causal2vec"), tiny, pairs, tmp_path / name) for name in ("a", "b"))
    one, two = (json.loads((folder / "manifest.json").read_text())["revision"] for folder in (first, second))
    assert one == two


def test_lora_targets_that_are_not_there(tiny, pairs, tmp_path):
    budget = BUDGET.model_copy(update={"lora": Lora(targets=["nothing"])})
    with pytest.raises(UserError, match="fit no layer of LlamaModel"):
        make(run_of("last_token"), tiny, pairs, tmp_path, budget)


PARTLY = {  # targets that a family lacks, and whether layers of its own would be left without adapters
    "Phi3": (Lora().targets, "q_proj, k_proj, v_proj, gate_proj, up_proj fit no layer of Phi3Model.*gate_up_proj"),
    "Qwen3Moe": ([*Lora().targets[:4], "up_proj"], "targets: up_proj fit no layer of Qwen3MoeModel.*experts"),
    "Llama": ([*Lora().targets, "qkv_proj", "gate_up_proj"], None),
    "Gemma": (["self_attn.q_proj", "v_proj"], None),
}  # fmt: skip


@pytest.mark.parametrize("family", PARTLY)
def test_lora_targets_that_fit_only_partly(family):
    """A list for several families may name what one of them lacks, if that leaves out no layer."""
    import transformers

    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "pad_token_id": 0,
             "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "num_experts": 2,
             "moe_intermediate_size": 8, "num_experts_per_tok": 1}  # fmt: skip
    config = getattr(transformers, f"{family}Config")(**sizes)
    llm = transformers.AutoModel.from_config(config)
    targets, message = PARTLY[family]
    if message is None:
        assert any("lora_A" in name for name, _ in adapted(llm, Lora(targets=targets)).named_parameters())
    else:
        with pytest.raises(UserError, match=message):
            adapted(llm, Lora(targets=targets))


def test_instruction_that_fills_the_whole_length_is_found_before_training(tiny, pairs, tmp_path):
    budget = BUDGET.model_copy(update={"max_length": 8})
    with pytest.raises(UserError, match=r"the pairs' source a: .* leave none for the text"):
        make(run_of("last_token"), tiny, pairs, tmp_path, budget)


@pytest.mark.parametrize("setting", [{"max_seq_length": 512}, {"add_bos": False}])
def test_no_method_gets_a_budget_of_its_own(setting, tiny, pairs, tmp_path):
    run = run_of("last_token").model_copy(update={"settings": setting})
    with pytest.raises(UserError, match="which is the same for every method"):
        make(run, tiny, pairs, tmp_path)


def test_too_few_pairs_for_a_batch(tiny, pairs, tmp_path):
    budget = BUDGET.model_copy(update={"batch_size": 64})
    with pytest.raises(UserError, match="do not fill one batch"):
        make(run_of("last_token"), tiny, pairs, tmp_path, budget)


def test_masked_token_is_predicted_from_the_state_before_it(tiny):
    """The objective itself: labels at masked positions alone, shifted by one by the causal-LM loss."""
    tokenizer = AutoTokenizer.from_pretrained(tiny["llm"])
    mntp = Mntp(steps=1, batch_size=2, max_length=32, mask_probability=0.5, all_mask=True)
    ids = tokenizer(TEXTS[2])["input_ids"]
    batch = _collator(tokenizer, mntp, 0)([{"input_ids": ids, "attention_mask": [1] * len(ids)}])
    llm = AutoModelForCausalLM.from_pretrained(tiny["llm"]).eval()
    llm.config.is_causal = False
    with torch.no_grad():
        output = llm(**batch)
    masked = (batch["labels"][0] != -100).nonzero().flatten()
    masked = masked[masked > 0]
    assert len(masked) > 3
    assert (batch["input_ids"][0][masked] == tokenizer.convert_tokens_to_ids("_")).all()
    by_hand = torch.nn.functional.cross_entropy(output.logits[0][masked - 1], batch["labels"][0][masked])
    assert torch.isclose(output.loss, by_hand, atol=1e-5)


def test_mask_token_must_be_one_token(tiny):
    mntp = Mntp(steps=1, batch_size=2, max_length=32, mask_token="no such token")
    with pytest.raises(UserError, match="is not one token of the LLM"):
        _collator(AutoTokenizer.from_pretrained(tiny["llm"]), mntp, 0)


CHANGES = {
    "a setting": {"budget": BUDGET.model_copy(update={"learning_rates": RATES})},
    "the batch": {"budget": BUDGET.model_copy(update={"batch_size": 6})},
    "the method": {"run": run_of("echo")},
    "the seed": {"run": run_of("last_token", seed=1)},
    "the prompts": {"prompts": Prompts(sources={"a": "seek", "b": "match"}, symmetric=["b"])},
    "the number format": {"dtype": "bfloat16"},
    "the pairs": {},
    "the base": {},
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_another_training_left_is_not_gone_on_with(what, tiny, pairs, tmp_path, monkeypatch, capfd):
    """The same folder, other settings or other bytes behind the same names: from the beginning, and said so."""
    monkeypatch.setattr("causal2vec.training.trainer.check_finite", stop_at(5))
    folders = {part: shutil.copytree(folder, tmp_path / folder.name) for part, folder in tiny.items()}
    with pytest.raises(KeyboardInterrupt):
        make(run_of("last_token"), folders, pairs, tmp_path)
    monkeypatch.undo()
    changes = dict(CHANGES[what])
    if what == "the pairs":
        rows = pd.read_parquet(pairs / "train.parquet")
        rows.assign(query=rows["query"] + "?").to_parquet(pairs / "train.parquet")
    if what == "the base":
        weights = load_file(folders["llm"] / "model.safetensors")
        save_file({name: 2 * weight for name, weight in weights.items()}, folders["llm"] / "model.safetensors")
    run = changes.pop("run", run_of("last_token"))
    if prompts := changes.pop("prompts", None):
        monkeypatch.setattr("test_training.PROMPTS", prompts)
    left = last_checkpoint(tmp_path / "state")
    record = json.loads((make(run, folders, pairs, tmp_path, **changes) / "training.json").read_text())
    assert left and record["resumed"] is False
    said = capfd.readouterr().err
    key = {"a setting": "budget.learning_rates", "the batch": "budget.batch_size", "the method": "method", "the base":
           "inputs.llm", "the seed": "seed", "the pairs": "pairs.train.parquet",
           "the number format": "dtype"}  # fmt: skip
    assert key.get(what, "prompts.sources.a") in said and "begins anew" in said
    [aside] = tmp_path.glob("state.*")
    assert last_checkpoint(aside), "hours of work are not thrown away because of a slip"
