"""The whole job on a real S3 server gives what it gives on a folder."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.rank_videos import rank_videos
from tests.library import portable, quick_settings, read_table, upload, write_broken_videos, write_good_videos
from tests.s3 import Bucket

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("prefect")]


def test_a_real_bucket_and_a_folder_give_the_same_rankings(
    bucket: Bucket, demo_models: Path, tmp_path: Path
) -> None:
    videos, output = tmp_path / "videos", tmp_path / "out"
    write_good_videos(videos)
    write_broken_videos(videos)
    upload(videos, bucket, "library")
    source = f"{bucket.uri}/library"
    on_s3 = rank_videos(quick_settings(source, f"{bucket.uri}/out", demo_models))
    on_disk = rank_videos(quick_settings(videos, output, demo_models))
    assert on_s3["counts"] == on_disk["counts"]
    for kind in ("rankings", "windows", "failures"):
        key = f"out/{kind}/run_date={on_s3['run_date']}/{on_s3['run_id']}.parquet"
        from_s3 = portable(pq.ParquetFile(pa.BufferReader(bucket.get(key))).read(), source)
        assert from_s3 == portable(read_table(output, kind, on_disk["run_id"]), f"file://{videos}")
