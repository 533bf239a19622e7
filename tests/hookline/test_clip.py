"""An editor cuts a moment again: the clip lies under the output, and nothing else there changes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet as pq
import pytest

from hookline.cli import run as cli
from tasks.adapters.storage import open_store
from tasks.adapters.storage.record_cache import StoreValues
from tasks.adapters.video.sound.weights import vad_identity
from tasks.core.records import Failure, FailureKind, RankedVideo, Stage, VideoRef
from tasks.core.scoring.analyses import video_identity
from tasks.core.speech.chunks import chunks
from tasks.core.speech.heard import Heard, Transcript, Word, heard_json, heard_key
from tasks.core.tables.digests import Digests
from tasks.core.tables.library import library_table, ranked_entry
from tasks.core.tables.rows import failures_table
from tasks.core.tables.schemas import table_name
from tests.media import numbered_video
from tests.rankings import rankings_table
from tests.report import STAMP, ranked_video

DAY, RUN = date(2026, 11, 22), "20261122T030000Z-abc123"
HEARD = Heard("ok", 9000, ((2000, 3000), (6000, 7000)))
WRITTEN = tuple(chunks(HEARD.speech, end_ms=9000))
REFUSED = Failure(
    VideoRef("s3://b/cow.mp4", "etag", 0), Stage.PROBE, FailureKind.REJECTED, "empty", "The file is empty."
)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run over two videos of 9 s, which made clips of 1:1."""
    folder = tmp_path_factory.mktemp("library")
    output, videos = folder / "out", folder / "in"
    videos.mkdir()
    for name in ("dog.mp4", "dogma.mp4"):
        numbered_video(videos / name, seconds=9)
    made = [_ranked(video) for video in open_store(str(videos)).videos("**")]
    digests = Digests("scoring", "rejecting", "budget")
    entries = [ranked_entry(video, digests, run_id=RUN, run_date=DAY) for video in made]
    tables = {
        "rankings": rankings_table(made, STAMP),
        "library": library_table(entries, listed=[video.timeline.video.label for video in made]),
        "failures": failures_table([REFUSED], STAMP),
    }
    for kind, table in tables.items():
        path = output / table_name(kind, run_date=DAY, run_id=RUN)
        path.parent.mkdir(parents=True)
        pq.write_table(table, path)
    settings: dict[str, Any] = {"publish": {"crop": "1:1", "clips": True, "of_a_later_version": 1}}
    settings["limits"] = {"scratch_dir": "/that/of/a/worker"}
    manifest = {"run_id": RUN, "run_date": str(DAY), "state": "Completed", "settings": settings}
    (output / "runs").mkdir()
    (output / "runs" / f"{RUN}.json").write_text(json.dumps(manifest))
    (output / "latest.json").write_text(json.dumps({"manifest": f"runs/{RUN}.json"}))
    for video in made:
        chunks_of_it = WRITTEN if video.timeline.video.name == "dog.mp4" else ()
        said = Transcript((Word(2000, 2900, " Hello.", 1.0),), "en", chunks_of_it, ("whisper",))
        key = heard_key(video_identity(video.timeline.video), vad=vad_identity(), threshold=0.4)
        StoreValues(open_store(str(output)), "speech").put(key, heard_json(replace(HEARD, transcript=said)))
    return output


def _ranked(video: Any) -> RankedVideo:
    """With segments of 0 to 5, 2 to 7 and 4 to 9 s."""
    made = ranked_video(windows=3)
    return replace(made, scored=replace(made.scored, timeline=replace(made.timeline, video=video)))


def size_and_seconds(path: Path) -> tuple[int, int, float]:
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        return video.width, video.height, round(video.frames / 25, 2)


def test_a_clip_is_cut_where_an_editor_wants_it(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in output.rglob("*.parquet")}
    arguments = ["clip", str(output), "dog.mp4", "--from", "0:01.52", "--to", "0:04", "--captions", "files"]
    assert cli([*arguments, "--crop", "9:16", "--crop_x", "0.2"]) == 0
    (clip,) = output.glob("clips/*/dog-*/cut_0m01.52s-0m04s_9x16_at0.2.mp4")
    assert capsys.readouterr().out == f"file://{clip}\n"
    assert size_and_seconds(clip) == (54, 96, 2.48)
    assert clip.with_suffix(".jpg").is_file()
    assert "00:00:00,480 --> 00:00:01,680\nHello.\n" in clip.with_suffix(".srt").read_text()
    assert {path: path.read_bytes() for path in output.rglob("*.parquet")} == before


def test_a_clip_without_captions_has_none_of_an_earlier_one_beside_it(output: Path) -> None:
    arguments = ["clip", str(output), "dog.mp4", "--from", "0:02", "--to", "0:03", "--crop", "none"]
    assert cli([*arguments, "--captions", "files"]) == 0
    beside = next(output.glob("clips/*/dog-*/cut_0m02s-0m03s.mp4")).parent
    assert {path.suffix for path in beside.glob("cut_0m02s-0m03s.*")} == {".mp4", ".jpg", ".srt", ".vtt"}
    assert cli([*arguments, "--captions", "none"]) == 0
    assert {path.suffix for path in beside.glob("cut_0m02s-0m03s.*")} == {".mp4", ".jpg"}


def test_a_ranked_segment_is_cut_as_the_run_would(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["clip", str(output), "dogma", "--rank", "2", "--to", "6.5", "--captions", "files"]) == 0
    (clip,) = output.glob("clips/*/dogma-*/cut_0m02s-0m06.5s_1x1.mp4")
    assert size_and_seconds(clip) == (96, 96, 4.48)  # 4.5 s are 112 or 113 pictures
    assert "Some of what is said in it was not written down" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cat", "--rank", "1"], "cat: no ranked video of run"),
        (["dog", "--shots", "none.json"], "none.json is no file of shots: No such file or directory"),
        (["cow", "--rank", "1"], "s3://b/cow.mp4 is not ranked: The file is empty."),
        (["dog", "--rank", "1"], "dog: 2 videos have this in their URI, such as file://"),
        (["dog.mp4"], "say what to cut: --from and --to, --rank or --shots"),
        (["dog.mp4", "--rank", "4"], "--rank 4: dog.mp4 has the ranks 1 to 3"),
        (["dog.mp4", "--from", "1:99", "--to", "2:00"], "'1:99' is no time: write it as 1:02:03"),
        (["dog.mp4", "--from", "4", "--to", "3"], "--from 0:04 --to 0:03: one must lie before the other"),
        (["dog.mp4", "--from", "4", "--to", "9.5"], "dog.mp4 is 0:09 long"),
        (["dog.mp4", "--rank", "1", "--crop_x", "2"], "crop_x"),
        (["dog.mp4", "--rank", "1", "--crop", "2:1"], "2:1"),
        (["dog.mp4", "--from", "1", "--to", "9" * 400], "is no time: write it as 1:02:03"),
        (["dog.mp4", "--rank", "1", "--crop", "none", "--crop_x", "0.2"], "--crop_x 0.2 moves a crop, and"),
        (
            ["dog.mp4", "--rank", "1", "--crop", "none", "--crop_follow", "true"],
            "--crop_follow moves a crop, and",
        ),
    ],
)
def test_what_cannot_be_cut_is_told(
    arguments: list[str], says: str, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["clip", str(output), *arguments]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_a_video_that_has_changed_is_not_cut(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = output.parent / "in" / "dogma.mp4"
    content = video.read_bytes()
    video.write_bytes(content + b"\0")
    try:
        assert cli(["clip", str(output), "dogma", "--rank", "1"]) == 1
    finally:
        video.write_bytes(content)
    assert "dogma.mp4" in capsys.readouterr().err


def test_a_crop_that_follows_is_corrected_shot_by_shot(output: Path, tmp_path: Path) -> None:
    arguments = ["clip", str(output), "dog.mp4", "--from", "1.2", "--to", "4.8", "--crop", "9:16"]
    assert cli([*arguments, "--crop_follow"]) == 0
    (sidecar,) = output.glob("clips/*/dog-*/cut_0m01.2s-0m04.8s_9x16_follow.json")
    known = json.loads(sidecar.read_text())
    assert (known["video"], known["start"], known["end"], known["crop"]) == ("dog.mp4", 1.2, 4.8, "9:16")
    first = known["shots"][0]
    assert (first["start"], first["found"] in ("faces", "motion", "centre")) == (1.2, True)
    corrected = tmp_path / "corrected.json"
    corrected.write_text(
        json.dumps(known | {"shots": [{"start": 1.2, "crop_x": 0.9}, {"start": 3, "crop_x": 0}]})
    )
    assert cli(["clip", str(output), "dog.mp4", "--shots", str(corrected)]) == 0
    (clip,) = output.glob("clips/*/dog-*/cut_0m01.2s-0m04.8s_9x16_shots.mp4")
    assert size_and_seconds(clip) == (54, 96, 3.6)
    again = json.loads(clip.with_suffix(".json").read_text())["shots"]
    assert [(shot["start"], shot["crop_x"], shot["found"]) for shot in again] == [
        (1.2, 0.9, "given"),
        (3, 0, "given"),
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is no file of shots"),
        ("[" * 100_000, "is no file of shots"),
        ('{"start": 1, "end": 4, "crop": "9:16", "shots": []}', "shots"),
        ('{"start": 1, "end": Infinity, "crop": "9:16", "shots": [{"start": 1, "crop_x": 0.5}]}', "end"),
        ('{"start": 1, "end": 1e308, "crop": "9:16", "shots": [{"start": 1, "crop_x": 0.5}]}', "end"),
        ('{"start": 1, "end": 4, "crop": "9:16", "shots": [{"start": 1, "crop_x": 1.5}]}', "crop_x"),
        ('{"start": 1, "end": 4, "crop": "2:1", "shots": [{"start": 1, "crop_x": 0.5}]}', "2:1"),
    ],
)
def test_what_is_no_file_of_shots_is_told(
    content: str, says: str, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shots.json").write_text(content.replace("{", '{"video": "dog.mp4", ', 1))
    assert cli(["clip", str(output), "dog.mp4", "--shots", str(tmp_path / "shots.json")]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


SHOTS = {
    "video": "dog.mp4",
    "start": 7,
    "end": 9.0004,
    "crop": "9:16",
    "shots": [{"start": 7, "crop_x": 0.5}],
}


@pytest.mark.parametrize(
    ("changes", "arguments", "says"),
    [
        ({"video": "cow.mp4"}, [], "that file is of cow.mp4, not of dog.mp4"),
        ({}, ["--crop_x", "0.1"], "--shots and --crop_x 0.1 both say where the crop lies"),
        ({}, ["--crop", "none"], "--shots moves a crop, and there is none"),
        ({"end": 9.01}, [], "dog.mp4 is 0:09 long"),
    ],
)
def test_shots_that_do_not_fit_are_told(
    changes: dict[str, Any],
    arguments: list[str],
    says: str,
    output: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "shots.json").write_text(json.dumps(SHOTS | changes))
    assert cli(["clip", str(output), "dog.mp4", "--shots", str(tmp_path / "shots.json"), *arguments]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_shots_whose_rounded_end_lies_behind_the_video_are_cut(output: Path, tmp_path: Path) -> None:
    (tmp_path / "shots.json").write_text(json.dumps(SHOTS))
    assert cli(["clip", str(output), "dog.mp4", "--shots", str(tmp_path / "shots.json")]) == 0
    (clip,) = output.glob("clips/*/dog-*/cut_0m07s-0m09s_9x16_shots.mp4")
    assert size_and_seconds(clip) == (54, 96, 2.0)
