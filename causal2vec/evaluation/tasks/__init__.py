"""Evaluation tasks: the packaged ones, built from held-out data of Python packages, and every task of mteb.

Importing this module does not import mteb; `get_tasks` and the functions on texts do when they are called.
"""

from __future__ import annotations

from causal2vec.evaluation.tasks.build import build_task_data
from causal2vec.evaluation.tasks.registry import PACKAGED_TASKS, get_tasks
from causal2vec.evaluation.tasks.texts import task_items, task_texts, write_task_texts

__all__ = ["PACKAGED_TASKS", "build_task_data", "get_tasks", "task_items", "task_texts", "write_task_texts"]
