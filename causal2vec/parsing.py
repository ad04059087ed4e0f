"""YAML and JSON texts as plain data: whatever a text holds, the answer is a value or one sentence on what is wrong.

Both libraries have more ways to fail than their own errors: numbers and dates that are none, nesting without end,
aliases that lead into themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from typing import Any

import yaml

MAX_VALUES = 1_000_000
"""More values than a file of settings has, aliases unfolded: a file that lets a few lines stand for millions."""


class _Loader(yaml.SafeLoader):
    """Plain data only, and no key twice in a mapping, of which the last would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        known = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in known:
                    said = f"the key '{key.value}' stands there twice"
                    raise yaml.constructor.ConstructorError(None, None, said, key.start_mark)
                known.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """A number in the form in which people write numbers: YAML's 060 is 48, and its 12:00:00 is 43200."""
        is_whole = node.tag.endswith("int")
        value = self.construct_yaml_int(node) if is_whole else self.construct_yaml_float(node)
        digits = node.value.lstrip("+-")
        if ":" in digits or (is_whole and re.match(r"0[0-9_]", digits)):
            base = 60 if ":" in digits else 8
            said = f"'{node.value}' is {value} in YAML, to the base {base}; write {value}, or quote a text"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
        return value


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


def yaml_value(text: str) -> Any:
    """The value that a YAML text holds.

    Raises:
        ValueError: Why it is none, in one line; ``line 3: ...`` where the place is known.
    """
    try:
        value = _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        where = f"line {place.line + 1}: " if place else ""
        raise ValueError(f"{where}{error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        raise ValueError(f"character {error.position + 1} is not allowed in YAML") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        # A value whose form promises a number or a date, but that is none, such as 2026-02-31.
        raise ValueError(f"a value is not what its form says: {' '.join(str(error).split())}") from None
    if fault := fault_of(value):
        raise ValueError(fault)
    return value


def json_value(text: str) -> Any:
    """The value that a JSON text holds.

    Raises:
        ValueError: Why it is none, in one line.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise ValueError(str(error).partition(";")[0]) from None


def fault_of(value: Any) -> str:
    """Why plain data cannot be written to a file again, in words; empty if it can.

    It leads into itself, or a text in it holds half a character, which no UTF-8 can say.
    """
    left = [value]
    for _ in range(MAX_VALUES):
        if not left:
            return ""
        found = left.pop()
        if isinstance(found, str) and not found.isascii():
            try:
                found.encode()
            except UnicodeEncodeError as error:
                return f"a text holds half a character (\\u{ord(found[error.start]):x})"
        elif isinstance(found, dict):
            left += [*found.keys(), *found.values()]
        elif isinstance(found, list | tuple | set):
            left += found
    return f"it unfolds to more than {MAX_VALUES:,} values, or to itself"
