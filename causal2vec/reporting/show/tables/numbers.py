"""The numbers that the columns of each kind of table may show."""

# fmt: off
COSTS = [
    "llm_tokens", "encoder_tokens", "prompt_tokens", "computed_tokens", "texts_per_second", "seconds_per_1000_texts",
    "latency_ms", "peak_memory_mb", "trainable_parameters", "total_parameters", "gflops_per_text",
    "measured_gflops_per_text", "joules_per_text", "matmul_gflops", "machine_share", "counted_share", "time_surplus",
]
# fmt: on
"""What a column of a table of kind ``efficiency`` or ``conditions`` may show."""

SAVINGS = ["shorter", "leaner", "faster"]
"""The same for ``savings``."""

PUBLISHED = [f"{saved}_{what}" for saved in ("tokens", "flops", "time") for what in ("median", "most", "reached")]
"""The same for ``published_savings``."""

PUBLISHED_TASKS = ["text_tokens", "example_tokens"] + [
    f"{part}_{saved}" for part in ("queries", "documents", "whole") for saved in ("tokens", "flops", "time")
]
"""The same for ``published_tasks``."""

GROWTH = ["llm_tokens", "computed_tokens", "tokens_share", "gflops_per_text", "ms_per_text"]
"""The same for ``append_cost``."""

TRAINING = ["steps", "pairs", "seconds", "trainable_parameters", "peak_memory_mb", "final_loss"]
"""The same for ``training``."""

_PARTS = ("whole", "contextual", "eos")
AUDIT = [
    *(f"mrr_{swap}_{part}" for swap in ("own", "mean", "other") for part in _PARTS),
    *(f"moved_{swap}_{part}" for swap in ("mean", "other") for part in _PARTS),
    *(f"{name}_{part}" for name in ("cosine", "effective_rank", "top3", "norm") for part in _PARTS),
    *("loss_points", "loss_low", "loss_high", "attention_eos", "attention_text"),
]
"""The same for ``audit``; see `causal2vec.reporting.analysis.audits.read_audit`."""

STANDINGS = ["average", "seed_sd", "iqm", "win_rate", "borda", "borda_rank", "mean_rank"]
"""The same for ``statistics``."""

DIFFERENCES = ["difference", "p", "win_rate", "improvement", "seeds", "seeds_above", "seed_sd"]
"""The same for ``differences``."""
