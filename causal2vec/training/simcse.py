"""Unsupervised contrastive pre-training (SimCSE)."""
