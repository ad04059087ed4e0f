"""What a study may say, its runs and its prompts: typed settings, the single source of truth for a configuration file.

Light on purpose: the Snakefile imports this at parse time, so nothing here may import torch.
"""

# ruff: noqa: F401
from __future__ import annotations

from causal2vec.config.settings import (
    PACKAGED_TASKS,
    VARIANT,
    ZERO_SHOT,
    Ablation,
    Alignment,
    Budget,
    Compute,
    Distributed,
    Efficiency,
    Evaluation,
    Lora,
    Method,
    Mntp,
    ModelSource,
    Pairs,
    Section,
    Simcse,
    TextSource,
)
from causal2vec.config.study import SWITCHES, Config, Switches, add_config_option, load_config, switches_of
