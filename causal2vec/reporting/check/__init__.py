"""A finished results folder, checked again: every checksum, score, table cell and file, wherever it was copied."""
