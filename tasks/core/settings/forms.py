"""What only the form in the Prefect UI needs: the schema of a setting, as forms can show and check it."""

from __future__ import annotations

from typing import Any

from pydantic.config import JsonDict

URI_PATTERN: JsonDict = {"pattern": "^(([sS]3|[fF][iI][lL][eE])://|(?!.*://)).*[^/]"}
"""What forms can check of a URI; `split_uri` checks the rest."""

CACHE_PATTERN: JsonDict = {"pattern": "^(output|off|rediss?://[^@]+)$"}
"""What forms can check of a cache; `check_cache` checks the rest."""

_ALTERNATIVES = r"\{([^{}]|\{([^{}]|\{[^{}]*\})*\})*\}"

BRACES_PATTERN: JsonDict = {"pattern": f"^([^{{}}]|{_ALTERNATIVES})+$"}
"""Braces that pair up, as `pattern_regex` wants them; alternatives may nest three deep."""


def number(schema: dict[str, Any]) -> None:
    """A Decimal's schema is "number or text", for which forms have two fields, and text no bounds."""
    only_number = schema.pop("anyOf")[0]
    schema.update(only_number, default=float(schema["default"]))


def default_by_field(schema: dict[str, Any]) -> None:
    """A group's default holds its Decimals as text: the form is to take each field's own."""
    del schema["default"]
