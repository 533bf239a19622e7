"""The page of all settings, made from the tree: `python -m tests.docs.settings_page > docs/settings.md`."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hookline.api.contract.settings import Serve
from tasks.core.settings import Settings

TOP = """# Settings

Every setting of a run: an option of `hookline rank` by its path (`--ranking.top_n 10`), a line in the YAML
file of `--settings`, and a field of the form in the Prefect UI. `serve` is for `hookline serve` alone. This
page is made from the code, as they are.
"""
TABLE = "| setting | default | takes | what it is |\n|---|---|---|---|"
BOUNDS = {
    **{"minimum": "at least", "exclusiveMinimum": "more than"},
    **{"maximum": "at most", "exclusiveMaximum": "less than"},
}
KINDS = {"integer": "whole number", "string": "text", "boolean": "`true` or `false`"}


def page() -> str:
    """The whole page, as Markdown."""
    plain, groups = [], []
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            groups.append((name, field.annotation))
        else:
            plain.append(_row(name, field, Settings))
    groups.append(("serve", Serve))
    parts = [TOP, "\n".join([TABLE, *plain])]
    for name, group in groups:
        rows = [_row(f"{name}.{each}", field, group) for each, field in group.model_fields.items()]
        parts.append(f"\n## {name}\n\n{_words(group.__doc__ or '')}\n\n" + "\n".join([TABLE, *rows]))
    return "\n".join(parts) + "\n"


def _row(path: str, field: FieldInfo, group: type[BaseModel]) -> str:
    schema = group.model_json_schema()["properties"][path.rpartition(".")[2]]
    default = "required" if field.is_required() else f"`{_text(schema.get('default', field.default))}`"
    cells = [f"`{path}`", default, _takes(schema), _words(field.description or "")]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _takes(schema: dict[str, Any]) -> str:
    """What a value may be, in words; bounds of a list are those of its members."""
    if choices := schema.get("enum"):
        return " or ".join(f"`{choice}`" for choice in choices)
    if schema["type"] == "array":
        return f"list of: {_takes(schema['items'])}"
    found = [f"{words} {schema[bound]:g}" for bound, words in BOUNDS.items() if bound in schema]
    return ", ".join([KINDS.get(schema["type"], schema["type"]), *found])


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value) if value != "" else '""'


def _words(text: str) -> str:
    """On one line, with nothing in it that Markdown would take for its own."""
    return re.sub(r"([*_<>])", r"\\\1", re.sub(r"\s+", " ", text).strip())


if __name__ == "__main__":
    print(page(), end="")
