"""Which format a file of labels has, and what is in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from hookline.labelling.data_sets import mrhisum, qvhighlights, tvsum
from hookline.labelling.given import Given, Videos
from hookline.labelling.tables import RETENTION, columns_of, curve, read_rows, segments, youtube_retention
from tasks.core.errors import SettingsError

READERS: dict[str, Callable[[Path, Videos], Given]] = {
    "segments": segments,
    "curve": curve,
    "youtube-retention": youtube_retention,
    "mrhisum": mrhisum,
    "qvhighlights": qvhighlights,
    "tvsum": tvsum,
}

BY_ENDING = {".h5": "mrhisum", ".hdf5": "mrhisum", ".jsonl": "qvhighlights", ".json": "youtube-retention"}

OF_TVSUM = re.compile(r"[^\t]+\t[^\t]*\t[\d.]+(,[\d.]+)+\s*\Z")


def read_file(file: Path, kind: str, videos: Videos) -> Given:
    """What is in a file of a format.

    Raises:
        SettingsError: it is not what it should be; it says where, and what to write.
    """
    try:
        return READERS[kind](file, videos)
    except (ValueError, KeyError, TypeError, IndexError, OSError) as error:
        if isinstance(error, SettingsError):
            raise
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise SettingsError(f"{file.name} is no file of --format {kind}: {why}") from error


def format_of(file: Path) -> str:
    """Which format a file has, by its ending and its columns.

    Raises:
        SettingsError: it is not there, or cannot be read.
    """
    if not file.is_file():
        raise SettingsError(f"{file}: there is no such file")
    if found := BY_ENDING.get(file.suffix.lower()):
        return found
    if file.suffix.lower() != ".parquet":
        with file.open(encoding="utf-8", errors="replace") as lines:
            if OF_TVSUM.match(lines.readline()):
                return "tvsum"
    columns = columns_of(read_rows(file)[:1])
    if columns & {*RETENTION}:
        return "youtube-retention"
    return "curve" if {"seconds", "value"} <= columns and "verdict" not in columns else "segments"
