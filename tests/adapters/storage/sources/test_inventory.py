"""An S3 Inventory names the videos of a bucket as a live listing would, and what is wrong with it is said."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv, orc

from tasks.adapters.storage import open_store, store_of
from tasks.adapters.storage.sources import inventory
from tasks.adapters.storage.sources.inventory import ROWS
from tasks.adapters.storage.sources.source import check_source, list_source
from tasks.core.errors import ObjectChanged, SettingsError, StorageError
from tasks.core.listing import Listing
from tasks.core.settings import Select
from tests.s3 import Bucket, Disturbance, Fault, Server

pytest_plugins = ["tests.s3"]

DAY = "daily/2026-11-25T01-00Z"
COLUMNS = {
    **{"Bucket": "bucket", "Key": "key", "VersionId": "version_id", "IsLatest": "is_latest"},
    **{"IsDeleteMarker": "is_delete_marker", "Size": "size", "LastModifiedDate": "last_modified_date"},
    **{"ETag": "e_tag", "StorageClass": "storage_class"},
}
NAMES = [
    "a.mp4",
    "caf\N{LATIN SMALL LETTER E WITH ACUTE} +1 100%.mp4",
    'no "quotes", please.mp4',
    "deep/b.MOV",
]

Row = Mapping[str, Any]


def rows(bucket: Bucket) -> list[dict[str, Any]]:
    """What an inventory of the bucket says of its objects."""
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name)
    return [
        {
            **{"Bucket": bucket.name, "Key": entry["Key"], "VersionId": "1", "IsLatest": True},
            **{"IsDeleteMarker": False, "Size": entry["Size"], "LastModifiedDate": entry["LastModified"]},
            **{"ETag": entry["ETag"].strip('"'), "StorageClass": "STANDARD"},
        }
        for page in pages
        for entry in page.get("Contents", ())
    ]


def as_csv(found: Sequence[Row]) -> bytes:
    written = {
        "Key": lambda key: quote_plus(key, safe="/"),
        "LastModifiedDate": lambda at: f"{at:%Y-%m-%dT%H:%M:%S}.000Z",
        "IsLatest": lambda flag: str(flag).lower(),
        "IsDeleteMarker": lambda flag: str(flag).lower(),
    }
    texts = [{name: written.get(name, str)(value) for name, value in row.items()} for row in found]
    file = BytesIO()
    csv.write_csv(
        pa.Table.from_pylist(texts), file, csv.WriteOptions(include_header=False, quoting_style="all_valid")
    )
    return gzip.compress(file.getvalue())


def table(found: Sequence[Row]) -> pa.Table:
    given = pa.Table.from_pylist(list(found))
    return given.rename_columns([COLUMNS[name] for name in given.column_names])


def as_parquet(found: Sequence[Row]) -> bytes:
    file = BytesIO()
    pq.write_table(table(found), file, coerce_timestamps="ms")
    return file.getvalue()


def as_orc(found: Sequence[Row]) -> bytes:
    file = BytesIO()
    orc.write_table(table(found), file)
    return file.getvalue()


WRITERS: Mapping[str, Callable[[Sequence[Row]], bytes]] = {
    "CSV": as_csv,
    "Parquet": as_parquet,
    "ORC": as_orc,
}


def put_inventory(
    lists: Bucket, found: Sequence[Row], *, day: str = DAY, kind: str = "CSV", **said: Any
) -> str:
    """Write an inventory as S3 does, in two files; returns the URI of its manifest."""
    files = []
    for number, part in enumerate((found[::2], found[1::2])):
        if part:
            content = WRITERS[kind](part)
            lists.put(f"daily/data/{day[-17:]}-{number}", content)
            files.append({"key": f"daily/data/{day[-17:]}-{number}", "size": len(content), "MD5checksum": ""})
    manifest = {
        "sourceBucket": found[0]["Bucket"],
        "destinationBucket": f"arn:aws:s3:::{lists.name}",
        "version": "2016-11-30",
        "creationTimestamp": "1764032400000",
        "fileFormat": kind,
        "fileSchema": ", ".join(found[0]),
        "files": files,
        **said,
    }
    lists.put(f"{day}/manifest.json", json.dumps(manifest).encode())
    return f"{lists.uri}/{day}/manifest.json"


def listed(source: str, listing: str, **select: Any) -> Listing:
    return list_source(open_store(source), Select(listing=listing, **select), output=f"{source}/out")


@pytest.fixture
def videos(aws: Server) -> Bucket:
    made = aws.new_bucket()
    for name in [*NAMES, "notes.txt", ".hidden/c.mp4", "out/latest.json"]:
        made.put(f"in/{name}", name.encode())
    made.put("in-other/d.mp4")
    return made


@pytest.mark.parametrize("kind", WRITERS)
def test_an_inventory_lists_what_the_bucket_itself_lists(videos: Bucket, bucket: Bucket, kind: str) -> None:
    source = f"{videos.uri}/in"
    live = listed(source, "live")
    found = listed(source, put_inventory(bucket, rows(videos), kind=kind))
    assert [video.uri for video in live.videos] == sorted(f"{source}/{name}" for name in NAMES)
    assert found.videos == live.videos
    assert [video.modified_at for video in found.videos] == [video.modified_at for video in live.videos]
    assert found.left_out == live.left_out
    assert found.inventory
    assert found.inventory.written_at == datetime(2025, 11, 25, 1, tzinfo=UTC)
    assert listed(source, found.inventory.uri, limit=2).videos == live.videos[:2]


@pytest.mark.parametrize("kind", WRITERS)
def test_of_a_bucket_with_versions_the_current_ones_are_taken(bucket: Bucket, kind: str) -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    whole = {
        **{"Bucket": "b", "Key": "in/a.mp4", "VersionId": "2", "IsLatest": True, "IsDeleteMarker": False},
        **{"Size": 2, "LastModifiedDate": now, "ETag": "new", "StorageClass": "STANDARD"},
    }
    gone = whole | {"Key": "in/gone.mp4", "IsDeleteMarker": True}
    found = [whole | {"VersionId": "1", "IsLatest": False, "ETag": "old"}, whole, gone, whole]
    listing = listed("s3://b/in", put_inventory(bucket, found, kind=kind))
    assert [(video.uri, video.etag) for video in listing.videos] == [("s3://b/in/a.mp4", "new")]


def test_of_a_folder_of_inventories_the_newest_is_read(videos: Bucket, bucket: Bucket) -> None:
    every = rows(videos)
    put_inventory(bucket, every[:1], day="daily/2026-11-24T01-00Z")
    newest = put_inventory(bucket, every, day="daily/2026-11-25T01-00Z")
    bucket.put("daily/hive/dt=2026-11-26-01-00/symlink.txt")
    found = listed(f"{videos.uri}/in", f"{bucket.uri}/daily")
    assert found.inventory
    assert (found.inventory.uri, len(found.videos)) == (newest, len(NAMES))


def test_a_video_that_is_gone_since_fails_as_any_that_vanishes(
    videos: Bucket, bucket: Bucket, tmp_path: Path
) -> None:
    manifest = put_inventory(bucket, rows(videos))
    videos.delete("in/a.mp4")
    gone = listed(f"{videos.uri}/in", manifest).videos[0]
    with pytest.raises(ObjectChanged) as caught:
        store_of(gone).download(gone, tmp_path / "got")
    assert caught.value.reason == "changed"


def test_many_rows_are_read_some_at_a_time(bucket: Bucket) -> None:
    one = {
        **{"Bucket": "b", "Key": "", "VersionId": "", "IsLatest": True, "IsDeleteMarker": False, "Size": 1},
        **{"LastModifiedDate": datetime(2026, 11, 24, tzinfo=UTC), "ETag": "e", "StorageClass": "STANDARD"},
    }
    many = [one | {"Key": f"in/{number:06}.mp4"} for number in reversed(range(2 * ROWS + 5))]
    listing = listed("s3://b/in", put_inventory(bucket, many, kind="Parquet"))
    assert len(listing.videos) == len(many)
    assert listing.videos[-1].uri == f"s3://b/in/{len(many) - 1:06}.mp4"


def test_an_inventory_that_cannot_be_used_says_why_and_what_to_do(videos: Bucket, bucket: Bucket) -> None:
    every = rows(videos)
    source = f"{videos.uri}/in"

    def refusal(listing: str) -> str:
        with pytest.raises(SettingsError) as caught:
            listed(source, listing)
        return str(caught.value)

    without = [{name: value for name, value in row.items() if name not in ("ETag", "Size")} for row in every]
    assert "has no Size and no ETag, by which" in refusal(put_inventory(bucket, without))
    said = refusal(put_inventory(bucket, every, sourceBucket="another"))
    assert f"is of the bucket 'another', and the source is {source}: name an inventory" in said
    assert "is in 'XLSX': have the store write CSV" in refusal(
        put_inventory(bucket, every, kind="CSV", fileFormat="XLSX")
    )
    assert "is no CSV of an inventory" in refusal(
        put_inventory(bucket, every, kind="Parquet", fileFormat="CSV")
    )
    manifest = put_inventory(bucket, every)
    bucket.put("daily/data/2026-11-25T01-00Z-1", b"short")
    assert "which has 5 bytes instead of" in refusal(manifest)
    bucket.delete("daily/data/2026-11-25T01-00Z-1")
    assert f"names {bucket.uri}/daily/data/2026-11-25T01-00Z-1, which is not there" in refusal(manifest)
    bucket.put("daily/broken/manifest.json", b'{"files": []}')
    assert "is no manifest of an S3 Inventory" in refusal(f"{bucket.uri}/daily/broken/manifest.json")
    assert "there is no inventory (YYYY-MM-DDTHH-MMZ/manifest.json)" in refusal(f"{bucket.uri}/elsewhere")
    assert "name a list by its ending, or an inventory where" in refusal("/tmp/manifest.json")
    with pytest.raises(StorageError, match="does not exist"):
        listed(source, f"{bucket.uri}/none/manifest.json")


def test_a_cut_off_file_is_no_inventory(videos: Bucket, bucket: Bucket) -> None:
    manifest = put_inventory(bucket, rows(videos))
    name = "daily/data/2026-11-25T01-00Z-0"
    half = bucket.get(name)[:-20]
    bucket.put(name, half)
    said = json.loads(bucket.get(f"{DAY}/manifest.json"))
    said["files"][0]["size"] = len(half)
    bucket.put(f"{DAY}/manifest.json", json.dumps(said).encode())
    with pytest.raises(SettingsError, match="is no CSV of an inventory"):
        listed(f"{videos.uri}/in", manifest)


@pytest.mark.parametrize("error", [OSError(16, "slow down"), OSError(121, "busy"), PermissionError("denied")])
def test_a_store_that_does_not_answer_is_no_broken_inventory(
    videos: Bucket, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def unanswered(stream: object, schema: str) -> Iterator[pa.RecordBatch]:
        raise error
        yield

    manifest = put_inventory(bucket, rows(videos))
    monkeypatch.setattr(inventory, "_READERS", {"CSV": unanswered})
    with pytest.raises(StorageError):
        listed(f"{videos.uri}/in", manifest)


def test_columns_may_be_of_other_types(videos: Bucket, bucket: Bucket) -> None:
    live = listed(f"{videos.uri}/in", "live")
    other = [
        row | {"Key": row["Key"].encode(), "ETag": row["ETag"].encode(), "Size": str(row["Size"])}
        for row in rows(videos)
    ]
    assert listed(f"{videos.uri}/in", put_inventory(bucket, other, kind="Parquet")).videos == live.videos
    other[0]["Size"] = "large"
    with pytest.raises(SettingsError, match="is no Parquet of an inventory"):
        listed(f"{videos.uri}/in", put_inventory(bucket, other, kind="Parquet"))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_video_without_an_etag_is_looked_up_in_the_bucket(
    videos: Bucket, bucket: Bucket, kind: str
) -> None:
    """One that is gone is named; what is no video is not asked for."""
    nothing = "" if kind == "CSV" else None
    unknown = ("in/a.mp4", "in/deep/b.MOV", "in/notes.txt")
    every = [row | ({"ETag": nothing} if row["Key"] in unknown else {}) for row in rows(videos)]
    live = listed(f"{videos.uri}/in", "live").videos
    videos.delete("in/deep/b.MOV")
    found = listed(f"{videos.uri}/in", put_inventory(bucket, every, kind=kind))
    assert list(found.videos) == [video for video in live if "deep" not in video.uri]
    assert [(each.video.uri, each.reason) for each in found.refused] == [
        (f"{videos.uri}/in/deep/b.MOV", "not_found")
    ]
    assert found.inventory
    assert found.inventory.looked_up == 2
    assert found.inventory.sentence.endswith(
        "nothing later is seen; looked up in the bucket: 2 videos without an ETag there"
    )


@pytest.mark.parametrize("at", [10**18, 10**30])
def test_an_inventory_of_no_day_is_refused(videos: Bucket, bucket: Bucket, at: int) -> None:
    manifest = put_inventory(bucket, rows(videos), creationTimestamp=at)
    with pytest.raises(SettingsError, match="manifest"):
        listed(f"{videos.uri}/in", manifest)


def test_the_doctor_looks_at_the_inventory(videos: Bucket, bucket: Bucket) -> None:
    manifest = put_inventory(bucket, rows(videos))
    found = check_source(f"{videos.uri}/in", Select(listing=manifest))
    assert found.status == "ok"
    assert (
        f"4 videos at a first look (Listed by the inventory {manifest} of 2025-11-25 01:00 UTC" in found.text
    )


def test_the_doctor_looks_a_few_up_and_minds_none_that_is_gone(
    videos: Bucket, bucket: Bucket, network: Disturbance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three without an ETag are looked up; it was all of them, and one that is gone was an error."""
    monkeypatch.setattr("tasks.adapters.storage.sources.source.NAMES_LOOKED_AT", 2)
    unknown = [name for name in NAMES if name != "deep/b.MOV"]
    every = [row | ({"ETag": ""} if row["Key"][3:] in unknown else {}) for row in rows(videos)]
    manifest = put_inventory(bucket, every)
    for name in unknown:
        videos.delete(f"in/{name}")
    select = Select(listing=manifest)
    found = check_source(f"{videos.uri}/in", select)
    assert found.status == "ok"
    assert "1 video at a first look" in found.text
    assert found.text.endswith("looked up in the bucket: 2 videos without an ETag there)")
    videos.put("in/a.mp4")
    network.faults.append(Fault("reply", method="HEAD", only="a.mp4", times=10**6, status=403))
    found = check_source(f"{videos.uri}/in", select)
    assert found.status == "wrong"
    assert "1 of its first names cannot be used, such as " in found.text


def test_the_doctor_says_so_if_all_that_an_inventory_lists_is_gone(videos: Bucket, bucket: Bucket) -> None:
    every = [row | {"ETag": ""} for row in rows(videos) if row["Key"] == "in/a.mp4"]
    manifest = put_inventory(bucket, every)
    videos.delete("in/a.mp4")
    found = check_source(f"{videos.uri}/in", Select(listing=manifest))
    assert found.status == "wrong"
    assert "has no video among the files that were looked at. Check the folder" in found.text


def test_a_list_may_name_the_videos_of_a_source(videos: Bucket, tmp_path: Path) -> None:
    (tmp_path / "tonight.txt").write_text("a.mp4\nnone.mp4\n")
    listing = listed(f"{videos.uri}/in", str(tmp_path / "tonight.txt"))
    assert [video.uri for video in listing.videos] == [f"{videos.uri}/in/a.mp4"]
    assert [failure.video.uri for failure in listing.refused] == [f"{videos.uri}/in/none.mp4"]
