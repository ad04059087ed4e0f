"""The two pre-training stages: what text they read, what they teach, and what they leave behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch
import transformers
from conftest import TEXTS, build, make_tokenizer, mirrored
from safetensors.torch import load_file, save_file

from causal2vec.config import Lora, Mntp, Simcse, TextSource
from causal2vec.config.settings import Masking
from causal2vec.data.pairs.texts import fetch_texts, read_texts
from causal2vec.errors import UserError
from causal2vec.training import stages
from causal2vec.training.stages import Computing, _collator, pretrain_mntp, pretrain_simcse, with_dropout

LORA = Lora(rank=4, alpha=8)
SIMCSE = Simcse(steps=6, batch_size=8, max_length=32, learning_rate=1e-2)
MNTP = Mntp(steps=6, batch_size=8, max_length=32, learning_rate=1e-2)
STAGES = {"mntp": (pretrain_mntp, MNTP), "simcse": (pretrain_simcse, SIMCSE)}
LINES = [f"document {i} of the corpus" for i in range(40)]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "train.parquet"
    rows = [f"{TEXTS[i % 4]} answer {i}" for i in range(24)]
    pd.DataFrame({"query": "q", "positive": [*rows, *rows[:4]], "source": "a", "pair_id": "p"}).to_parquet(path)
    return path


def pretrain(stage: str, base: Path, pairs: Path, folder: Path, seed: int = 0, **options) -> Path:
    function, settings = STAGES[stage]
    settings = settings.model_copy(update=options.pop("settings", {}))
    function(base, pairs, settings, LORA, seed, folder / "base", folder / "state", Computing(**options))
    return folder / "base"


def record(folder: Path, stage: str) -> dict:
    return json.loads((folder / f"{stage}.json").read_text())


def vectors(module) -> torch.Tensor:
    with torch.no_grad():
        return module(module.preprocess(TEXTS))["sentence_embedding"]


# -- texts ---------------------------------------------------------------------------------------------------


def write_texts(folder: Path, kind: str) -> TextSource:
    folder.mkdir(exist_ok=True, parents=True)
    for part, lines in enumerate((LINES[:25], LINES[25:])):
        path = folder / f"part{part}.{kind}"
        if kind == "txt":
            path.write_text("\n\n".join(lines) + "\n \n", encoding="utf-8")
        elif kind == "jsonl":
            path.write_text("".join(json.dumps({"body": line}) + "\n" for line in [*lines, " "]), encoding="utf-8")
        else:
            pd.DataFrame({"body": [*lines, "", None]}).to_parquet(path)
    return TextSource(source="local", path=str(folder), files=f"*.{kind}", column="body")


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet"])
def test_texts_of_every_format_are_read_without_empty_ones(kind, tmp_path):
    source = write_texts(tmp_path / "texts", kind)
    assert read_texts(source, tmp_path, 1000, seed=0, where="mntp.texts") == LINES


def test_sample_is_the_same_for_the_same_seed_and_spread_over_all_texts(tmp_path):
    source = write_texts(tmp_path / "texts", "txt")
    first, again, other = (read_texts(source, tmp_path, 10, seed=seed, where="x") for seed in (0, 0, 1))
    assert first == again != other
    assert len(set(first)) == 10 and set(first) < set(LINES)
    drawn = [text for seed in range(300) for text in read_texts(source, tmp_path, 10, seed=seed, where="x")]
    assert all(45 < drawn.count(line) < 110 for line in LINES), "each line in about 75 of 300 samples"


def test_without_a_source_the_pairs_positives_are_read_in_order_and_once(pairs):
    expected = pd.read_parquet(pairs)["positive"].drop_duplicates().tolist()
    assert read_texts(None, pairs, 1000, seed=0, where="x") == expected
    assert read_texts(None, pairs, 5, seed=7, where="x") == expected[:5]
    with pytest.raises(UserError, match=r"absent\.parquet does not exist; prepare the pairs first"):
        read_texts(None, pairs.with_name("absent.parquet"), 5, seed=0, where="x")


def bad(folder: Path, name: str, content: bytes, **settings) -> TextSource:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return TextSource(**{"source": "local", "path": str(folder), "files": "*", **settings})


@pytest.mark.parametrize(
    ("name", "content", "settings", "words"),
    [
        ("a.txt", b"text", {"files": "*.md"}, r"mntp\.texts: .* has no file \*\.md"),
        ("a.csv", b"text", {}, r"a\.csv is none of \.txt, \.jsonl, \.parquet"),
        ("a.txt", b"\n \n", {}, r"hold no text"),
    ],
)
def test_texts_that_cannot_be_read_are_named(name, content, settings, words, tmp_path):
    source = bad(tmp_path / "texts", name, content, **settings)
    with pytest.raises(UserError, match=words):
        read_texts(source, tmp_path, 5, seed=0, where="mntp.texts")


def test_parquet_column_that_is_not_there_is_named(tmp_path):
    source = write_texts(tmp_path / "texts", "parquet").model_copy(update={"column": "text"})
    with pytest.raises(UserError, match=r"has no column 'text' \(known: body\); .*mntp\.texts\.column"):
        read_texts(source, tmp_path, 5, seed=0, where="mntp.texts")


def test_texts_from_the_hub_are_fetched_once_and_read_from_the_record(tmp_path):
    repository = tmp_path / "hub" / "datasets" / "org" / "wiki"
    write_texts(repository, "txt")
    (repository / "README.md").write_text("not a text")
    source = TextSource(source="hub", repository="org/wiki", revision="1" * 40, files="*.txt")
    code = f"""
import sys
import warnings
from pathlib import Path
from causal2vec.config import TextSource
from causal2vec.data.pairs.texts import fetch_texts, read_texts
source, output = TextSource(**{source.model_dump()!r}), Path({str(tmp_path / "record.json")!r})
if sys.argv[1] == "fetch":
    fetch_texts(source, output, where="mntp.texts")
else:
    print(len(read_texts(source, Path(), 1000, seed=0, where="mntp.texts", fetched=output)))
"""
    with mirrored(tmp_path / "hub", tmp_path / "home") as environment:
        subprocess.run([sys.executable, "-c", code, "fetch"], check=True, env=environment)
    known = json.loads((tmp_path / "record.json").read_text())
    assert (known["commit"], sorted(known["files"])) == ("1" * 40, ["part0.txt", "part1.txt"])
    offline = {**environment, "HF_HUB_OFFLINE": "1"}  # and the mirror is gone
    done = subprocess.run([sys.executable, "-c", code, "read"], check=True, env=offline, capture_output=True, text=True)
    assert done.stdout.split() == ["40"]


def test_repository_that_is_not_there_is_named(tmp_path, monkeypatch):
    from causal2vec.fetch import hub

    def absent(repository: str, revision: str, **options) -> Path:
        raise UserError(f"{options['where']}: {repository}@{revision} is not on the hub")

    monkeypatch.setattr(hub, "download", absent)
    source = TextSource(source="hub", repository="org/none", revision="main", files="*.txt")
    with pytest.raises(UserError, match=r"simcse\.texts: org/none@main is not on the hub"):
        fetch_texts(source, tmp_path / "record.json", where="simcse.texts")
    assert not (tmp_path / "record.json").exists()


# -- both stages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_stage_lowers_its_loss_and_leaves_a_base_like_the_one_it_started_from(stage, tiny, pairs, tmp_path):
    base = pretrain(stage, tiny["llm"], pairs, tmp_path, settings={"steps": 60, "learning_rate": 3e-3})
    losses = [entry["loss"] for entry in record(base, stage)["loss"]]
    assert len(losses) == 60 and sum(losses[-8:]) < 0.95 * sum(losses[:8])
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (tiny["llm"], base))
    differing = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert differing <= {"architectures"}, "no dropout and no open mask is left in the configuration"
    assert not (tmp_path / "state").exists()
    new, old = (build("bidirectional", {"llm": folder}) for folder in (base, tiny["llm"]))
    assert (vectors(new) - vectors(old)).abs().max() > 1e-3
    assert getattr(build("last_token", {"llm": base}).llm.config, "is_causal", True)
    source = load_file(tiny["llm"] / "model.safetensors")
    same = {name.removeprefix("model."): weight for name, weight in source.items()}
    stored = load_file(base / "model.safetensors")
    moved = {n for n, weight in stored.items() if not torch.equal(weight, same[n.removeprefix("model.")])}
    assert moved and all("_proj" in name for name in moved)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_warns_of_nothing_that_a_user_could_not_mend(stage, tiny, pairs, tmp_path):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        pretrain(stage, tiny["llm"], pairs, tmp_path)
    assert not [warning for warning in said if warning.category is FutureWarning]


def test_stages_follow_each_other_and_keep_their_records(tiny, pairs, tmp_path):
    first = pretrain("mntp", tiny["llm"], pairs, tmp_path / "mntp")
    second = pretrain("simcse", first, pairs, tmp_path / "simcse")
    assert record(second, "mntp") == record(first, "mntp")
    assert record(second, "simcse")["base"] == record(first, "mntp")["base"] == tiny["llm"].name


@pytest.mark.parametrize("stage", STAGES)
def test_same_seed_gives_the_same_bytes_and_another_seed_others(stage, tiny, pairs, tmp_path):
    function, settings = STAGES[stage]
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        function(tiny["llm"], pairs, settings, LORA, seed, tmp_path / name, tmp_path / "state")
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("stage", STAGES)
def test_stage_stopped_by_a_signal_goes_on_and_ends_in_the_same_weights(
    stage, seed, tiny, pairs, tmp_path, monkeypatch
):
    whole = pretrain(stage, tiny["llm"], pairs, tmp_path / "whole", seed=seed)
    check = stages.check_loss

    def stop(loss: float, step: int, name: str, rate: float) -> None:
        check(loss, step, name, rate)
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("causal2vec.training.stages.check_loss", stop)
    with pytest.raises(UserError, match="stopped by SIGTERM at step 3"):
        pretrain(stage, tiny["llm"], pairs, tmp_path / "stopped", seed=seed)
    assert not (tmp_path / "stopped" / "base").exists()
    monkeypatch.undo()
    resumed = pretrain(stage, tiny["llm"], pairs, tmp_path / "stopped", seed=seed)
    assert load_file(whole / "model.safetensors").keys() == load_file(resumed / "model.safetensors").keys()
    for name, weight in load_file(whole / "model.safetensors").items():
        assert torch.equal(weight, load_file(resumed / "model.safetensors")[name]), name
    assert record(resumed, stage)["loss"] == record(whole, stage)["loss"]


@pytest.mark.parametrize("change", ["settings", "seed", "texts", "base"])
@pytest.mark.parametrize("stage", STAGES)
def test_what_another_stage_left_is_not_gone_on_with(stage, change, tiny, pairs, tmp_path, monkeypatch, capfd):
    def stop(loss: float, step: int, name: str, rate: float) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    base = shutil.copytree(tiny["llm"], tmp_path / "llm")
    monkeypatch.setattr("causal2vec.training.stages.check_loss", stop)
    with pytest.raises(UserError, match="stopped by SIGTERM at step 3"):
        pretrain(stage, base, pairs, tmp_path)
    monkeypatch.undo()
    if change == "texts":
        rows = pd.read_parquet(pairs)
        rows.assign(positive=rows["positive"] + "!").to_parquet(pairs)
    if change == "base":
        weights = load_file(base / "model.safetensors")
        save_file({name: weight * 2 for name, weight in weights.items()}, base / "model.safetensors")
    settings = {"learning_rate": 1e-3} if change == "settings" else {}
    options = {"settings": settings, "seed": int(change == "seed")}
    made = pretrain(stage, base, pairs, tmp_path, **options)
    alone = pretrain(stage, base, pairs, tmp_path / "alone", **options)
    assert record(made, stage)["loss"] == record(alone, stage)["loss"]
    key = {"settings": "stage.learning_rate"}.get(change, change)
    assert f"settings or inputs ({key})" in capfd.readouterr().err


@pytest.mark.parametrize("stage", STAGES)
def test_loss_that_is_not_a_number_stops_the_stage_and_names_its_settings(stage, tiny, pairs, tmp_path):
    with pytest.raises(
        UserError,
        match=rf"the loss of {stage} is nan at step \d+, at the learning rate \S+; lower {stage}\.learning_rate",
    ):
        pretrain(stage, tiny["llm"], pairs, tmp_path, settings={"learning_rate": 1e30})
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("stage", STAGES)
def test_stage_reads_the_texts_it_is_given(stage, tiny, pairs, tmp_path):
    texts = write_texts(tmp_path / "texts", "txt")
    base = pretrain(stage, tiny["llm"], pairs, tmp_path / "own", settings={"texts": texts})
    assert record(base, stage)["texts_read"] == 40
    assert record(base, stage)["texts"]["files"] == "*.txt"
    common = pretrain(stage, tiny["llm"], pairs, tmp_path / "common")
    assert record(common, stage)["loss"] != record(base, stage)["loss"]


@pytest.mark.parametrize("stage", STAGES)
def test_base_that_cannot_be_bidirectional_is_refused_before_training(stage, pairs, tmp_path):
    config = transformers.JambaConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, use_mamba_kernels=False, num_experts=2, tie_word_embeddings=False,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "jamba")
    make_tokenizer(tmp_path / "jamba", bos=True)
    with pytest.raises(UserError, match="JambaModel cannot be made bidirectional"):
        pretrain(stage, tmp_path / "jamba", pairs, tmp_path)


# -- masked-next-token prediction ----------------------------------------------------------------------------


def test_masking_of_a_single_base_is_followed():
    """Mistral's in LLM2Vec: four in five tokens masked, all of them by the mask token."""
    mntp = MNTP.model_copy(update={"bases": {"mistral": Masking(mask_probability=0.8, all_mask=True)}})
    assert mntp.on("mistral").mask_probability == 0.8 and mntp.on("llama").mask_probability == 0.2


@pytest.mark.parametrize(("share", "all_mask"), [(0.2, False), (0.8, True)])
def test_masked_share_is_what_the_setting_says(share, all_mask, tiny):
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny["llm"])
    mntp = MNTP.model_copy(update={"mask_probability": share, "all_mask": all_mask})
    ids = list(range(10, 410))
    batch = _collator(tokenizer, mntp, 0)([{"input_ids": ids, "attention_mask": [1] * len(ids)}] * 16)
    chosen = batch["labels"] != -100
    replaced = batch["input_ids"][chosen] == tokenizer.convert_tokens_to_ids("_")
    assert float(chosen.float().mean()) == pytest.approx(share, abs=0.03)
    assert float(replaced.float().mean()) == pytest.approx(1.0 if all_mask else 0.8, abs=0.05)


def test_tokenizer_without_padding_token_will_do(tiny, pairs, tmp_path):
    """Llama 2 and Mistral have none."""
    shutil.copytree(tiny["llm"], tmp_path / "llm")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "llm")
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "llm")
    base = pretrain("mntp", tmp_path / "llm", pairs, tmp_path)
    assert transformers.AutoTokenizer.from_pretrained(base).pad_token is None
    base = pretrain("simcse", base, pairs, tmp_path / "second")
    assert torch.isfinite(vectors(build("bidirectional", {"llm": base}))).all()


# -- SimCSE --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma3Text"])
def test_two_views_of_a_text_differ_in_training_and_agree_otherwise(family, backend, tmp_path):
    config = getattr(transformers, f"{family}Config")(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    make_tokenizer(tmp_path, bos=True)
    module = with_dropout(tmp_path, SIMCSE, {}, attn_implementation=backend)
    assert module.llm.config._attn_implementation.removeprefix("packed_") == backend
    assert not torch.equal(vectors(module.train()), vectors(module.train()))
    assert torch.equal(vectors(module.eval()), vectors(module.eval()))
    plain = build("bidirectional", {"llm": tmp_path}, max_seq_length=32)
    assert torch.allclose(vectors(module), vectors(plain), atol=1e-5)
    for layer in module.llm.layers:
        layer.self_attn.attention_dropout = 0.0
    assert torch.equal(vectors(module.train()), vectors(module.train())), "attention is the only place with dropout"


def test_architecture_without_attention_dropout_is_refused(pairs, tmp_path):
    config = transformers.GPT2Config(
        vocab_size=600, n_embd=32, n_layer=2, n_head=4, n_positions=512, bos_token_id=1, eos_token_id=2
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "gpt2")
    make_tokenizer(tmp_path / "gpt2", bos=True)
    with pytest.raises(UserError, match=r"GPT2 .* has no dropout in its attention .*; set simcse: false"):
        pretrain("simcse", tmp_path / "gpt2", pairs, tmp_path)


def test_dropout_that_does_nothing_is_noticed(tiny, monkeypatch):
    from transformers.models.llama.modeling_llama import LlamaAttention

    monkeypatch.setattr(LlamaAttention, "train", lambda self, mode=True: self.__dict__.update(training=False))
    with pytest.raises(UserError, match="has no dropout in its attention that is at work"):
        with_dropout(tiny["llm"], SIMCSE, {})


def test_first_loss_is_the_contrastive_one_at_the_stages_temperature(tiny, pairs, tmp_path):
    """InfoNCE by hand on the untrained base, dropout all but off."""
    settings = {"dropout": 2e-3, "batch_size": 24, "steps": 1, "temperature": 0.5}
    base = pretrain("simcse", tiny["llm"], pairs, tmp_path, settings=settings)
    texts = read_texts(None, pairs, 24, seed=0, where="x")
    module = build("bidirectional", tiny, max_seq_length=32)
    with torch.no_grad():
        out = torch.nn.functional.normalize(module(module.preprocess(texts))["sentence_embedding"], dim=-1)
    by_hand = torch.nn.functional.cross_entropy(out @ out.T / 0.5, torch.arange(24))
    assert record(base, "simcse")["loss"][0]["loss"] == pytest.approx(float(by_hand), abs=0.01)


def test_simcse_feeds_the_base_as_its_methods_do(tiny, pairs, tmp_path):
    inputs = {"add_bos": None, "chat": ["[INST] ", " [/INST]"], "prefixes": ["query: ", "passage: "]}
    wrapped = pretrain("simcse", tiny["llm"], pairs, tmp_path / "wrapped", inputs=inputs)
    plain = pretrain("simcse", tiny["llm"], pairs, tmp_path / "plain", inputs={**inputs, "chat": None})
    assert record(wrapped, "simcse")["loss"] != record(plain, "simcse")["loss"]


@pytest.mark.parametrize(
    ("size", "words"), [(25, "simcse has 24 different texts and so no whole batch"), (1, r"simcse\.batch_size is 1")]
)
def test_batches_that_teach_nothing_are_refused(size, words, tiny, pairs, tmp_path):
    with pytest.raises(UserError, match=words):
        pretrain("simcse", tiny["llm"], pairs, tmp_path, settings={"batch_size": size})
