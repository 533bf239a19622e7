"""What is listed as video, and what is left out and why."""

from __future__ import annotations

import pytest

from tasks.core.listing import LeftOut, Listing, Sieve
from tasks.core.records import VideoRef
from tasks.core.settings import Select

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
    files = sorted(f"{SOURCE}/{name}" for name in names)
    videos = [video for uri in files if sieve.takes(video := VideoRef(uri, "etag", 1))]
    return Listing(videos, sieve.left_out)


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
    assert not sieve.takes(
        VideoRef(f"s3://bucket/out/clips/{RUN}/cat-12345678/0001_0m00s-0m59s.mp4", "etag", 1)
    )


def test_a_clip_that_is_named_as_the_source_of_another_output_is_a_video() -> None:
    clip = f"s3://bucket/out/clips/{RUN}/cat-12345678/0001_0m00s-0m59s.mp4"
    sieve = Sieve(clip, "**", output="s3://bucket/best")
    assert sieve.takes(VideoRef(clip, "etag", 1))


COMPOSED, DECOMPOSED = "Caf\N{LATIN SMALL LETTER E WITH ACUTE}", "Cafe\N{COMBINING ACUTE ACCENT}"


@pytest.mark.parametrize("typed", [COMPOSED, DECOMPOSED, COMPOSED.upper(), "Caf?"])
def test_a_pattern_takes_names_in_whatever_unicode_form(typed: str) -> None:
    stored = [f"{COMPOSED}/a.mp4", f"{DECOMPOSED}/a.mp4"]
    assert names(sifted(*stored, "Cafes/a.mp4", pattern=f"{typed}/*.mp4")) == sorted(stored)


DEFAULT = Select().pattern
HIDDEN = {
    "._cat.mp4": "._cat.mp4",
    ".DS_Store": ".DS_Store",
    "2026/.cat.mp4": "2026/.cat.mp4",
    ".Trashes/501/cat.mp4": ".Trashes/",
    "2026/.Trash-1000/files/cat.mp4": "2026/.Trash-1000/",
    "2026/@eaDir/cat.mp4/SYNOVIDEO_VIDEO_SCREENSHOT.jpg": "2026/@eaDir/",
    "@eaDir/cat.mp4@SynoEAStream.mp4": "@eaDir/",
    "#recycle/cat.mp4": "#recycle/",
    "$RECYCLE.BIN/S-1-5/cat.mp4": "$RECYCLE.BIN/",
    "System Volume Information/a.mp4": "System Volume Information/",
    "__MACOSX/._cat.mp4": "__MACOSX/",
    "lost+found/cat.mp4": "lost+found/",
    "new\nline/.cat.mp4": "new\nline/.cat.mp4",
}
NOT_HIDDEN = ["a.b/cat.mp4", "./cat.mp4", "up/../cat.mp4", "@eaDirs/a.mp4", "x@eaDir/a.mp4"]


@pytest.mark.parametrize("pattern", [DEFAULT, "**"])
@pytest.mark.parametrize("name", HIDDEN)
def test_what_is_hidden_or_of_the_system_is_passed_over_and_named(name: str, pattern: str) -> None:
    listing = sifted(name, pattern=pattern)
    left_out = listing.left_out
    assert (listing.videos, left_out.passed_over, left_out.by_ending) == ([], 1, {})
    assert left_out.named == [f"{SOURCE}/{HIDDEN[name]}"]


def test_a_dot_within_a_name_hides_nothing() -> None:
    assert names(sifted(*NOT_HIDDEN)) == sorted(NOT_HIDDEN)


def test_a_hidden_folder_counts_once() -> None:
    assert sifted(*(f"@eaDir/{n}.mp4" for n in range(9))).left_out.passed_over == 1


@pytest.mark.parametrize("marker", ["", "2026/", "clip.mp4/", "2026_$folder$", "v1.2_$folder$", "_SUCCESS"])
def test_an_empty_object_that_stands_for_a_folder_is_passed_over(marker: str) -> None:
    sieve = Sieve(SOURCE, "**")
    assert not sieve.takes(VideoRef(f"{SOURCE}/{marker}", "etag", 0))
    assert sieve.left_out.named == [f"{SOURCE}/{marker}"]


def test_an_empty_video_is_listed_for_it_is_a_broken_upload() -> None:
    assert Sieve(SOURCE, DEFAULT).takes(VideoRef(f"{SOURCE}/a.mp4", "etag", 0))


def test_other_files_are_counted_by_ending() -> None:
    left_out = sifted("a.mp4", "a.SRT", "b.srt", "c.JPG", "notes", "v1.2/notes", pattern=DEFAULT).left_out
    assert left_out.by_ending == {"srt": 2, "jpg": 1, "": 2}
    assert left_out.sentence == (
        "Left out: 5 files that select.pattern does not take (2 without an ending, 2 .srt, 1 .jpg)"
    )


def test_a_sentence_names_the_most_frequent_endings() -> None:
    left_out = LeftOut(by_ending={f"x{n}": n for n in range(1, 31)}, passed_over=3, own=1234)
    assert left_out.sentence.startswith(
        "Left out: 465 files that select.pattern does not take (30 .x30, 29 .x29"
    )
    assert left_out.sentence.endswith(
        "23 .x23, 253 with others), 3 hidden files, markers or links, 1,234 that Hookline wrote"
    )


@pytest.mark.parametrize(
    "ending",
    ["m4v", "MPG", "mpeg", "wmv", "ts", "MTS", "m2ts", "3gp", "flv", "ogv", "mxf", "VOB", "asf", "mkv"],
)
def test_the_default_pattern_takes_what_the_decoder_takes(ending: str) -> None:
    videos = [f"a.{ending}", f"deep/down/a.{ending}"]
    assert names(sifted(*videos, pattern=DEFAULT)) == videos
