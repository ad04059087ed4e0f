"""Which instruction goes before which text. The instructions are data, in ``config/prompts.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from causal2vec.config import Section
from causal2vec.errors import UserError
from causal2vec.hints import hint

ASYMMETRIC = ("Retrieval", "Reranking", "InstructionRetrieval", "InstructionReranking")
"""MTEB task types whose documents are read without an instruction."""


class Prompts(Section):
    """Instructions by task, by task type, and by source of training pairs.

    ``symmetric`` names the sources whose two sides are alike, so that both get the instruction.
    """

    template: str = "Instruct: {instruction}\nQuery: "
    tasks: dict[str, str] = {}
    types: dict[str, str] = {}
    sources: dict[str, str] = {}
    symmetric: list[str] = []

    def for_task(self, name: str, task_type: str, own: Any = None, *, document: bool = False) -> str:
        """The prompt before a text of an evaluation task; empty for a document of a retrieval task.

        Args:
            name: The task's name in mteb.
            task_type: Its type, for example ``Retrieval``.
            own: The instruction that mteb itself has for the task (a string, or a mapping with ``query``).
            document: Whether the text is one that is searched for.
        """
        if document and task_type in ASYMMETRIC:
            return ""
        if isinstance(own, dict):
            own = own.get("query")
        instruction = self.tasks.get(name) or own or self.types.get(task_type)
        return self._filled(instruction)

    def for_training(self, source: str) -> dict[str, str]:
        """The prompt per column of a source's pairs.

        Raises:
            UserError: There is no instruction for the source; to have none, say so with an empty text.
        """
        if source not in self.sources:
            raise UserError(
                f"evaluation.prompts names a file without an instruction for the training source '{source}'; add it "
                f"there under sources{hint(source, list(self.sources))}, as an empty text if it shall have none"
            )
        prompt = self._filled(self.sources[source])
        return {"query": prompt, "positive": prompt if source in self.symmetric else ""}

    def _filled(self, instruction: str | None) -> str:
        return self.template.format(instruction=instruction) if instruction else ""


def load_prompts(path: Path) -> Prompts:
    """Read a prompts file.

    Raises:
        UserError: The file is absent, not YAML, or has unknown keys.
    """
    try:
        return Prompts.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; set evaluation.prompts to a prompts file") from error
    except (yaml.YAMLError, ValidationError) as error:
        raise UserError(f"{path} is no prompts file: {' '.join(str(error).split())[:300]}") from error
