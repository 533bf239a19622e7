"""Many objects are listed folder beside folder; each comes once, whatever the folders are like."""

from __future__ import annotations

import random
import threading
import time
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

import pytest

from tasks.adapters.storage import open_store, s3_listing
from tasks.adapters.storage.s3_listing import AT_ONCE, objects
from tests.s3 import Bucket

pytest_plugins = ["tests.s3"]

PAGE = 20


class Store:
    """Answers like `list_objects_v2`, `PAGE` keys or folders at a time, and counts what is asked."""

    def __init__(self, keys: list[str], *, seconds: float = 0.0) -> None:
        self.keys, self.seconds = sorted(keys), seconds
        self.asked = self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def __call__(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        with self._lock:
            self.asked += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.seconds)
        with self._lock:
            self.at_once -= 1
        prefix, delimiter = request["Prefix"], request.get("Delimiter")
        names: dict[str, None] = {}
        for key in self.keys:
            if key.startswith(prefix):
                folder, found, _ = key.removeprefix(prefix).partition("/")
                names[f"{prefix}{folder}/" if found and delimiter else key] = None
        after = bisect_right(list(names), request.get("ContinuationToken", ""))
        page, rest = [*names][after : after + PAGE], [*names][after + PAGE :]
        folders = [name for name in page if delimiter and name.endswith("/")]
        return {
            "Prefix": prefix,
            "Contents": [{"Key": name} for name in page if name not in folders],
            "CommonPrefixes": [{"Prefix": name} for name in folders],
            "IsTruncated": bool(rest),
            **({"NextContinuationToken": page[-1]} if rest else {}),
        }


def nested(*widths: int, files: int) -> list[str]:
    """Keys in folders, so many in each."""
    folders = ["in"]
    for width in widths:
        folders = [f"{folder}/{number:03}" for folder in folders for number in range(width)]
    return [f"{folder}/{number:04}.mp4" for folder in folders for number in range(files)]


LAYOUTS = {
    "flat": nested(files=90),
    "small": nested(files=5),
    "folders": nested(12, files=30),
    "two levels": nested(3, 4, files=30),
    "one folder": nested(1, 1, files=70),
    "many small folders": nested(100, files=2),
    "files at each level": [*nested(3, 4, files=30), *nested(3, files=30), *nested(files=30)],
    "small folders behind": [*nested(2, files=30), *(f"in/z{n:03}/a.mp4" for n in range(90))],
    "other prefixes": [*nested(12, files=30), "in", "inside/a.mp4", "im/a.mp4"],
    "empty names": [f"in//{n:03}.mp4" for n in range(50)],
}


@pytest.mark.parametrize("parts", [1000, 8])
@pytest.mark.parametrize("side_by_side", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_object_comes_once(
    layout: str, side_by_side: bool, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_listing, "MAX_PARTS", parts)
    keys = LAYOUTS[layout]
    store = Store(random.Random(0).sample(keys, len(keys)))
    found = [entry["Key"] for entry in objects(store, "bucket", "in/", side_by_side=side_by_side)]
    assert sorted(found) == sorted(key for key in keys if key.startswith("in/"))


@pytest.mark.parametrize("parts", [1000, 8])
@pytest.mark.parametrize("side_by_side", [True, False])
def test_a_page_may_have_no_key_and_no_prefix_and_not_be_the_last(
    side_by_side: bool, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_listing, "MAX_PARTS", parts)
    keys = LAYOUTS["folders"]
    store = Store(keys)

    def ask(request: Mapping[str, Any]) -> Mapping[str, Any]:
        if request.get("ContinuationToken", "") == "":
            return {"IsTruncated": True, "NextContinuationToken": " "}
        page = dict(store(request))
        return {name: page[name] for name in page if page[name] and name != "Prefix"}

    found = [entry["Key"] for entry in objects(ask, "bucket", "in/", side_by_side=side_by_side)]
    assert sorted(found) == keys


def test_what_fits_a_page_costs_a_request() -> None:
    store = Store(nested(2, files=5))
    assert len(list(objects(store, "bucket", "in/", side_by_side=True))) == 10
    assert store.asked == 1


def test_folders_are_listed_side_by_side_and_small_ones_are_not() -> None:
    large = Store(nested(12, files=100), seconds=0.01)
    list(objects(large, "bucket", "in/", side_by_side=True))
    assert 2 < large.most_at_once <= AT_ONCE
    small = Store(nested(300, files=1), seconds=0.001)
    list(objects(small, "bucket", "in/", side_by_side=True))
    assert (small.most_at_once, small.asked) == (1, 300 / PAGE)


def test_whoever_stops_early_waits_for_few() -> None:
    store = Store(nested(12, files=200))
    found = objects(store, "bucket", "in/", side_by_side=True)
    for _ in range(PAGE + 1):
        next(found)
    found.close()
    assert store.asked <= 2 + 2 * AT_ONCE


def test_an_error_of_one_page_is_that_of_the_listing() -> None:
    store = Store(nested(12, files=100))

    def ask(request: Mapping[str, Any]) -> Mapping[str, Any]:
        if request["Prefix"] == "in/007/":
            raise PermissionError("no")
        return store(request)

    with pytest.raises(PermissionError):
        list(objects(ask, "bucket", "in/", side_by_side=True))


def test_times_of_a_listing_and_of_a_header_are_the_same_instant(bucket: Bucket) -> None:
    bucket.put("a.mp4")
    (listed,) = open_store(bucket.uri).videos("**")
    looked_up = open_store(listed.uri).file()
    assert (
        listed.modified_at
        == looked_up.modified_at
        == bucket.client.head_object(Bucket=bucket.name, Key="a.mp4")["LastModified"]
    )
