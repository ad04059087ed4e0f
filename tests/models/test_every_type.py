"""Every type of LLM and encoder that transformers can build tiny is read rightly, or refused by name."""

from __future__ import annotations

import copy
import inspect
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import TEXTS, make_tokenizer
from transformers import AutoModel, AutoTokenizer
from transformers.initialization import no_init_weights
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from baselines.bidirectional import Bidirectional
from baselines.encoder_only import EncoderOnly
from baselines.last_token import LastToken
from causal2vec.errors import UserError
from causal2vec.models.build import build_embedder
from causal2vec.models.check_llm import check_backbone, check_llm
from causal2vec.models.folder import load_model, save_model
from causal2vec.speed.packing import AVOIDS

PROMPT = "Instruct: find the texts that say the same in other words\nQuery: "
KINDS = sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(MODEL_FOR_MASKED_LM_MAPPING_NAMES))
ENCODERS = sorted(MODEL_FOR_MASKED_LM_MAPPING_NAMES)
WEIGHTS, SECONDS, COMPARED = 3_000_000, 240, 90

TINY: dict[str, Any] = {
    "vocab_size": 600, "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    "hidden_size": 32, "n_embd": 32, "d_model": 32, "word_embed_proj_dim": 32, "attention_hidden_size": 32,
    "num_hidden_layers": 4, "n_layer": 4, "n_layers": 4, "num_layers": 4,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_key_value_heads": 2, "num_kv_heads": 2, "head_dim": 8,
    "intermediate_size": 64, "n_inner": 64, "ffn_dim": 64, "d_ff": 64, "ffn_hidden_size": 64,
    "max_position_embeddings": 512, "n_positions": 512, "sliding_window": 512, "rotary_dim": 4,
    "num_experts": 4, "n_routed_experts": 4, "num_local_experts": 4, "moe_num_experts": 4, "num_experts_per_tok": 1,
    "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "n_group": 1, "topk_group": 1,
    "router_hidden_size": 8, "moe_k": 2,
    "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8,
    "state_size": 4, "mamba_d_state": 4, "mamba_d_head": 8, "mamba_n_heads": 8, "mamba_d_ssm": 64,
    "mamba_num_heads": 8, "mamba_head_dim": 8, "ssm_state_size": 4, "time_step_rank": 4, "use_mamba_kernels": False,
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "dim": 32, "hidden_dim": 64, "emb_dim": 32, "embedding_size": 32,
    "linear_head_dim": 8, "linear_num_heads": 4, "lru_width": 32,
}  # fmt: skip
TRIES: list[dict[str, Any]] = [
    {}, {"sliding_window": None}, {"num_key_value_heads": 4, "head_dim": None}, {"head_dim": None},
    {"num_experts_per_tok": 2}, {"num_hidden_layers": 5, "num_key_value_heads": 4, "head_dim": None},
]  # fmt: skip
"""Settings that some types want otherwise; None: the type's own."""


def tiny_model(kind: str, **settings: Any) -> Any:
    """A model of a type with random weights, or None where none of a few settings gives one that can be run."""
    known = inspect.signature(CONFIG_MAPPING[kind].__init__).parameters
    for other in TRIES:
        wanted = {key: value for key, value in {**TINY, **other, **settings}.items() if key in known}
        wanted = {key: value for key, value in wanted.items() if value is not None or key == "sliding_window"}
        try:
            config = CONFIG_MAPPING[kind](**wanted)
            if getattr(config, "is_encoder_decoder", False):
                return None
            with torch.device("meta"), no_init_weights():
                size = sum(weight.numel() for weight in AutoModel.from_config(config).parameters())
            if size > WEIGHTS:
                return None
            torch.manual_seed(0)
            model = AutoModel.from_config(config).eval()
            mask = torch.ones(2, 9, dtype=torch.long)
            mask[1, :4] = 0
            with torch.no_grad():
                model(input_ids=torch.arange(3, 12).expand(2, -1), attention_mask=mask, use_cache=False)
            return model
        except Exception:  # whatever a type raises at settings that are not its own
            continue
    return None


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder, bos=True)
    return AutoTokenizer.from_pretrained(folder)


def own_vectors(module: Any, texts: list[str], prompt: str) -> torch.Tensor:
    """What the model itself makes of padded ids, pooled as the method pools."""
    features = module.preprocess(texts, prompt)
    backend, module.llm.config._attn_implementation = module.llm.config._attn_implementation, None
    module.llm.config._attn_implementation = "sdpa" if backend == "packed_sdpa" else backend
    mask = features["attention_mask"]
    with torch.no_grad():
        states = module.llm(
            input_ids=features["input_ids"], attention_mask=mask, use_cache=False,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
        ).last_hidden_state  # fmt: skip
    module.llm.config._attn_implementation = backend
    return module.pool(states, features["roles"])


def gap(module: Any) -> float:
    texts = TEXTS * 2
    own = own_vectors(module, texts, PROMPT)
    with torch.no_grad():
        made = module(module.preprocess(texts, PROMPT))["sentence_embedding"]
    return float((made - own).abs().mean() / own.abs().mean())


@pytest.mark.timeout(2 * SECONDS)
def test_every_type_is_read_rightly_or_refused_by_name(tokenizer):
    start, compared, wrong = time.monotonic(), [], {}
    for kind in KINDS:
        if time.monotonic() - start > SECONDS:
            break  # on a machine that is busy; the count below says whether enough were looked at
        if (model := tiny_model(kind)) is None:
            continue
        for method in (LastToken, Bidirectional):
            try:
                module = method({"llm": (model, tokenizer)}, 128).eval()
                check_backbone(module)
            except UserError as error:
                if "cannot be" not in str(error) or type(model).__name__ not in str(error):
                    wrong[kind] = str(error)
                continue
            compared.append(kind)
            if not (found := gap(module)) < 1e-3:
                wrong[kind, method.__name__] = found
    assert not wrong
    assert len(set(compared)) >= COMPARED


def padding_gap(module: EncoderOnly) -> float:
    """How far vectors of a batch are from those of each text alone."""
    with torch.no_grad():
        together, *alone = (
            module(module.preprocess(texts))["sentence_embedding"] for texts in (TEXTS, *([text] for text in TEXTS))
        )
    return float((together - torch.cat(alone)).abs().mean() / together.abs().mean())


@pytest.mark.timeout(2 * SECONDS)
def test_every_encoder_is_read_rightly_or_refused_by_name(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.padding_side = "left"  # whatever its files say
    compared, refused, wrong = [], [], {}
    for kind in ENCODERS:
        if (model := tiny_model(kind)) is None:
            continue
        module = EncoderOnly({"encoder": (model, tokenizer)}, 128).eval()
        try:
            check_backbone(module)
        except UserError as error:
            refused.append(kind)
            if "cannot be an encoder" not in str(error) or type(model).__name__ not in str(error):
                wrong[kind] = str(error)
            continue
        compared.append(kind)
        if not (found := padding_gap(module)) < 1e-3:
            wrong[kind] = found
    assert not wrong
    assert {"albert", "bert", "distilbert", "roberta", "modernbert"} <= set(compared) and len(compared) >= 18
    assert {"convbert", "fnet"} <= set(refused)


AVOIDED = {
    "kimi_linear": ["last_layer"],
    "falcon_h1": ["packing", "prefix"],
    "diffllama": ["prefix"],
    "llama": None,
    "falcon": None,
}


@pytest.mark.parametrize("kind", AVOIDED)
def test_ways_that_would_change_states_are_left_out(kind, tokenizer, caplog):
    model = tiny_model(kind)
    module = LastToken({"llm": (model, tokenizer)}, 128).eval()
    before = gap(module) if kind != "falcon" else None
    check_backbone(module)
    assert getattr(model.config, AVOIDS, None) == AVOIDED[kind]
    assert gap(module) < 1e-3
    said = [record.getMessage() for record in caplog.records if "not read in ways" in record.getMessage()]
    if AVOIDED[kind]:
        assert before > 1e-2, "else the check has nothing to do"
        assert len(said) == 1 and type(model).__name__ in said[0]
    else:
        assert not said


def test_llm_that_does_more_to_ids_than_to_vectors_is_refused():
    model = tiny_model("falcon_h1", embedding_multiplier=5.0)
    with pytest.raises(UserError, match=r"FalconH1Model cannot be a base: .*vectors"):
        check_llm(model)


def prepared(name: str, folder: Path, keep: int | None = None, kind: str = "llm") -> Path:
    from causal2vec.config import ModelSource
    from causal2vec.models.prepare import prepare_model

    config = tiny_model(name).config
    torch.manual_seed(0)
    cls = transformers.AutoModelForCausalLM if kind == "llm" else AutoModel
    cls.from_config(config).save_pretrained(folder / "source")
    make_tokenizer(folder / "source", bos=True)
    source = ModelSource(kind=kind, source="local", path=str(folder / "source"), keep_layers=keep)
    prepare_model("m", source, folder / "base")
    return folder / "base"


def test_encoder_that_sees_padding_is_refused_when_it_is_prepared(tmp_path):
    with pytest.raises(UserError, match=r"models\.m: ConvBertModel cannot be an encoder: padding changes"):
        prepared("convbert", tmp_path, kind="encoder")


@pytest.mark.parametrize("keep", [None, 3])
def test_what_is_left_out_is_found_when_a_base_is_prepared_and_goes_with_it(keep, tmp_path, caplog):
    """Also with the models that are made of it, wherever they are opened."""
    base = prepared("diffllama", tmp_path, keep)
    assert json.loads((base / "config.json").read_text())[AVOIDS] == ["prefix"]
    module = build_embedder("baselines.last_token.LastToken", {"llm": base}, {"max_seq_length": 128})
    manifest = {"method": "last_token", "base": "b", "seed": 0, "trained": False}
    save_model(module, tmp_path / "model", manifest=manifest, records={})
    caplog.clear()
    model = load_model(str(tmp_path / "model"), "cpu", "float32", trusted=True)
    assert gap(model[0]) < 1e-3 and getattr(model[0].llm.config, AVOIDS) == ["prefix"]
    assert not caplog.records, "what is known is not looked for again"


def test_base_that_can_be_read_in_all_ways_stays_as_it_is(tmp_path):
    base = prepared("llama", tmp_path)
    assert (base / "config.json").read_bytes() == (tmp_path / "source" / "config.json").read_bytes()


def test_base_that_cannot_be_one_is_refused_when_it_is_prepared(tmp_path):
    with pytest.raises(UserError, match=r"models\.m: RecurrentGemmaModel cannot be a base"):
        prepared("recurrent_gemma", tmp_path)


def test_model_made_with_other_versions_is_looked_at_again(tmp_path, monkeypatch):
    module = build_embedder("baselines.last_token.LastToken", {"llm": prepared("diffllama", tmp_path)}, {})
    manifest = {"method": "last_token", "base": "b", "seed": 0, "trained": False}
    save_model(module, tmp_path / "model", manifest=manifest, records={})
    seen = []
    monkeypatch.setattr("causal2vec.models.folder.check_backbone", lambda module: seen.append(type(module).__name__))
    load_model(str(tmp_path / "model"), "cpu", "float32", trusted=True)
    assert not seen
    path = tmp_path / "model" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "read_with": {"transformers": "5.2.0"}}))
    load_model(str(tmp_path / "model"), "cpu", "float32", trusted=True)
    assert seen == ["LastToken"]
