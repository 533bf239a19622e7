"""What is wrong with settings, as people read it."""

from __future__ import annotations

from pydantic import ValidationError

from tasks.core.secrets import redacted


def what_is_wrong(error: ValidationError) -> str:
    """One line for each wrong setting: its path, what is wrong with it, what was given."""
    group = [] if error.title == "Settings" else [error.title.lower()]
    items = error.errors()
    # A list of which an item is wrong is one item short as well.
    inner = {item["loc"][:-1] for item in items}
    return "\n".join(
        f"{'.'.join([*group, *map(str, item['loc'])])}: {item['msg'].removeprefix('Value error, ')}"
        + (redacted(f", not {item['input']!r}") if item["type"] not in ("value_error", "missing") else "")
        for item in items
        if item["type"] != "too_short" or item["loc"] not in inner
    )
