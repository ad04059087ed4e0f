"""Which instruction and which examples go before which text. Both are data, in ``config/``."""

from __future__ import annotations

from pathlib import Path
from string import Formatter
from typing import Any, TypeVar

from pydantic import Field, ValidationInfo, field_validator

from causal2vec.config import Config, Method, Section
from causal2vec.errors import UserError, checked, hint
from causal2vec.runtime.files import read_yaml

ASYMMETRIC = ("Retrieval", "Reranking", "InstructionRetrieval", "InstructionReranking")
"""MTEB task types whose documents are read without an instruction."""


FIELDS = {"template": {"instruction"}, "example": {"instruction", "query", "response"}}
"""What the two templates of an examples file must hold, in braces."""

S = TypeVar("S", bound=Section)

INSTRUCT = "<instruct>"
"""How the templates of an examples file begin: `baselines.in_context` tells by it where the examples end."""


def _check_fields(text: str, wanted: set[str]) -> None:
    """Refuse a template that lacks a field, has another, or says how a field is to be formatted."""
    needs = f"it must hold {', '.join(f'{{{name}}}' for name in sorted(wanted))} and no other field; correct it"
    try:
        fields = [(name, form, conversion) for _, name, form, conversion in Formatter().parse(text) if name is not None]
    except ValueError as error:  # a brace that is not closed
        raise ValueError(needs) from error
    if {name for name, _, _ in fields} != wanted or any(form or conversion for _, form, conversion in fields):
        raise ValueError(needs)


class Example(Section):
    """A query and what answers it."""

    query: str = Field(min_length=1)
    response: str = Field(min_length=1)


class Examples(Section):
    """In-context examples by task, by task type, and by source of training pairs.

    ``template`` replaces that of the instructions; ``example`` is the form of one example.
    """

    template: str
    example: str
    separator: str = "\n\n"
    tasks: dict[str, list[Example]] = {}
    types: dict[str, list[Example]] = {}
    sources: dict[str, list[Example]] = {}

    @field_validator("template", "example")
    @classmethod
    def _whole(cls, text: str, info: ValidationInfo) -> str:
        _check_fields(text, FIELDS[str(info.field_name)])
        if not text.startswith(INSTRUCT):
            raise ValueError(f"it must begin with {INSTRUCT}")
        return text

    def before(self, instruction: str, shown: list[Example]) -> str:
        """What stands before a text: examples of the task, then its instruction."""
        texts = [self.example.format(instruction=instruction, **each.model_dump()) for each in shown]
        return self.separator.join([*texts, self.template.format(instruction=instruction)])


class Prompts(Section):
    """Instructions by task, by task type, and by source of training pairs.

    ``symmetric`` names the sources whose two sides are alike, so that both get the instruction. ``examples`` go before
    the instructions where a method has some (`prompts_of`); a text without an instruction has no examples either.
    """

    template: str = "Instruct: {instruction}\nQuery: "
    tasks: dict[str, str] = {}
    types: dict[str, str] = {}
    sources: dict[str, str] = {}
    symmetric: list[str] = []
    examples: Examples | None = None

    @field_validator("template")
    @classmethod
    def _whole(cls, text: str) -> str:
        _check_fields(text, FIELDS["template"])
        return text

    def with_examples(self, examples: Examples) -> Prompts:
        """The same instructions, behind examples and in their template."""
        return self.model_copy(update={"examples": examples})

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
        shown = self.examples.tasks.get(name, self.examples.types.get(task_type, [])) if self.examples else []
        return self._filled(instruction, shown)

    def for_library(self) -> dict[str, str]:
        """The same as far as sentence-transformers' ``prompts`` can say it, in the words that mteb looks up there.

        ``query`` is for those who name no task; ``template`` is to be filled with an instruction, as ``{instruction}``.
        """
        by_type = {f"{kind}-query" if kind in ASYMMETRIC else kind: self.for_task("", kind) for kind in self.types}
        template = self.examples.template if self.examples else self.template
        default = self.for_task("", ASYMMETRIC[0]) or next(iter(by_type.values()), "")
        return {"query": default, "document": "", "template": template, **by_type}

    def for_training(self, source: str) -> dict[str, str]:
        """The prompt per column of a source's pairs.

        Raises:
            UserError: There is no instruction for the source; to have none, say so with an empty text.
        """
        if source not in self.sources:
            raise UserError(
                f"evaluation.prompts names a file without an instruction for the training source '{source}'; add it "
                f"there under sources{hint(source, list(self.sources))}, or for files of your own as "
                f"pairs.files.{source}.instruction, as an empty text if it shall have none"
            )
        shown = self.examples.sources.get(source, []) if self.examples else []
        prompt = self._filled(self.sources[source], shown)
        return {"query": prompt, "positive": prompt if source in self.symmetric else ""}

    def _filled(self, instruction: str | None, shown: list[Example]) -> str:
        if not instruction:
            return ""
        if self.examples:
            return self.examples.before(instruction, shown)
        return self.template.format(instruction=instruction)


class Study(Section):
    """How a study evaluates a model: kept with it, so that an evaluation by hand gets the same scores."""

    dtype: str
    threads: int
    attention: str
    prompts: Prompts


def prompts_of(prompts: Prompts, method: Method) -> Prompts:
    """The prompts of a method: the common ones, behind its examples where it has some.

    Raises:
        UserError: Its examples file cannot be read.
    """
    return prompts.with_examples(load_examples(Path(method.examples))) if method.examples else prompts


def study_prompts(config: Config) -> Prompts:
    """The prompts of a study: its file, with the instructions that its own pairs bring.

    Raises:
        UserError: The file cannot be read.
    """
    prompts = load_prompts(Path(config.evaluation.prompts))
    own = config.pairs.files
    said = {name: files.instruction for name, files in own.items() if files.instruction is not None}
    alike = [name for name, files in own.items() if files.symmetric]
    others = [name for name in prompts.symmetric if name not in own or own[name].symmetric is None]
    update = {"sources": {**prompts.sources, **said}, "symmetric": list(dict.fromkeys([*others, *alike]))}
    return prompts.model_copy(update=update) if own else prompts


def load_prompts(path: Path) -> Prompts:
    """Read a prompts file.

    Raises:
        UserError: The file is absent, not YAML, or has unknown keys.
    """
    return _read(path, Prompts, "prompts", "evaluation.prompts")


def load_examples(path: Path) -> Examples:
    """Read a file of in-context examples.

    Raises:
        UserError: The file is absent, not YAML, or has unknown keys; a template is missing or lacks a field.
    """
    return _read(path, Examples, "examples", "methods.*.examples")


def _read(path: Path, section: type[S], kind: str, key: str) -> S:
    source = read_yaml(path, f"set {key} to a file of {kind}")
    if not isinstance(source, dict | None):
        raise UserError(f"{path} is no {kind} file: it must hold a mapping; see config/{kind}.yaml for one")
    return checked(section, source or {}, f"{path} is no {kind} file", "", also=())  # type: ignore[no-any-return]
