"""How long it takes to find what looks like one moment among a million windows.

    python benchmarks/similar.py [--windows 1000000]    writes benchmarks/results/similar.json

Windows are drawn at random, with embeddings of 768 numbers as VideoMAE base makes them, in the files of two
runs. `hookline similar` is timed as a command, with its start; the question of docs/data.md to DuckDB as a
program. `cpu_seconds` are those of all its threads, which other programs make hardly longer; the median of
three, with the files in the page cache. The peak memory is that of the process.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from children import cpu_seconds
from cyclopts import App
from tables import WINDOWS_PER_VIDEO, filled

from tasks.adapters.storage.parquet_files import write_tables
from tasks.core.records import Timeline, VideoRef
from tasks.core.tables.digests import Digests
from tasks.core.tables.library import LibraryEntry, library_table
from tasks.core.tables.parquet_options import ROW_GROUP_ROWS
from tasks.core.tables.schemas import FAILURES, RANKINGS, table_name, windows_schema

RESULTS = Path(__file__).parent / "results" / "similar.json"
COOKBOOK = Path(__file__).parents[1] / "docs" / "data.md"
QUESTION = "### Which other videos show something like a moment of this one?"
RUNS = {"20261124T010000Z-aaaaaa": date(2026, 11, 24), "20261125T010000Z-bbbbbb": date(2026, 11, 25)}
TIMES = 3

DUCKDB = """
import duckdb
connection = duckdb.connect()
connection.execute("set memory_limit = '4GB'")
connection.execute({set_up!r})
assert len(connection.execute({question!r}).fetchmany(10)) == 10
"""

app = App(help=__doc__)


@app.default
def main(windows: int = 1_000_000, output: Path = RESULTS) -> None:
    """Write the files, ask, and keep the medians."""
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = [f"s3://library/{n:07}.mp4" for n in range(windows // WINDOWS_PER_VIDEO)]
        half = len(videos) // 2
        halves = dict(zip(RUNS, (videos[:half], videos[half:]), strict=True))
        for run_id, some in halves.items():
            write_windows(folder, run_id, some, draw)
        write_newest_run(folder, {uri: run_id for run_id, some in halves.items() for uri in some})
        script = folder / "ask.py"
        set_up, question = cookbook(folder, videos[half])
        script.write_text(DUCKDB.format(set_up=set_up, question=question))
        similar = ["-m", "hookline", "similar", str(folder), videos[half], "--at", "1:23", "--json"]
        found = {"hookline similar": measured(similar), "DuckDB": measured([str(script)])}
        size = sum(path.stat().st_size for path in folder.glob("windows/*/*.parquet"))
    result = {
        "windows": windows,
        "videos": len(videos),
        "megabytes": round(size / 1e6),
        "found": found,
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "versions": {"duckdb": duckdb.__version__, "pyarrow": pa.__version__},
    }
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2), flush=True)


def cookbook(folder: Path, video: str) -> tuple[str, str]:
    """How the cookbook sets DuckDB up, and its question, here about 1:23 of this video."""
    text = COOKBOOK.read_text(encoding="utf-8")
    of_page, of_question = text[text.index("## Cookbook") :], text[text.index(QUESTION) :]
    set_up, question = (re.search(r"```sql\n(.*?)```", part, re.DOTALL) for part in (of_page, of_question))
    assert set_up
    assert question
    asked = re.sub(r"\b7\b", "83", question[1].replace("'%/first.mp4'", f"'{video}'"))
    assert asked.count("83") == 3
    return set_up[1].replace("'output/", f"'{folder}/"), asked


def write_windows(folder: Path, run_id: str, videos: list[str], draw: np.random.Generator) -> None:
    """A night's windows, a row group at a time."""
    schema = nullable(windows_schema(768))

    def row_group(rows: Any) -> pa.Table:
        embeddings = draw.standard_normal((len(rows), 768), dtype=np.float32).astype(np.float16)
        begin = rows % WINDOWS_PER_VIDEO * 3.0
        values = pa.array(embeddings.astype(np.float32).reshape(-1))
        given: dict[str, Any] = {
            "run_id": pa.repeat(run_id, len(rows)),
            "video_uri": pa.array([videos[n // WINDOWS_PER_VIDEO] for n in rows.tolist()]),
            "start": pa.array(begin),
            "end": pa.array(begin + 59),
            "videomae_score": pa.array(draw.integers(0, 101, len(rows)), pa.int32()),
            "embedding": pa.FixedSizeListArray.from_arrays(values, 768),
        }
        return pa.table(filled(given, len(rows), schema), schema=schema)

    every = np.arange(len(videos) * WINDOWS_PER_VIDEO)
    groups = (every[first : first + ROW_GROUP_ROWS] for first in range(0, len(every), ROW_GROUP_ROWS))
    path = placed(folder, "windows", run_id)
    write_tables(path, (row_group(rows) for rows in groups), schema, rows=len(every))


def write_newest_run(folder: Path, scored_in: dict[str, str]) -> None:
    """What else the second night has written, as far as it is needed: which run scored which video."""
    newest = max(RUNS)
    length = 3 * (WINDOWS_PER_VIDEO - 1) + 59
    entries = []
    for uri, run_id in scored_in.items():
        video = VideoRef(uri, "etag", 1)
        timeline = Timeline(video, "", length, 1, 28, 28, float(length), "pyav")
        about = (Digests("", "", ""), RUNS[newest], timeline, run_id, RUNS[run_id])
        entries.append(LibraryEntry(video, *about, ranked_in=run_id))
    pq.write_table(library_table(entries, listed=set(scored_in)), placed(folder, "library", newest))
    for table, schema in (("rankings", RANKINGS), ("failures", FAILURES)):
        pq.write_table(schema.empty_table(), placed(folder, table, newest))
    (folder / "runs").mkdir()
    manifest = {"run_id": newest, "run_date": str(RUNS[newest]), "state": "Completed"}
    (folder / "runs" / f"{newest}.json").write_text(json.dumps(manifest))
    (folder / "latest.json").write_text(json.dumps({"run_id": newest, "manifest": f"runs/{newest}.json"}))


def placed(folder: Path, table: str, run_id: str) -> Path:
    """Where a table of a run lies."""
    path = folder / table_name(table, run_date=RUNS[run_id], run_id=run_id)
    path.parent.mkdir(parents=True)
    return path


def nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in schema])


def measured(command: list[str]) -> dict[str, float]:
    """Median CPU seconds of a Python program, and the peak of its memory."""
    peak = Path(__file__).with_name("peak.py")
    seconds, bytes_ = [], []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(TIMES):
            before = cpu_seconds()
            whole = [sys.executable, str(peak), file.name, sys.executable, *command]
            subprocess.run(whole, check=True, stdout=subprocess.DEVNULL)
            seconds.append(cpu_seconds() - before)
            bytes_.append(int(Path(file.name).read_text()))
    return {"cpu_seconds": round(statistics.median(seconds), 1), "peak_gb": round(max(bytes_) / 1e9, 2)}


if __name__ == "__main__":
    app()
