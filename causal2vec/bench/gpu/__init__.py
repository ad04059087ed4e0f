"""``python -m causal2vec.bench --gpu``: whether all that needs a GPU works on this one, and how fast."""
