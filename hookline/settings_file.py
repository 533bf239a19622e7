"""Settings from a YAML file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tasks.core.errors import SettingsError


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Booleans and numbers as in YAML 1.2. In 1.1 `cache: off` is False and `crop: 9:16` is 556."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML has it
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":int", ":float"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


for _kind, _pattern in {
    "bool": "true|True|TRUE|false|False|FALSE",
    "int": "[-+]?[0-9]+",
    "float": r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?",
}.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"({_pattern})$"), None)


def read_settings(file: Path) -> dict[str, Any]:
    """The settings in a YAML file, by their names; not checked yet.

    Raises:
        SettingsError: it cannot be read, or is no YAML (with the line), or no mapping of names to values.
    """
    try:
        content = yaml.load(file.read_text(encoding="utf-8-sig"), _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"{file}{line}: this is no YAML: {error.problem or error.context}.") from error
    except FileNotFoundError as error:
        raise SettingsError(f"{file}: there is no such file") from error
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(
            f"{file} must hold settings by their names, such as `ranking: {{top_n: 15}}`, "
            f"not a {type(content).__name__}"
        )
    return content
