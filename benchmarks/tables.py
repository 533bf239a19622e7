"""How quick questions are on a ranking of a million segments, before and after the layout of `write_options`.

    python benchmarks/tables.py [--rows 1000000] [--windows 50000]

Rows are drawn at random, with the texts and numbers of real ones in length and variety. Each question is
asked five times of files written with pyarrow's defaults (`before`) and with Hookline's options (`after`),
in turn, with both in the page cache; medians go to benchmarks/results/tables.json.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cyclopts import App

from tasks.core.tables.parquet_options import write_options
from tasks.core.tables.run_ranking import BEST_FIRST, with_column
from tasks.core.tables.schemas import RANKINGS, VIDEOLLAMA3, windows_schema
from tasks.core.tables.sorted_rows import in_order

RESULTS = Path(__file__).parent / "results" / "tables.json"
TIMES = 5
SEGMENTS_PER_VIDEO = 15
WINDOWS_PER_VIDEO = 100
WORDS = np.array(
    ["cut", "face", "laughter", "quiet", "before", "the", "jump", "crowd", "reacts", "at", "once"]
)

app = App(help=__doc__)


@app.default
def main(rows: int = 1_000_000, windows: int = 50_000, output: Path = RESULTS) -> None:
    """Write both files both ways, ask, and keep the medians."""
    began = time.perf_counter()
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        files, writing = {}, {}
        for kind, table in (("rankings", ranking(rows, draw)), ("windows", night(windows, draw))):
            for layout, options in (("before", {"compression": "zstd"}), ("after", write_options(table))):
                files[layout, kind] = path = Path(folder, f"{kind}-{layout}.parquet")
                start = time.perf_counter()
                pq.write_table(table, path, **options)
                writing[f"{layout} {kind}"] = round(time.perf_counter() - start, 1)
        megabytes = {" ".join(key): round(path.stat().st_size / 1e6, 1) for key, path in files.items()}
        found = measured(files, video=f"s3://library/{rows // SEGMENTS_PER_VIDEO // 2:07}.mp4")
    result = {
        "rows": {"rankings": rows, "windows": windows},
        "seconds": found,
        "megabytes": megabytes,
        "writing_seconds": writing,
        "whole_seconds": round(time.perf_counter() - began),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "versions": {"duckdb": duckdb.__version__, "pandas": pd.__version__, "polars": pl.__version__},
    }
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2), flush=True)


def ranking(rows: int, draw: np.random.Generator) -> pa.Table:
    """A ranking of so many segments, best first."""
    scores = {
        name: pa.array(draw.integers(0, 101, rows), pa.int32()) for name in ("fast", "deep", "hook", "engage")
    }
    combined = np.floor(0.6 * scores["deep"].to_numpy() + 0.4 * scores["fast"].to_numpy()).astype(np.int32)
    elements = pa.array([f"element {n}" for n in range(30)]).take(pa.array(draw.integers(0, 30, 3 * rows)))
    offsets = pa.array(np.arange(0, 3 * rows + 1, 3), pa.int32())
    fields: dict[str, Any] = {
        "virality_score": scores["deep"],
        "hook_quality": scores["hook"],
        "engagement_potential": scores["engage"],
        "expected_score": pa.array(draw.random(rows) * 100, pa.float32()),
        "viral_elements": pa.ListArray.from_arrays(offsets, elements),
        "reasoning": texts(rows, 24, draw),
        "recommendation": texts(rows, 12, draw),
    }
    deep = [fields.get(field.name, pa.nulls(rows, field.type)) for field in VIDEOLLAMA3]
    video = np.arange(rows) // SEGMENTS_PER_VIDEO
    start = pa.array(draw.integers(0, 600, rows) * 3.0)
    given = {
        "run_id": pa.repeat("20261124T010000Z-abcdef", rows),
        "video_uri": pa.array([f"s3://library/{n:07}.mp4" for n in video.tolist()]),
        "video_etag": pa.array([f"{n:032x}" for n in (video * 7919).tolist()]),
        "rank": pa.array(np.arange(rows) % SEGMENTS_PER_VIDEO + 1, pa.int32()),
        "start": start,
        "end": pc.add(start, 59.0),
        "score": pa.array(combined),
        "is_viral": pa.array(combined >= 70),
        "analysis_method": pa.repeat("VideoMAE + VideoLLaMA3", rows),
        "videomae_score": scores["fast"],
        "videollama3": pa.StructArray.from_arrays(deep, fields=list(VIDEOLLAMA3)),
        "library_percentile": pa.array(draw.random(rows) * 100),
        "margin": pa.array(draw.integers(0, 40, rows), pa.int32()),
    }
    table = in_order(pa.table(filled(given, rows, RANKINGS)), BEST_FIRST)
    return with_column(table, "run_rank", pa.array(np.arange(1, rows + 1, dtype=np.int32)))


def night(rows: int, draw: np.random.Generator) -> pa.Table:
    """The windows that one night scored, with embeddings of VideoMAE base."""
    scores = draw.integers(0, 101, rows)
    embeddings = draw.standard_normal((rows, 768), dtype=np.float32).astype(np.float16)
    given = {
        "run_id": pa.repeat("20261124T010000Z-abcdef", rows),
        "video_uri": pa.array([f"s3://library/{n // WINDOWS_PER_VIDEO:07}.mp4" for n in range(rows)]),
        "start": pa.array(np.arange(rows) % WINDOWS_PER_VIDEO * 3.0),
        "end": pa.array(np.arange(rows) % WINDOWS_PER_VIDEO * 3.0 + 59),
        "videomae_score": pa.array(scores, pa.int32()),
        "reason": pa.array(np.array(["overlap", "below_cut", "below_top_n"])[draw.integers(0, 3, rows)]),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), 768),
    }
    return pa.table(filled(given, rows, windows_schema(768)))


def filled(given: dict[str, Any], rows: int, schema: pa.Schema) -> dict[str, Any]:
    """All columns of a schema, null where nothing is given."""
    return {field.name: given.get(field.name, pa.nulls(rows, field.type)) for field in schema}


def texts(rows: int, words: int, draw: np.random.Generator) -> pa.Array:
    """Sentences, of which a few thousand differ."""
    some = [" ".join(WORDS[draw.integers(0, len(WORDS), words)]) for _ in range(5_000)]
    return pa.array(some).take(pa.array(draw.integers(0, len(some), rows)))


def measured(files: dict[tuple[str, str], Path], *, video: str) -> dict[str, dict[str, Any]]:
    """Median seconds of each question to each tool, of both layouts."""
    found: dict[str, dict[str, Any]] = {}
    for question, (kind, tools) in questions(video).items():
        for tool, ask in tools.items():
            paths = {layout: files[layout, kind] for layout in ("before", "after")}
            taken: dict[str, list[float]] = {layout: [] for layout in paths}
            answers = {layout: ask(path) for layout, path in paths.items()}  # and both are in the page cache
            assert answers["before"] == answers["after"], question
            for layout in list(paths) * TIMES:
                began = time.perf_counter()
                ask(paths[layout])
                taken[layout].append(time.perf_counter() - began)
            medians = {layout: round(statistics.median(each), 4) for layout, each in taken.items()}
            found.setdefault(question, {})[tool] = medians
    return found


def sql(query: str) -> Callable[[Path], Any]:
    return lambda path: duckdb.connect().execute(query.format(f"'{path}'")).fetchall()


def questions(video: str) -> dict[str, tuple[str, dict[str, Callable[[Path], Any]]]]:
    """Each question: the table it is asked of, and how each tool asks it."""
    deep = pl.col("videollama3").struct
    some = f"s3://library/{WINDOWS_PER_VIDEO * 3:07}.mp4"
    of_video = [("video_uri", "==", video)]
    return {
        "the 100 best": (
            "rankings",
            {
                "DuckDB": sql("select video_uri, start, score from {} where run_rank <= 100"),
                "Polars": lambda path: pl.scan_parquet(path).filter(pl.col("run_rank") <= 100)
                .select("video_uri", "start", "score").collect().rows(),
                "pandas": lambda path: pd.read_parquet(
                    path, columns=["video_uri", "start", "score"], filters=[("run_rank", "<=", 100)]
                ).values.tolist(),
            },
        ),
        "the segments of one video": (
            "rankings",
            {
                "DuckDB": sql(f"select start, score from {{}} where video_uri = '{video}' order by rank"),
                "Polars": lambda path: pl.scan_parquet(path).filter(pl.col("video_uri") == video)
                .select("start", "score").collect().rows(),
                "pandas": lambda path: pd.read_parquet(
                    path, columns=["start", "score"], filters=of_video
                ).values.tolist(),
            },
        ),
        "hooks over 80, engagement under 50": (
            "rankings",
            {
                "DuckDB": sql(
                    "select count(*) from {} "
                    "where videollama3.hook_quality > 80 and videollama3.engagement_potential < 50"
                ),
                "Polars": lambda path: pl.scan_parquet(path)
                .filter(deep.field("hook_quality") > 80, deep.field("engagement_potential") < 50)
                .select(pl.len()).collect().item(),
            },
        ),
        "the most common viral elements": (
            "rankings",
            {
                "DuckDB": sql(
                    "select e, count(*) as n from (select unnest(videollama3.viral_elements) as e from {}) "
                    "group by e order by n desc, e"
                ),
            },
        ),
        "the timeline of one video": (
            "windows",
            {
                "DuckDB": sql(f"select start, videomae_score from {{}} where video_uri = '{some}'"),
                "Polars": lambda path: pl.scan_parquet(path).filter(pl.col("video_uri") == some)
                .select("start", "videomae_score").collect().rows(),
            },
        ),
        "the embeddings of one video": (
            "windows",
            {
                "DuckDB": sql(f"select sum(embedding[1]) from {{}} where video_uri = '{some}'"),
                "Polars": lambda path: pl.scan_parquet(path).filter(pl.col("video_uri") == some)
                .select(pl.col("embedding").arr.first().cast(float).sum()).collect().item(),
            },
        ),
        "windows by reason": (
            "windows",
            {"DuckDB": sql("select reason, count(*) from {} group by reason order by reason")},
        ),
    }  # fmt: skip


if __name__ == "__main__":
    app(result_action="return_value")
    os._exit(0)  # threads that read Parquet now and then abort the process as it exits (pyarrow 26)
