"""YAML files of ours: UTF-8, loaded safely, and no key twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from connectome.errors import InputError


class _Loader(yaml.SafeLoader):
    """The safe loader, but a key that is there twice is an error, where PyYAML takes the last."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else key
            if name in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1} has the key {key.value!r} again: keep one")
            seen.add(name)
        return node


def parse_yaml(text: str) -> Any:
    """Return plain values, or raise ValueError with a line that says what is wrong."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(_sentence_of(error)) from error


def _sentence_of(error: Exception) -> str:
    """Say where and what, without the excerpt and the parser's own words for what it was doing."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    problem = " ".join(str(getattr(error, "problem", "") or "it cannot be read").split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def read_yaml(path: str | Path, kind: str = "file") -> Any:
    """Read a file; `kind` is what messages call it."""
    try:
        return parse_yaml(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"there is no {kind} {path}: give the path of a YAML file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder; wanted is a YAML file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    except ValueError as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; give a file that can") from error
