"""Each format is read as its makers write it; all files here are made up."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hookline.cli import LabelFormat
from hookline.labelling.curves import Curve
from hookline.labelling.files import READERS, format_of, read_file
from hookline.labelling.given import Given, Videos
from tasks.core.errors import SettingsError
from tasks.core.records import Timeline, VideoRef
from tasks.core.tables.digests import Digests
from tasks.core.tables.library import LibraryEntry

TALK, GAME, GREEN = "s3://b/talk.mp4", "s3://b/The game [JhdjUam0l6A].webm", "s3://b/bP5KfdFJzC4.mp4"
OTHER, PART = "s3://b/old/cut.mp4", "bP5KfdFJzC4_660.0_810.0"


def library(*videos: str, seconds: float = 100, gone: str = "") -> Videos:
    entries = {}
    for uri in videos:
        ref = VideoRef(uri, "etag", 1)
        timeline = Timeline(ref, "", int(seconds), 1, 28, 28, seconds, "pyav")
        entries[uri] = LibraryEntry(ref, Digests("s", "r", "f"), date(2026, 11, 24), timeline, "run")
    return Videos(entries, entries.keys() - {gone})


VIDEOS = library(TALK, GAME, GREEN, OTHER, "s3://b/new/cut.mp4")


def read(file: Path, text: str | bytes, videos: Videos = VIDEOS) -> Given:
    """What `auto` finds in a file."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_file(file, format_of(file), videos)


def as_lists(curve: Curve) -> list[tuple[float, float, float]]:
    return list(zip(curve.start.tolist(), curve.end.tolist(), curve.value.tolist(), strict=True))


def test_the_command_knows_every_format() -> None:
    assert {*get_args(LabelFormat)} == {"auto", *READERS}


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        (TALK, TALK),
        ("talk.mp4", TALK),
        ("talk", TALK),
        ("JhdjUam0l6A", GAME),
        ("cut", "cut"),
        (OTHER, OTHER),
        ("nothing", "nothing"),
    ],
)
def test_a_video_is_found_by_what_people_call_it_if_one_is_called_so(name: str, uri: str) -> None:
    assert VIDEOS.uri(name) == uri


def test_a_video_that_is_listed_no_more_has_its_uri_alone() -> None:
    videos = library(OTHER, "s3://b/new/cut.mp4", gone=OTHER)
    assert videos.uri("cut") == "s3://b/new/cut.mp4"
    assert OTHER in videos


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_curve_holds_from_point_to_point(tmp_path: Path, separator: str) -> None:
    rows = [("Seconds", "Value", "video_uri"), ("10", "0.25", TALK), ("0", "0.5", TALK), ("25", "", TALK)]
    rows += [("30", "1", TALK), ("0", "7", "talk of another"), ("5", "8", "talk of another")]
    (of_talk, other) = read(tmp_path / "c.csv", "\n".join(separator.join(row) for row in rows)).curves
    assert (of_talk.video, other.video) == (TALK, "talk of another")
    assert as_lists(of_talk) == [(0, 10, 0.5), (10, 30, 0.25), (30, 50, 1)]


def test_a_curve_may_be_parquet(tmp_path: Path) -> None:
    table = pa.table({"video_uri": [TALK, TALK], "seconds": [0, 4], "value": [1.0, 2.0]})
    pq.write_table(table, tmp_path / "c.parquet")
    (found,) = read_file(tmp_path / "c.parquet", format_of(tmp_path / "c.parquet"), VIDEOS).curves
    assert as_lists(found) == [(0, 4, 1), (4, 8, 2)]


ANSWER = {
    "kind": "youtubeAnalytics#resultTable",
    "columnHeaders": [
        {"name": "elapsedVideoTimeRatio", "columnType": "DIMENSION", "dataType": "FLOAT"},
        {"name": "audienceWatchRatio", "columnType": "METRIC", "dataType": "FLOAT"},
        {"name": "relativeRetentionPerformance", "columnType": "METRIC", "dataType": "FLOAT"},
    ],
    "rows": [[0.01, 1.2, 0.4], [0.02, 0.9, 0.5], [1.0, 0.1, 0.3]],
}
"""Of the YouTube Analytics API, which tells where a part of a video ends."""


def test_what_the_youtube_api_answers_is_of_the_video_that_its_file_is_called_by(tmp_path: Path) -> None:
    (found,) = read(tmp_path / "talk.json", json.dumps(ANSWER)).curves
    assert found.video == TALK
    assert as_lists(found) == [(0, 1, 1.2), (1, 2, 0.9), (2, 100, 0.1)]
    rows = ["video,elapsedVideoTimeRatio,audienceWatchRatio", "JhdjUam0l6A,0.5,1", "JhdjUam0l6A,1,0.4"]
    (found,) = read(tmp_path / "all.csv", "\n".join(rows)).curves
    assert (found.video, as_lists(found)) == (GAME, [(0, 50, 1), (50, 100, 0.4)])


def test_what_youtube_studio_exports_tells_where_a_part_begins(tmp_path: Path) -> None:
    rows = ["Video position (%),Absolute audience retention (%),Compared to other videos (%)"]
    rows += ["0,105.25,", "1,98,51", "2,,", "50,40,52"]
    (found,) = read(tmp_path / "JhdjUam0l6A.csv", "\ufeff" + "\n".join(rows)).curves
    assert (found.video, as_lists(found)) == (GAME, [(0, 1, 105.25), (1, 50, 98), (50, 100, 40)])


def line(**changes: Any) -> str:
    """An annotation of QVHighlights."""
    told = {
        "qid": 8737,
        "query": "A family is playing basketball on a green court.",
        "duration": 10,
        "vid": PART,
        "relevant_windows": [[0, 4]],
        "relevant_clip_ids": [0, 1],
        "saliency_scores": [[4, 1, 1], [3, 3, 3]],
    }
    return json.dumps(told | changes)


@pytest.mark.parametrize(("ranked", "begins"), [(GREEN, 660.0), (f"s3://b/{PART}.mp4", 0.0)])
def test_moments_of_qvhighlights_are_published_and_their_clips_a_curve(
    tmp_path: Path, ranked: str, begins: float
) -> None:
    again = line(
        qid=1, relevant_windows=[[0, 4], [8, 10]], relevant_clip_ids=[4], saliency_scores=[[2, 2, 2]]
    )
    found = read(tmp_path / "val.jsonl", f"{line()}\n\n{again}\n", library(ranked))
    spans = [(begins, begins + 4), (begins + 8, begins + 10)]
    assert found.rows == [
        {"video_uri": ranked, "start": start, "end": end, "verdict": "published"} for start, end in spans
    ]
    (curve,) = found.curves
    assert curve.video == ranked
    assert as_lists(curve) == [
        (begins + 2 * clip, begins + 2 * clip + 2, score) for clip, score in enumerate([2, 3, 0, 0, 2])
    ]


def test_a_video_may_be_called_by_a_number(tmp_path: Path) -> None:
    (curve,) = read(tmp_path / "val.jsonl", line(vid=123), library("s3://b/123.mp4")).curves
    assert curve.video == "s3://b/123.mp4"


def test_parts_of_a_video_that_overlap_are_one_curve(tmp_path: Path) -> None:
    other = line(vid="bP5KfdFJzC4_665.0_815.0")
    (curve,) = read(tmp_path / "val.jsonl", f"{line()}\n{other}").curves
    assert (curve.end[:-1] <= curve.start[1:]).all()
    assert (curve.start[0], curve.end[-1]) == (660, 675)


def test_tvsum_is_the_mean_of_its_annotators_over_the_length_of_the_video(tmp_path: Path) -> None:
    rows = ["JhdjUam0l6A\tVT\t1,1,5,5", "talk\tPR\t2,4", "JhdjUam0l6A\tVT\t3,1,5,1"]
    game, talk = read(tmp_path / "ydata-tvsum50-anno.tsv", "\n".join(rows)).curves
    assert (game.video, talk.video) == (GAME, TALK)
    assert as_lists(game) == [(0, 25, 2), (25, 50, 1), (50, 75, 5), (75, 100, 3)]
    assert as_lists(talk) == [(0, 50, 2), (50, 100, 4)]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("c.csv", "video_uri,seconds,value\na,0,high\n", "c.csv, row 1: could not convert"),
        ("c.csv", "video_uri,seconds,value\na,0,1\na,0,2\n", "c.csv, row 2: seconds 0 of a again"),
        ("c.csv", "video_uri,seconds,value\na,0,1\n", "a has one point, a curve needs two"),
        ("c.csv", "video_uri,seconds,value\na,0,1\na,9,inf\n", "a value is no number"),
        ("r.csv", "video position (%),views\n0,1\n", "no column absolute audience retention"),
        ("r.csv", "elapsedVideoTimeRatio,audienceWatchRatio\n0.5,\n", "no values in audiencewatchratio"),
        ("r.json", '{"columnHeaders": [{"name": "day"}], "rows": [["1"]]}', "neither elapsedVideoTimeRatio"),
        ("r.json", "{", "r.json is no file of --format youtube-retention"),
        ("r.json", "[]", "r.json is no file of --format youtube-retention"),
        (
            "v.jsonl",
            json.dumps({"vid": "a"}),
            "v.jsonl, line 1: no 'relevant_windows' (the test split has none)",
        ),
        ("v.jsonl", line(relevant_clip_ids=[0, 70]), "v.jsonl, line 1: index 70"),
        ("t.tsv", "a\tVT\t1,2\na\tVT\t1,x", "t.tsv, line 2: could not convert"),
        ("t.tsv", "a\tVT\t1,2\na 1,2", "t.tsv, line 2: TVSum has three columns with tabs between them"),
        ("t.tsv", "a\tVT\t1,2\na\tVT\t1", "t.tsv is no file of --format tvsum"),
        ("m.h5", "garbage", "m.h5: put metadata.csv of Mr. HiSum beside it"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, name: str, content: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path / name, content)
    assert says in str(caught.value)


def test_a_curve_has_its_mean_over_each_window_that_it_covers_for_half() -> None:
    curve = Curve("a", np.array([10.0, 20, 40]), np.array([20.0, 30, 50]), np.array([1.0, 4, 9]))
    windows = [(0, 20), (0, 19), (15, 25), (15, 45), (30, 40), (45, 300)]
    found = curve.means(windows)
    assert found[[0, 2, 3]] == pytest.approx([1, 2.5, (5 * 1 + 10 * 4 + 5 * 9) / 20])
    assert np.isnan(found[[1, 4, 5]]).all()


def write_mrhisum(folder: Path, scores: list[float]) -> Path:
    """The files of Mr. HiSum, as far as they are read."""
    with h5py.File(folder / "mr_hisum.h5", "w") as stored:
        group = stored.create_group("video_1")
        group["gtscore"] = np.array(scores, np.float32)
        group["change_points"] = np.array([[0, len(scores) - 1]])
        group["gtsummary"] = np.zeros(len(scores))
    columns = "video_id,yt8m_file,random_id,youtube_id,duration,views,labels"
    (folder / "metadata.csv").write_text(f'{columns}\nvideo_1,train0026,ORaA,JhdjUam0l6A,3,84554,"[8, 9]"\n')
    return folder / "mr_hisum.h5"


def test_mr_hisum_has_a_score_for_each_second_and_names_videos_in_another_file(tmp_path: Path) -> None:
    file = write_mrhisum(tmp_path, [0.25, 1, 0.5])
    (found,) = read_file(file, format_of(file), VIDEOS).curves
    assert (found.video, as_lists(found)) == (GAME, [(0, 1, 0.25), (1, 2, 1), (2, 3, 0.5)])


def test_what_is_no_hdf5_or_not_of_mr_hisum_is_named(tmp_path: Path) -> None:
    file = write_mrhisum(tmp_path, [1])
    (tmp_path / "metadata.csv").write_text("video_id,youtube_id\nvideo_2,JhdjUam0l6A\n")
    with pytest.raises(SettingsError, match=r"no file of --format mrhisum: 'video_1' is missing"):
        read_file(file, "mrhisum", VIDEOS)
    file.write_bytes(b"garbage")
    with pytest.raises(SettingsError, match=r"no file of --format mrhisum: .*file signature not found"):
        read_file(file, "mrhisum", VIDEOS)
