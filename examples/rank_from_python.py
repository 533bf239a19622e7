"""Rank a folder of videos from Python, and read the best segments.

    python examples/rank_from_python.py VIDEOS OUTPUT [SETTINGS.yaml]

Three names are meant to be imported: `Settings`, the flow `rank_videos`, and `prefect_server`, which starts
a Prefect server for the block where none is configured. All others may change from version to version.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from hookline.embedded import prefect_server, prepare_environment
from tasks.core.settings import Settings


def main(videos: str, output: str, file: str = "") -> None:
    options = yaml.safe_load(Path(file).read_text()) if file else {}
    settings = Settings.model_validate({"source": videos, "output": output, **options})
    prepare_environment()  # before Prefect and PyTorch are imported
    with prefect_server() as recorded:
        from flows.rank_videos import rank_videos

        state = rank_videos(settings, return_state=True)
        recorded(state)  # waits until the history of the run is complete
    print(f"{state.name}: {state.message}")
    manifest = state.result(raise_on_failure=False)
    (table,) = Path(output, "rankings").glob(f"*/{manifest['run_id']}.parquet")
    for row in pq.ParquetFile(table).read().slice(0, 5).to_pylist():
        print(f"{row['run_rank']}. {row['score']:3} {row['video_uri']} {row['start']:g}-{row['end']:g} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
