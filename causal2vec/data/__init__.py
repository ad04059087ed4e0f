"""Text in, training pairs and evaluation data out: corpora from packages, pairs, tasks, and the user's own files."""
