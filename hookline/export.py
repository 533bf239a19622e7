"""Rows for other programs: JSON with everything in it, or CSV with one column for each value."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, TextIO


def write_json(rows: Iterable[Mapping[str, Any]], file: TextIO) -> None:
    """An array of objects, one to a line."""
    file.write("[")
    for number, row in enumerate(rows):
        file.write(",\n" if number else "\n")
        file.write(json.dumps(row, ensure_ascii=False, default=date.isoformat))
    file.write("\n]\n")


def write_csv(rows: Iterable[Mapping[str, Any]], columns: Iterable[str], file: TextIO) -> None:
    """A header and a line each; fields of a struct are columns of their own, lists are written as JSON."""
    names = list(columns)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row, name) for name in names])


def _cell(row: Mapping[str, Any], name: str) -> object:
    value: Any = row
    for part in name.split("."):
        value = None if value is None else value[part]
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
