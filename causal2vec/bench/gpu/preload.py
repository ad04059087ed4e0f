"""What every stage imports, for the server that they start from."""

import causal2vec.bench.gpu.checks
import causal2vec.bench.gpu.efficiency
import causal2vec.bench.gpu.learning
import causal2vec.bench.gpu.training
import causal2vec.training.trainer  # noqa: F401
