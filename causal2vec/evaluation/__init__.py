"""Scores on MTEB: tasks, prompts, and the records that say how each number came about."""
