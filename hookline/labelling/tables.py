"""Labels and curves in tables: CSV, Parquet, and what the YouTube Analytics API answers."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hookline.labelling.curves import Curve
from hookline.labelling.given import Given, Videos
from tasks.core.errors import SettingsError

Floats = npt.NDArray[np.float64]

SEPARATORS = ",;\t"
"""What spreadsheets put between the values of a row: `;` where numbers have a comma."""

RETENTION = {
    "elapsedvideotimeratio": ("audiencewatchratio", 1.0),
    "video position (%)": ("absolute audience retention (%)", 100.0),
}
"""What the YouTube Analytics API and YouTube Studio call the place and the value; and where a video ends."""


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a CSV or Parquet file.

    Raises:
        SettingsError: it is neither.
    """
    try:
        if file.suffix.lower() == ".parquet":
            rows: list[dict[str, Any]] = pq.ParquetFile(file).read(use_threads=False).to_pylist()
            return rows
        with file.open(encoding="utf-8-sig", newline="") as lines:  # spreadsheets begin with a mark
            header = lines.readline()
            lines.seek(0)
            return list(csv.DictReader(lines, restval="", delimiter=max(SEPARATORS, key=header.count)))
    except (ValueError, csv.Error, pa.ArrowException) as error:
        raise SettingsError(f"{file}: write CSV in UTF-8, or Parquet ({error})") from error


def columns_of(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """The columns of a table, in small letters."""
    return {str(name).strip().lower() for row in rows for name in row}


def segments(file: Path, videos: Videos) -> Given:
    """Verdicts, one row a segment."""
    return Given(read_rows(file))


def curve(file: Path, videos: Videos) -> Given:
    """Columns `video_uri`, `seconds` and `value`, which holds until the next; the last like that before."""
    found = []
    for name, (at, values) in points(file, read_rows(file), "seconds", "value").items():
        if len(at) < 2:
            raise SettingsError(f"{file.name}: {name} has one point, a curve needs two or more")
        found.append(Curve(videos.uri(name), at, np.append(at[1:], 2 * at[-1] - at[-2]), values))
    return Given(curves=found)


def youtube_retention(file: Path, videos: Videos) -> Given:
    """How many watch each part of a video: an answer of the YouTube Analytics API (JSON or CSV), or an export
    of YouTube Studio (CSV).

    The file is called like the video, or has a column `video`. The API names the end of each part, Studio its
    beginning.
    """
    rows = _answered(file) if file.suffix.lower() == ".json" else read_rows(file)
    place = next((name for name in RETENTION if name in columns_of(rows)), None)
    if place is None:
        raise SettingsError(f"{file.name} has neither elapsedVideoTimeRatio nor Video position (%)")
    value, whole = RETENTION[place]
    found = []
    for name, (at, values) in points(file, rows, place, value).items():
        uri = videos.uri(name)
        duration_s = videos.duration_s.get(uri, whole)
        seconds = at / whole * duration_s
        if place == "elapsedvideotimeratio":
            found.append(Curve(uri, np.append(0, seconds[:-1]), seconds, values))
        else:
            found.append(Curve(uri, seconds, np.append(seconds[1:], max(duration_s, seconds[-1])), values))
    return Given(curves=found)


def _answered(file: Path) -> list[dict[str, Any]]:
    """The rows of a `youtubeAnalytics#resultTable`."""
    told = json.loads(file.read_bytes())
    names = [column["name"] for column in told["columnHeaders"]]
    return [dict(zip(names, row, strict=True)) for row in told.get("rows", ())]


def points(
    file: Path, rows: Iterable[Mapping[str, Any]], place: str, value: str
) -> dict[str, tuple[Floats, Floats]]:
    """The points of each video in order of time. Rows without a value are left out: nobody measured it.

    Raises:
        SettingsError: a column is missing, or a row is wrong.
    """
    found: dict[str, dict[float, float]] = {}
    for number, given in enumerate(rows, start=1):
        row = {str(name).strip().lower(): cell for name, cell in given.items()}
        name = str(row.get("video_uri") or row.get("video") or file.stem)
        if missing := [column for column in (place, value) if column not in row]:
            raise SettingsError(f"{file.name} has no column {', '.join(missing)}")
        if row[value] in (None, ""):
            continue
        try:
            at, measured = (float(str(row[column]).replace(",", ".")) for column in (place, value))
        except ValueError as error:
            raise SettingsError(f"{file.name}, row {number}: {error}") from error
        if at in found.setdefault(name, {}):
            again = f"{file.name}, row {number}: {place} {at:g} of {name} again"
            raise SettingsError(f"{again}: keep the rows of one audience")
        found[name][at] = measured
    if not found:
        raise SettingsError(f"{file.name} has no values in {value}")
    return {
        name: (np.array(sorted(of_video)), np.array([of_video[at] for at in sorted(of_video)]))
        for name, of_video in found.items()
    }
