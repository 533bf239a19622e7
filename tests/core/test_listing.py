"""What is listed as video, and what is left out and why."""

from __future__ import annotations

import pytest

from tasks.core.listing import Listing, Sieve
from tasks.core.records import VideoRef

RUN = "20261122T020000Z-0a1b2c"
OWN = [
    f"clips/{RUN}/cat-12345678/0001_0m00s-0m59s.mp4",
    f"clips/{RUN}/cat-12345678/0001_0m00s-0m59s.jpg",
    f"reports/{RUN}/index.html",
    f"rankings/run_date=2026-11-22/{RUN}.parquet",
    f"runs/{RUN}.json",
    f"labels/{RUN}.parquet",
    "thumbnails/c556c2e7639ebbe4/000037500.jpg",
    f"analyses/0a/0a{'1' * 62}.json",
    ".hookline",
]
SOURCE = "s3://bucket/videos"


def sifted(*names: str, pattern: str = "**", output: str = "") -> Listing:
    sieve = Sieve(SOURCE, pattern, output=output)
    for name in names:
        sieve.add(VideoRef(f"{SOURCE}/{name}", "etag", 1))
    return sieve.listing()


def names(listing: Listing) -> list[str]:
    return [video.uri.removeprefix(f"{SOURCE}/") for video in listing.videos]


@pytest.mark.parametrize("folder", ["", "out/", "2026/old/out/"])
def test_what_hookline_wrote_is_no_video_in_whatever_output(folder: str) -> None:
    listing = sifted(*(folder + name for name in OWN))
    assert (names(listing), listing.left_out.own) == ([], len(OWN))


@pytest.mark.parametrize("output", [SOURCE, f"{SOURCE}/out", "s3://bucket", "s3://elsewhere"])
def test_what_only_lies_beside_it_is_listed(output: str) -> None:
    theirs = ["clips/cat.mp4", "clips/2026/cat.mp4", f"{RUN}.mp4", "out/reports/talk.mp4", "runs/10k.mp4"]
    assert names(sifted(*theirs, output=output)) == sorted(theirs)


@pytest.mark.parametrize("output", ["s3://bucket", SOURCE])
def test_the_pointer_of_this_output_is_no_video(output: str) -> None:
    inside = SOURCE.removeprefix(f"{output}/") if output != SOURCE else ""
    listing = sifted("latest.json", f"clips/{RUN}/a/1.mp4", output=output)
    assert names(listing) == (["latest.json"] if inside else [])


def test_a_source_inside_the_output_holds_no_video_of_its_own() -> None:
    sieve = Sieve(f"s3://bucket/out/clips/{RUN}", "**", output="s3://bucket/out")
    sieve.add(VideoRef(f"s3://bucket/out/clips/{RUN}/cat-12345678/0001_0m00s-0m59s.mp4", "etag", 1))
    assert sieve.listing().videos == []


def test_a_clip_that_is_named_as_the_source_of_another_output_is_a_video() -> None:
    clip = f"s3://bucket/out/clips/{RUN}/cat-12345678/0001_0m00s-0m59s.mp4"
    sieve = Sieve(clip, "**", output="s3://bucket/best")
    sieve.add(VideoRef(clip, "etag", 1))
    assert [video.uri for video in sieve.listing().videos] == [clip]
