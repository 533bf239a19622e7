"""What it takes to compare new segments with those of a library of 100,000 videos.

    python benchmarks/duplicate_search.py    writes benchmarks/results/duplicate_search.json

The library (`large_library.py`) has 15 segments a video, with embeddings of 768 numbers drawn at random; some
of the new ones are nearly as one of these. `cpu_seconds` are for reading sketches, comparing, and reading
fingerprints where sketches are near: of all threads, which other programs make hardly longer. The peak memory
is that of the process so far.
"""

from __future__ import annotations

import json
import os
import resource
import time
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
NAME = "fingerprints/run_date=2026-11-24/20261124T010000Z-aaaaaa.parquet"

app = App(help=__doc__)


@app.default
def main(videos: int = 100_000, output: Path = RESULTS) -> None:
    """Write a library's fingerprints, compare with them, and keep what it took."""
    with TemporaryDirectory() as name:
        path = Path(name, NAME)
        path.parent.mkdir(parents=True)
        names = [f"s3://library/{number:07}.mp4" for number in range(videos)]
        segments = fingerprints(names, run_id="run", numbers=NUMBERS)
        write_tables(path, segments, fingerprints_schema(NUMBERS), rows=videos * SEGMENTS)
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
        result = {
            "segments": videos * SEGMENTS,
            "gigabytes": round(path.stat().st_size / 1e9, 2),
            "found": found,
            "cpus": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
        }
    output.write_text(json.dumps(result, indent=2) + "\n")


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
