"""Tiny models made on the spot, real ones fetched once, and the mirror of the hub where there is one."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from causal2vec.config import ModelSource, load_config

pytest_plugins = ["fixtures_corpora", "fixtures_torture"]

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
CACHE = ROOT / "work" / "test-cache"

# The same examples in every run, and no limit of time per example on machines that do something else as well;
# pytest --hypothesis-profile=explore looks for new ones.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2000, print_blob=True)
hypothesis.settings.load_profile("suite")

STUDY = "tiny"
"""The name of the studies that tests run."""

SLOW_FIRST = (
    "test_workflow.py", "test_readme.py", "test_evaluation.py", "test_distributed.py", "test_fetch.py",
    "test_own_data.py", "test_studies.py", "test_gpu_bench.py", "test_training.py", "test_stages.py", "test_bench.py",
)  # fmt: skip
"""Files that start whole studies, the longest first: last, one would keep one of two processes busy alone."""

SLOW_FIXTURES = {"tiny", "demo_models", "packages_folder", "task_data", "undisturbed", "hub"}
SLOW_FILES = {
    *SLOW_FIRST, "test_statistics_coverage.py", "test_browser.py", "test_bench.py", "test_by_hand.py",
    "test_any_text.py", "test_every_type.py", "test_plots.py", "test_fingerprint.py", "test_fuzz.py", "test_plan.py",
    "test_mixes.py", "test_config.py", "test_project.py", "test_bad_commands.py", "test_orphans.py", "test_light.py",
    "test_network.py", "test_network_packages.py", "test_profiles.py", "test_compute.py", "test_plots_svg.py",
    "test_statistics_reference.py",
}  # fmt: skip
"""What `--quick` leaves out: models, data packages, workflows, commands, simulations, browsers."""

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Short",
    "A rather different and considerably longer sentence, which shows how padding is treated when batches mix "
    "texts of very different lengths, as they always do.",
    "Contrastive learning pulls positives together.",
]

METHODS = {
    "causal2vec": ("causal2vec.modeling_causal2vec.Causal2Vec", {"place": "after_bos"}),
    "last_token": ("baselines.last_token.LastToken", {}),
    "echo": ("baselines.echo.Echo", {}),
    "bidirectional": ("baselines.bidirectional.Bidirectional", {}),
    "encoder_only": ("baselines.encoder_only.EncoderOnly", {}),
    "in_context": ("baselines.in_context.InContext", {}),
    "mean_causal": ("baselines.mean_causal.MeanCausal", {}),
    "weighted_mean": ("baselines.weighted_mean.WeightedMean", {}),
    "prompt_eol": ("baselines.prompt_eol.PromptEol", {}),
    "token_prepending": ("baselines.token_prepending.TokenPrepending", {"k": 2}),
    "hierarchical_prepending": ("baselines.hierarchical_prepending.HierarchicalPrepending", {"k": 2}),
    "latent_attention": ("baselines.latent_attention.LatentAttention", {"latents": 16}),
    "soft_mask": ("baselines.soft_mask.SoftMask", {}),
    "value_aggregation": ("baselines.value_aggregation.ValueAggregation", {"first": 1}),
    "value_aggregation_weighted": ("baselines.value_aggregation.ValueAggregation", {"first": 1, "weighted": True}),
    "generated_tokens": ("baselines.generated_tokens.GeneratedTokens", {"tokens": 2}),
}


def results_of(folder: Path, study: str = STUDY) -> Path:
    """Where a study's results lie in a working folder."""
    return folder / "results" / study


def work_of(folder: Path, study: str = STUDY) -> Path:
    """Where a study's own working files lie."""
    return folder / "work" / study


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="only tests that need no model, data package or workflow")


def pytest_collection_modifyitems(config, items):
    order = {name: place for place, name in enumerate(SLOW_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
    if config.getoption("--quick"):
        slow = [item for item in items if item.path.name in SLOW_FILES or SLOW_FIXTURES & set(item.fixturenames)]
        config.hook.pytest_deselected(items=slow)
        left = set(map(id, slow))
        items[:] = [item for item in items if id(item) not in left]


def build(method: str, folders: dict[str, Path], **settings):
    """An untrained method on given parts, in float32."""
    from causal2vec.models.build import build_embedder

    path, defaults = METHODS[method]
    return build_embedder(path, folders, {"max_seq_length": 128, **defaults, **settings}).eval()


def make_tokenizer(folder: Path, *, bos: bool) -> None:
    """A byte-level BPE tokenizer learnt from the sentences above."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<bos>", "<eos>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([*TEXTS, "Instruct: find\nQuery: text again Document: _ Rewrite paragraph"], trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    else:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
        )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)


@pytest.fixture(autouse=True)
def _process_as_it_was():
    """What a test changes for its whole process (logging, threads) does not reach the next one."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    yield
    logging.disable(logging.NOTSET)
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for handler in [h for h in root.handlers if not type(h).__module__.startswith("_pytest")]:
        root.removeHandler(handler)
    for logger in root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False
    if threads and sys.modules["torch"].get_num_threads() != threads:
        sys.modules["torch"].set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random two-layer Llama and a random two-layer BERT, as model folders."""
    import torch
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    llm = LlamaConfig(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(llm).save_pretrained(folder / "tiny-llm")
    make_tokenizer(folder / "tiny-llm", bos=True)
    bert = BertConfig(
        vocab_size=600, hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=128, initializer_range=0.2,
    )  # fmt: skip
    BertModel(bert).save_pretrained(folder / "tiny-encoder")
    make_tokenizer(folder / "tiny-encoder", bos=False)
    return {"llm": folder / "tiny-llm", "encoder": folder / "tiny-encoder"}


@pytest.fixture(scope="session")
def demo_models() -> dict[str, Path]:
    """The demo's real base (8 layers) and encoders, prepared once per checkout."""
    from causal2vec.models.prepare import prepare_model

    config = load_config(ROOT / "config" / "demo.yaml")
    folders = {}
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "models.lock"):  # tests run in several processes
        for name, source in config.models.items():
            folders[name] = CACHE / name
            if not (folders[name] / "source.json").is_file():
                prepare_model(name, ModelSource(**source.model_dump()), folders[name])
    return folders


@contextlib.contextmanager
def mirrored(data: Path, home: Path):
    """Environment variables that point the hub's libraries at a mirror of a folder; skips where there is none."""
    tool = SHARED / "tools" / "hubmirror.py"
    if not tool.is_file():
        pytest.skip("no mirror of the model hub here")
    server = subprocess.Popen([sys.executable, tool, "--root", data], stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().strip()
        yield {**os.environ, "HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home)}
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def mirror():
    """The mirror of real data sets."""
    with mirrored(SHARED / "hub", CACHE / "hf-home") as environment:
        yield environment
