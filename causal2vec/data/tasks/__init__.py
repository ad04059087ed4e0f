"""The data of evaluation tasks, built from packages or from the user's own files."""
