"""What it takes to compare new segments with those of 100,000 videos, and those of a first night.

    python benchmarks/duplicate_search.py    writes benchmarks/results/duplicate_search.json

The library (`large_library.py`) has 15 segments a video, with embeddings of 768 numbers drawn at random; some
of the new ones are nearly as one of these. `cpu_seconds` are for reading sketches, comparing, and reading
fingerprints where sketches are near: of all threads, which other programs make hardly longer. The peak memory
is that of the process so far. Of a first night each segment is compared with all before it: its `cpu_hours`
are extrapolated.
"""

from __future__ import annotations

import json
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cyclopts import App
from large_library import SEGMENTS, embeddings, fingerprints

from tasks.adapters.storage import open_store
from tasks.adapters.storage.parquet_files import write_tables
from tasks.compare import compare_with_run
from tasks.core.tables.duplicates import Duplicates, with_sketches
from tasks.core.tables.parquet_options import ROW_GROUP_ROWS
from tasks.core.tables.schemas import fingerprints_schema

RESULTS = Path(__file__).parent / "results" / "duplicate_search.json"
NUMBERS, LEAST = 768, 0.999
FIRST_NIGHTS = (60_000, 120_000)
"""Segments of first nights: what they take grows with their number and its square."""

NAME = "fingerprints/run_date=2026-11-24/20261124T010000Z-aaaaaa.parquet"

app = App(help=__doc__)


@app.default
def main(videos: int = 100_000, output: Path = RESULTS) -> None:
    """Write a library's fingerprints, compare with them, and keep what it took."""
    with TemporaryDirectory() as name:
        path = Path(name, NAME)
        path.parent.mkdir(parents=True)
        names = [f"s3://library/{number:07}.mp4" for number in range(videos)]
        with ProcessPoolExecutor(1, get_context("spawn")) as beside:  # what it takes is not measured
            beside.submit(write_library, path, names).result()
        store, uris = open_store(name), pa.array(names)
        found = []
        for new, copies in ((15, 0), (15, 15)):
            segments = new_ones(new, copies, videos)
            began = time.process_time()
            compared = Duplicates(segments, least=LEAST)
            compare_with_run(compared, store, NAME, uris)
            compared.compare_new()
            assert int(compared.are_duplicates.sum()) == copies
            seconds = round(time.process_time() - began, 1)
            peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)
            found.append({"new": new, "duplicates": copies, "cpu_seconds": seconds, "peak_gb": peak})
            print(found[-1], flush=True)
        first_night = {"cpu_seconds": {str(count): first_night_of(count) for count in FIRST_NIGHTS}}
        result = {
            "segments": videos * SEGMENTS,
            "gigabytes": round(path.stat().st_size / 1e9, 2),
            "found": found,
            "first_night": first_night | {"cpu_hours": extrapolated(first_night["cpu_seconds"])},
            "cpus": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
        }
    output.write_text(json.dumps(result, indent=2) + "\n")


def write_library(path: Path, names: list[str]) -> None:
    segments = fingerprints(names, run_id="run", numbers=NUMBERS)
    write_tables(path, segments, fingerprints_schema(NUMBERS), rows=len(names) * SEGMENTS)


def first_night_of(count: int) -> float:
    """CPU seconds to compare so many segments with each other."""
    compared = Duplicates(new_ones(count, 0, 0), least=LEAST)
    began = time.process_time()
    compared.compare_new()
    assert not compared.are_duplicates.any()
    return round(time.process_time() - began, 1)


def extrapolated(cpu_seconds: dict[str, float]) -> dict[str, float]:
    """CPU hours of a first night of so many videos: a part by their number, and one by its square."""
    counts = np.array([float(count) for count in cpu_seconds])
    parts = np.linalg.solve(np.stack([counts, counts**2], 1), [*cpu_seconds.values()])
    segments = {videos: videos * SEGMENTS for videos in (100_000, 1_000_000)}
    return {str(videos): round(float(parts @ (n, n**2)) / 3600, 1) for videos, n in segments.items()}


def named(uris: list[str], starts: Any) -> pa.Table:
    start = pa.array(starts, pa.float64())
    return pa.table({"video_uri": uris, "video_etag": uris, "start": start, "end": pc.add(start, 59.0)})


def new_ones(count: int, copies: int, videos: int) -> pa.Table:
    """Segments of which some are nearly as some of the library, in many of its row groups."""
    vectors = embeddings(10**9, count, NUMBERS).astype(np.float32)
    groups = max(1, videos * SEGMENTS // ROW_GROUP_ROWS)
    for row in range(copies):
        first = row % groups * ROW_GROUP_ROWS
        vectors[row] = embeddings(first, row // groups + 1, NUMBERS)[-1] + vectors[row] * 0.01
    uris = [f"s3://new/{n // SEGMENTS:07}.mp4" for n in range(count)]
    return with_sketches(named(uris, 59.0 * (np.arange(count) % SEGMENTS)), vectors.astype(np.float16))


if __name__ == "__main__":
    app()
