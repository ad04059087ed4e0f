"""Scores that others measured: printed in papers, or imported from a folder of mteb results."""
