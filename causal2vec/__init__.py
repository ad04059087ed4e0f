"""Causal2Vec and its rivals: trained on equal terms, evaluated on MTEB, compared with care."""

__version__ = "0.1.0"
