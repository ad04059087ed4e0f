"""A finished results folder, checked again: every checksum, score, table cell and file, wherever it was copied."""

from causal2vec.reporting.verify.checksums import write_checksums
from causal2vec.reporting.verify.run import verify_results

__all__ = ["verify_results", "write_checksums"]
