"""A file that names videos is a source like a folder of them; what it names wrongly is a row each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.adapters.storage import open_store, store_of
from tasks.adapters.storage.sources.uri_list import is_uri_list, videos_of_list
from tasks.core.errors import SettingsError, StorageError
from tasks.core.listing import Listing
from tasks.core.records import FailureKind
from tests.adapters.storage.places import Folder, Place
from tests.s3 import Bucket, Disturbance, Fault

pytest_plugins = ["tests.s3", "tests.adapters.storage.places"]

COMPOSED, DECOMPOSED = "Caf\N{LATIN SMALL LETTER E WITH ACUTE}", "Cafe\N{COMBINING ACUTE ACCENT}"


def parquet(values: Sequence[object], kind: pa.DataType, name: str = "uri") -> bytes:
    file = BytesIO()
    array = pa.array(values, pa.string()).dictionary_encode() if pa.types.is_dictionary(kind) else None
    column = pa.array(values, kind) if array is None else array
    pq.write_table(pa.table({"n": pa.array(range(len(column))), name: column}), file)
    return file.getvalue()


def listed(place: Place, name: str, content: bytes) -> Listing:
    """What the list holds if it lies in `lists/` of a place, beside `in/` with `a.mp4` and `b, c.mp4`."""
    for video in ("in/a.mp4", "in/b, c.mp4"):
        place.put(video)
    place.put(f"lists/{name}", content)
    source = open_store(f"{place.uri}/lists/{name}")
    assert is_uri_list(source)
    return videos_of_list(source)


def uris(listing: Listing) -> list[str]:
    return [video.uri for video in listing.videos]


A_AND_B = ["../in/a.mp4", "../in/b, c.mp4"]
LISTS = {
    "lines.txt": b"../in/a.mp4\n../in/b, c.mp4\n",
    "windows.TXT": b"\xef\xbb\xbf# tonight\r\n\r\n ../in/a.mp4 \r\n../in/b, c.mp4\r\n../in/a.mp4",
    "utf-16.txt": "../in/a.mp4\r\n../in/b, c.mp4\r\n".encode("utf-16"),
    "column.csv": b'title,URI,views\nA,../in/a.mp4,1\n"B\n2","../in/b, c.mp4",2\n',
    "excel.csv": b"\xef\xbb\xbftitle;uri\r\nA;../in/a.mp4\r\nB;../in/b, c.mp4\r\n",
    "tabs.tsv": b"uri\ttitle\n../in/a.mp4\tA\n../in/b, c.mp4\tB\n",
    "no-header.csv": b'../in/a.mp4\n"../in/b, c.mp4"\n',
    "strings.parquet": parquet(A_AND_B, pa.string()),
    "large.PARQUET": parquet(A_AND_B, pa.large_string(), "URI"),
    "categories.parquet": parquet(A_AND_B, pa.dictionary(pa.int32(), pa.string())),
}


@pytest.mark.parametrize("name", LISTS)
def test_videos_are_read_from_a_list(place: Place, name: str) -> None:
    listing = listed(place, name, LISTS[name])
    assert uris(listing) == [f"{place.uri}/in/a.mp4", f"{place.uri}/in/b, c.mp4"]
    assert all(video.size_bytes == 1 and video.etag for video in listing.videos)
    assert listing.refused == []


def test_a_list_names_videos_anywhere(place: Place, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("far/%20 a.bin", b"far")
    (tmp_path / "near.mp4").write_bytes(b"near")
    lines = [f"{bucket.uri}/far/%20 a.bin", str(tmp_path / "near.mp4"), f"file://{tmp_path}/near.mp4"]
    listing = listed(place, "tonight.txt", "\n".join(lines).encode())
    assert sorted(uris(listing)) == sorted([f"{bucket.uri}/far/%20 a.bin", f"file://{tmp_path}/near.mp4"])
    for video in listing.videos:
        store_of(video).download(video, tmp_path / "got")
        assert (tmp_path / "got").read_bytes() in (b"far", b"near")


def test_names_are_found_in_whatever_unicode_form_they_are_stored(place: Place) -> None:
    place.put(f"in/{DECOMPOSED}.mp4")
    place.put(f"in/{COMPOSED} 2.mp4")
    content = f"../in/{COMPOSED}.mp4\n../in/{DECOMPOSED} 2.mp4\n".encode()
    found = uris(listed(place, "mac.txt", content))
    assert found == [f"{place.uri}/in/{DECOMPOSED}.mp4", f"{place.uri}/in/{COMPOSED} 2.mp4"]


def test_escapes_are_undone_only_where_there_is_no_such_name(place: Place) -> None:
    for name in (f"in/{DECOMPOSED} 1.mp4", "in/100%25.mp4", "in/100%.mp4"):
        place.put(name)
    content = b"../in/Caf%C3%A9%201.mp4\n../in/100%25.mp4\n../in/gone%20too.mp4\n"
    listing = listed(place, "escaped.txt", content)
    assert uris(listing) == [f"{place.uri}/in/100%25.mp4", f"{place.uri}/in/{DECOMPOSED} 1.mp4"]
    assert [failure.video.uri for failure in listing.refused] == [f"{place.uri}/in/gone%20too.mp4"]


def test_a_name_that_is_no_text_is_found(tmp_path: Path) -> None:
    name = b"not\xfftext.mp4"
    (tmp_path / "list.txt").write_bytes(name)
    (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    [video] = videos_of_list(open_store(str(tmp_path / "list.txt"))).videos
    assert video.label == f"file://{tmp_path}/not\\udcfftext.mp4"


def test_a_name_may_hold_what_ends_lines_elsewhere(tmp_path: Path) -> None:
    place = Folder(tmp_path)  # the imitation of S3 takes no line breaks
    place.put("in/one\u2028two.mp4")
    assert uris(listed(place, "odd.txt", "../in/one\u2028two.mp4\n".encode())) == [
        f"{place.uri}/in/one\u2028two.mp4"
    ]
    place.put("in/new\nline.mp4")
    assert len(uris(listed(place, "odd.csv", b'uri\n"../in/new\nline.mp4"\n'))) == 1


WRONG = {
    "../in/nowhere.mp4": ("failed", "not_found", "nowhere.mp4"),
    "../in": ("failed", "not_found", "/in"),
    "https://host/a.mp4": ("rejected", "invalid", "write s3://bucket/prefix"),
    "s3://": ("rejected", "invalid", "is no place for files"),
    "s3://me:hush-hush@bucket/a.mp4": ("rejected", "invalid", "carries credentials"),
    "https://host/a.mp4?X-Amz-Signature=hush-hush": ("rejected", "invalid", "carries credentials"),
}


def test_what_a_list_names_wrongly_is_refused_alone(place: Place) -> None:
    listing = listed(place, "tonight.csv", "\n".join(["uri,n", "../in/a.mp4,1", ",2", *WRONG]).encode())
    assert uris(listing) == [f"{place.uri}/in/a.mp4"]
    no_uri, *refused = listing.refused
    assert (no_uri.video.uri, no_uri.reason) == (f"{place.uri}/lists/tonight.csv", "invalid")
    for failure, (kind, reason, says) in zip(refused, WRONG.values(), strict=True):
        assert (failure.kind, failure.reason) == (FailureKind(kind), reason)
        assert says in failure.detail
        assert "hush" not in failure.detail + failure.video.uri
    assert listing.listed == 2 + len(WRONG)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.txt", b"# nothing\n\n", "names no video: write one a line, or in a column uri"),
        ("empty.csv", b"uri,title\n", "names no video"),
        ("other.csv", b"url,title\na,b\n", "has no column uri: its first line is 'url,title'"),
        ("video.txt", b"\0\0\0\x18ftypmp42", "is no text"),
        ("other.parquet", parquet(["a"], pa.string(), "url"), "has no column uri: its columns are n, url"),
        ("numbers.parquet", parquet([1], pa.int64()), "the column uri has 1: write URIs as text"),
        ("broken.parquet", b"PAR1", "write text or CSV in UTF-8, or Parquet"),
    ],
)
def test_a_file_that_is_no_list_is_an_error_that_shows_the_fix(
    place: Place, name: str, content: bytes, says: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        listed(place, name, content)
    assert says in str(refused.value)
    assert f"{place.uri}/lists/{name}" in str(refused.value)


@pytest.mark.parametrize("name", ["clip.mp4", "list.txt/inside.mp4", "list.csv.bak"])
def test_other_sources_are_no_lists(place: Place, name: str) -> None:
    place.put(name)
    assert not is_uri_list(open_store(f"{place.uri}/{name.partition('/')[0]}"))


def test_what_hookline_wrote_is_left_out_of_a_list_too(place: Place) -> None:
    clip = "out/clips/20261122T020000Z-0a1b2c/a-12345678/0001_0m00s-0m59s.mp4"
    place.put(clip)
    place.put("list.txt", clip.encode())
    listing = videos_of_list(open_store(f"{place.uri}/list.txt"), output=f"{place.uri}/out")
    assert (uris(listing), listing.left_out.own) == ([], 1)


def test_a_list_that_cannot_be_looked_at_is_an_error(bucket: Bucket, network: Disturbance) -> None:
    network.faults.append(Fault("reply", method="HEAD", times=99, status=403, code="AccessDenied"))
    with pytest.raises(StorageError) as caught:
        is_uri_list(open_store(f"{bucket.uri}/list.txt"))
    assert caught.value.reason == "denied"
