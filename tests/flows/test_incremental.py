"""A night looks at what is new; what it already knew is ranked as if it had looked again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.rank_videos import rank_videos
from tasks.adapters.models.head import Head, keep_head
from tasks.adapters.models.videollama3.model import VideoLlama3
from tasks.adapters.models.videomae import VideoMAE
from tasks.adapters.models.whisper.model import Whisper
from tasks.adapters.storage import Store, open_store
from tasks.core.devices import Backend
from tasks.core.errors import ObjectChanged
from tasks.core.records import VideoRef, Window
from tests.adapters.video.sound.voice import dubbed
from tests.library import quick_settings, read_table, rows_without, write_good_videos
from tests.media import cut_short, numbered_video

pytestmark = pytest.mark.usefixtures("prefect")

AMONG_ALL = ("run_rank", "library_percentile", "duplicate_of", "duplicate_similarity")
"""Columns that other videos of the run have a say in."""

EVERY_VIDEO = {"cut.mkv", "empty.mp4", "first.mp4", "more/THIRD.MP4", "second.mkv"}


@dataclass
class Touched:
    """What is looked at: videos by their name, and windows that reach a model."""

    source: Path
    fetched: list[str] = field(default_factory=list)
    scored: list[Window] = field(default_factory=list)
    transcribed: list[tuple[int, int]] = field(default_factory=list)
    analysed: list[Window] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        return not (self.fetched or self.scored or self.transcribed or self.analysed)


@dataclass
class Nights:
    """Runs over one source into one output."""

    source: Path
    output: Path
    models: Path

    def run(self, *, output: Path | None = None, **groups: Any) -> dict[str, Any]:
        speech = {"transcribe": True, "model": str(self.models / "whisper")} | groups.pop("speech", {})
        settings = quick_settings(self.source, output or self.output, self.models, speech=speech, **groups)
        manifest = rank_videos(settings, return_state=True).result(raise_on_failure=False)
        assert isinstance(manifest, dict), manifest
        return manifest

    def rows(
        self, kind: str, manifest: dict[str, Any], *, output: Path | None = None
    ) -> list[dict[str, Any]]:
        return rows_without(read_table(output or self.output, kind, manifest["run_id"]), "run_id")

    def ranks(self, manifest: dict[str, Any], videos: Collection[str]) -> list[dict[str, Any]]:
        """The ranked segments of these videos, less what other videos have a say in."""
        rows = [row for row in self.rows("rankings", manifest) if row["video_uri"] in videos]
        return [{name: row[name] for name in row if name not in AMONG_ALL} for row in rows]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three good videos, in one of which somebody speaks; one that breaks off, and one that is refused."""
    folder = tmp_path_factory.mktemp("library")
    write_good_videos(folder)
    dubbed(folder / "first.mp4", (0.8, 5.6), (6.4, 9.2), (9.9, 13))
    whole = numbered_video(folder / "whole.mkv", seconds=20)
    cut_short(whole, folder / "cut.mkv", fraction=0.6)
    whole.unlink()
    (folder / "empty.mp4").touch()
    return folder


@pytest.fixture(scope="module")
def first_night(
    library: Path, demo_models: Path, prefect: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Nights, dict[str, Any]]:
    nights = Nights(library, tmp_path_factory.mktemp("first-night"), demo_models)
    return nights, nights.run()


@pytest.fixture
def first(first_night: tuple[Nights, dict[str, Any]]) -> dict[str, Any]:
    return first_night[1]


@pytest.fixture
def nights(first_night: tuple[Nights, dict[str, Any]], tmp_path: Path) -> Nights:
    """The nights after the first, on a copy of its output."""
    before, _ = first_night
    shutil.copytree(before.output, tmp_path / "out")
    return Nights(before.source, tmp_path / "out", before.models)


@pytest.fixture
def touched(library: Path, monkeypatch: pytest.MonkeyPatch) -> Touched:
    return watch(library, monkeypatch)


def watch(source: Path, monkeypatch: pytest.MonkeyPatch) -> Touched:
    """What runs over `source` look at from here on."""
    seen = Touched(source)
    download, features, analyse = Store.download, VideoMAE.features, VideoLlama3.analyse
    hear = Whisper.hear

    def watched_download(self: Store, ref: VideoRef, path: Path, **more: Any) -> None:
        if ref.uri.startswith(prefix := f"file://{source}/"):
            seen.fetched.append(ref.uri.removeprefix(prefix))
        download(self, ref, path, **more)

    def watched_features(self: VideoMAE, frames: Any, windows: Sequence[Window], **more: Any) -> Any:
        seen.scored.extend(windows)
        return features(self, frames, windows, **more)

    def watched_analyse(self: VideoLlama3, frames: Any, windows: Sequence[Window], **more: Any) -> Any:
        seen.analysed.extend(windows)
        return analyse(self, frames, windows, **more)

    def watched_hear(self: Whisper, read: Any, chunks: Sequence[tuple[int, int]], **more: Any) -> Any:
        seen.transcribed.extend(chunks)
        return hear(self, read, chunks, **more)

    monkeypatch.setattr(Whisper, "hear", watched_hear)
    monkeypatch.setattr(Store, "download", watched_download)
    monkeypatch.setattr(VideoMAE, "features", watched_features)
    monkeypatch.setattr(VideoLlama3, "analyse", watched_analyse)
    return seen


def test_a_night_with_nothing_new_looks_at_nothing_and_publishes_the_same(
    nights: Nights, first: dict[str, Any], touched: Touched
) -> None:
    second = nights.run()
    third = nights.run()
    assert touched.nothing
    for night in (second, third):
        assert night["state"] == first["state"] == "CompletedWithFailures"
        assert night["message"] == (
            "0 of 5 videos ranked, 4 unchanged, 1 rejected, 0 failed, 1 ranked only in part"
        )
        assert nights.rows("rankings", night) == nights.rows("rankings", first)
        assert nights.rows("failures", night) == nights.rows("failures", first)
        assert nights.rows("windows", night) == []
        remembered = read_table(nights.output, "library", night["run_id"]).to_pylist()
        assert {row["scored_in"] for row in remembered} == {first["run_id"], None}
        assert [row["status"] for row in remembered] == [
            "ranked", "rejected", "ranked", "ranked", "ranked"
        ]  # fmt: skip
        for row in remembered:
            path = Path(row["video_uri"].removeprefix("file://"))
            assert abs(row["last_modified"].timestamp() - path.stat().st_mtime) < 1e-3
            facts = {row[f"{stage}_seconds"] is None for stage in ("fetch", "decode", "fast", "deep")}
            assert facts == {row["status"] == "rejected"}
            if row["status"] == "ranked":
                assert (row["codec"], row["source_width"], row["source_height"]) == ("h264", 160, 96)
                assert round(row["source_fps"], 1) in (12.5, 25.0)


def test_an_added_a_replaced_and_a_removed_video(
    demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = Nights(tmp_path / "videos", tmp_path / "out", demo_models)
    write_good_videos(nights.source)
    nights.run()
    touched = watch(nights.source, monkeypatch)
    numbered_video(nights.source / "added.mp4", seconds=9)
    numbered_video(nights.source / "second.mkv", seconds=16)
    (nights.source / "first.mp4").unlink()
    before = sorted(nights.output.rglob("*"))
    plan = nights.run(dry_run=True)
    assert sorted(nights.output.rglob("*")) == before
    assert (plan["counts"]["new"], plan["counts"]["changed"], plan["counts"]["unchanged"]) == (1, 1, 1)
    assert [(video["uri"].rsplit("/", 1)[-1], video["why"]) for video in plan["videos"]] == [
        ("added.mp4", "new"),
        ("second.mkv", "changed"),
    ]
    second = nights.run()
    expected = second["estimate"]
    assert expected["runs"] == 1
    assert expected["seconds"] == plan["estimate"]["seconds"]
    assert expected["took_by_expected"] == second["seconds"]["whole"] / expected["seconds"]["whole"]
    assert sorted(touched.fetched) == ["added.mp4", "second.mkv"]
    assert second["message"] == "2 of 3 videos ranked, 1 unchanged, 0 rejected, 0 failed"
    assert_as_from_scratch(nights, second, tmp_path / "scratch")
    ranked = {row["video_uri"].rsplit("/", 1)[-1] for row in nights.rows("rankings", second)}
    assert ranked == {"added.mp4", "second.mkv", "THIRD.MP4"}


def assert_as_from_scratch(
    nights: Nights, night: dict[str, Any], output: Path, **groups: Any
) -> dict[str, Any]:
    """The same rows as a run that knows nothing but the answers; returns its manifest.

    VideoLLaMA3 answers in batches, and what else is in one moves the last digits of expected scores.
    Of a segment that was not ranked when its video was opened, there is no picture.
    """
    shutil.copytree(nights.output / "analyses", output / "analyses")
    scratch = nights.run(output=output, **groups)
    assert scratch["counts"]["unchanged"] == 0
    for kind in ("rankings", "failures"):
        found, anew = nights.rows(kind, night), nights.rows(kind, scratch, output=output)
        for row, other in zip(found, anew, strict=True):
            if row.get("thumbnail_uri", "") is None:
                other["thumbnail_uri"] = None
        assert found == anew, kind
    return scratch


OTHER_WEIGHTS = {"deep_weight": "0.1", "fast_weight": "0.9", "viral_threshold": 20, "top_n": 1}


def test_other_weights_rank_anew_without_a_look_at_any_video(
    nights: Nights, touched: Touched, tmp_path: Path, first: dict[str, Any]
) -> None:
    night = nights.run(ranking=OTHER_WEIGHTS)
    assert touched.nothing
    (talk,) = (row for row in nights.rows("rankings", night) if row["video_uri"].endswith("first.mp4"))
    assert (talk["speech_status"], talk["speech_reason"]) == ("ok", None)
    windows = read_table(nights.output, "windows", first["run_id"]).to_pylist()
    cuts = {(row["video_uri"], row["start"]): (row["cut_start"], row["cut_end"]) for row in windows}
    assert (talk["cut_start"], talk["cut_end"]) == cuts[talk["video_uri"], talk["start"]]
    moved = [row for row in windows if (row["cut_start"], row["cut_end"]) != (row["start"], row["end"])]
    assert {row["video_uri"] for row in moved} == {talk["video_uri"]}
    assert 0.3 < talk["speech_ratio"] < 1
    assert talk["transcript"]
    said = {row["start"]: row["transcript"] for row in nights.rows("rankings", first) if row["transcript"]}
    assert said.get(talk["start"], talk["transcript"]) == talk["transcript"]
    mute = [row for row in nights.rows("rankings", night) if row["video_uri"] != talk["video_uri"]]
    assert {row["transcript"] for row in mute} == {""}
    assert night["counts"]["unchanged"] == 4
    assert night["counts"]["cached"] == night["counts"]["candidates"] > 0
    assert_as_from_scratch(nights, night, tmp_path / "scratch", ranking=OTHER_WEIGHTS)


def test_more_candidates_open_only_the_videos_that_have_more(
    nights: Nights, touched: Touched, tmp_path: Path
) -> None:
    night = nights.run(ranking={"top_n": 3})
    assert sorted(touched.fetched) == ["cut.mkv", "first.mp4"]
    assert 0 < len(touched.analysed) < night["counts"]["candidates"]
    assert night["counts"]["unchanged"] == 2
    assert_as_from_scratch(nights, night, tmp_path / "scratch", ranking={"top_n": 3})


def test_another_head_opens_only_what_must_be_seen_and_no_more_than_may_be_opened(
    nights: Nights, first: dict[str, Any], touched: Touched, tmp_path: Path
) -> None:
    head = Head("", "ridge-centred", np.random.default_rng(1).standard_normal(48).astype(np.float32), 0.0)
    keep_head(open_store(str(tmp_path)), "20261101T000000Z-abcdef", head, {}, "")
    fast = {"head": str(tmp_path / "heads" / "20261101T000000Z-abcdef")}
    plan = nights.run(dry_run=True, fast=fast, select={"most_reopened": 3})
    assert plan["counts"]["unchanged"] == 4
    assert plan["notes"][-1].startswith("Up to 3 of these may be opened for another head")
    closed = nights.run(fast=fast, select={"most_reopened": 0})
    assert touched.nothing
    assert [closed["counts"][name] for name in ("rescored", "waiting")] == [2, 2]
    assert "(2 scored by another head from what is stored, 2 with the ranks of" in closed["message"]
    of_head = {row["video_uri"]: row["head_revision"] for row in nights.rows("rankings", closed)}
    library = read_table(nights.output, "library", closed["run_id"]).to_pylist()
    waits = {row["video_uri"]: row["waits_for"] for row in library if row["fps"]}
    assert {uri: waits[uri] is None for uri in waits} == {uri: of_head[uri] == head.revision for uri in waits}
    waiting = {uri for uri in waits if waits[uri]}
    assert nights.ranks(closed, waiting) == nights.ranks(first, waiting)

    night = nights.run(fast=fast, select={"most_reopened": 1})
    counts = [night["counts"][name] for name in ("rescored", "reopened", "waiting")]
    assert counts == [0, len(touched.fetched), 1] == [0, 1, 1]
    others = {uri for uri in waits if not uri.endswith(touched.fetched[0])}
    assert nights.ranks(night, others) == nights.ranks(closed, others)
    night = nights.run(fast=fast)
    assert sorted(touched.fetched) == ["cut.mkv", "first.mp4"]
    scratch = assert_as_from_scratch(nights, night, tmp_path / "scratch", fast=fast)
    rescored = nights.rows("windows", closed)
    uris = {row["video_uri"] for row in rescored}
    anew = nights.rows("windows", scratch, output=tmp_path / "scratch")
    assert rescored == [row for row in anew if row["video_uri"] in uris]
    assert len(uris) == 2
    touched.fetched.clear()
    plan = nights.run(dry_run=True, fast=fast)
    assert (plan["counts"]["unchanged"], plan["notes"]) == (4, []), "nothing is opened again"
    back = nights.run()  # as it was before: all answers are known
    assert (touched.fetched, back["counts"]["rescored"]) == ([], 4)
    for table in ("rankings", "windows", "words"):
        assert nights.rows(table, back) == nights.rows(table, first), table


def test_a_dry_run_says_what_is_not_known(nights: Nights, touched: Touched) -> None:
    plan = nights.run(dry_run=True)
    assert plan["notes"] == []
    known = {"unchanged": 4, "rejected": 1}
    assert {name: count for name, count in plan["counts"].items() if count} == known
    assert plan["estimate"]["hours_of_video"] == 0
    elsewhere = nights.run(dry_run=True, fast={"model": "nobody/has-this"})
    assert {name: count for name, count in elsewhere["counts"].items() if count} == known
    assert "The models are not on this machine" in elsewhere["notes"][0]
    windows = nights.run(dry_run=True, windows={"window_seconds": [4]})
    assert {name: count for name, count in windows["counts"].items() if count} == {"anew": 5}
    assert "The settings are others" in windows["notes"][0]
    assert windows["estimate"]["seconds"] is None
    assert windows["estimate"]["hours_of_video"] > 0
    assert touched.nothing


SOME = "{second.mkv,empty.mp4,more/THIRD.MP4}"


def test_another_question_opens_every_ranked_video_again(nights: Nights, touched: Touched) -> None:
    night = nights.run(deep={"prompt": "Is it funny?"}, select={"pattern": SOME})
    assert set(touched.fetched) == {"second.mkv", "more/THIRD.MP4"}
    assert len(touched.analysed) == night["counts"]["candidates"]
    assert touched.transcribed == []


def test_what_another_device_answered_is_asked_again(
    nights: Nights, touched: Touched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.run.run.find_backend", lambda _: Backend("cuda", "float16"))
    night = nights.run(select={"pattern": "second.mkv"})
    assert len(touched.analysed) == night["counts"]["candidates"] > 0
    assert night["models"]["videollama3_device"] == "cuda"


def test_other_windows_open_everything(nights: Nights, touched: Touched) -> None:
    nights.run(windows={"stride_seconds": 3}, deep={"enabled": False})
    assert set(touched.fetched) == EVERY_VIDEO


def test_other_limits_give_the_refused_another_chance(nights: Nights, touched: Touched) -> None:
    nights.run(limits={"max_video_hours": 5})
    assert touched.fetched == ["empty.mp4"]


def test_what_failed_is_tried_again(
    library: Path, demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = Nights(library, tmp_path, demo_models)
    download = Store.download

    def refuse_first(self: Store, ref: VideoRef, path: Path, **more: Any) -> None:
        if ref.name == "first.mp4":
            raise ObjectChanged(f"{ref.uri} was replaced.")
        download(self, ref, path, **more)

    with monkeypatch.context() as broken:
        broken.setattr(Store, "download", refuse_first)
        assert nights.run(deep={"enabled": False})["counts"]["failed"] == 1
    touched = watch(library, monkeypatch)
    assert nights.run(deep={"enabled": False})["counts"]["ranked"] == 1
    assert touched.fetched == ["first.mp4"]


def test_scoring_anew_is_a_setting_for_what_is_listed(
    nights: Nights, first: dict[str, Any], touched: Touched
) -> None:
    part = nights.run(select={"rescore": True, "pattern": "{second.mkv,empty.mp4}"})
    assert sorted(touched.fetched) == ["empty.mp4", "second.mkv"]
    assert part["counts"]["unchanged"] == 0
    whole = nights.run()
    assert sorted(touched.fetched) == ["empty.mp4", "second.mkv"]
    assert nights.rows("rankings", whole) == nights.rows("rankings", first)


def test_a_night_without_the_deep_model_costs_no_scores(
    nights: Nights, first: dict[str, Any], touched: Touched
) -> None:
    without = nights.run(deep={"model": "/nowhere/videollama3"})
    assert {row["deep_reason"] for row in nights.rows("rankings", without)} == {"model_unavailable"}
    again = nights.run()
    assert touched.nothing
    assert nights.rows("rankings", again) == nights.rows("rankings", first)


def test_another_language_has_all_written_down_anew_once(
    nights: Nights, first: dict[str, Any], touched: Touched
) -> None:
    night = nights.run(speech={"language": "pt"})
    assert touched.fetched == ["first.mp4"]
    assert touched.transcribed
    rows = nights.rows("rankings", night)
    assert {row["language"] for row in rows if row["transcript"]} == {"pt"}
    nights.run(speech={"language": "pt", "in_prompt": False})  # asks the deep model again
    assert len(touched.transcribed) == len(set(touched.transcribed))


def test_words_that_could_not_be_written_are_written_the_next_night(
    library: Path, demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = Nights(library, tmp_path, demo_models)
    talk: dict[str, Any] = {"deep": {"enabled": False}, "select": {"pattern": "first.mp4"}}
    touched = watch(library, monkeypatch)
    for fetched in (["first.mp4"], []):
        touched.fetched.clear()
        without = nights.run(speech={"model": "/nowhere/whisper"}, **talk)
        assert touched.fetched == fetched
        assert (without["state"], without["models"]["whisper"]) == ("CompletedWithFailures", None)
        (failure,) = nights.rows("failures", without)
        assert (failure["stage"], failure["reason"]) == ("speech", "model_unavailable")
        assert "speech.transcribe" in failure["detail"]
        assert {row["transcript"] for row in nights.rows("rankings", without)} == {None}
    assert touched.transcribed == []
    night = nights.run(**talk)
    assert touched.fetched == ["first.mp4"]
    assert night["state"] == "Completed"
    said = [row["transcript"] for row in nights.rows("rankings", night)]
    assert all(said)
    assert len(nights.rows("words", night)) > 3

    touched.fetched.clear()
    without = nights.run(speech={"model": "/nowhere/whisper"}, **talk)
    assert touched.fetched == []
    assert [row["transcript"] for row in nights.rows("rankings", without)] == said


def test_a_run_over_a_part_of_the_source_forgets_nothing(
    nights: Nights, first: dict[str, Any], touched: Touched
) -> None:
    part = nights.run(select={"pattern": "second.mkv"})
    assert part["counts"]["listed"] == part["counts"]["unchanged"] == 1
    again = nights.run()
    assert set(touched.fetched) <= {"empty.mp4"}
    assert nights.rows("rankings", again) == nights.rows("rankings", first)


@pytest.mark.parametrize("broken", ["latest.json", "library"])
def test_what_cannot_be_read_is_done_anew_with_a_warning(
    nights: Nights, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = nights.output / broken
    if file.is_dir():
        (file,) = file.rglob("*.parquet")
    file.write_bytes(b"garbage")
    night = nights.run()
    assert (night["counts"]["ranked"], night["counts"]["unchanged"]) == (4, 0)
    assert "All videos are opened and scored anew" in caplog.text


def test_without_a_readable_ranking_videos_are_ranked_from_their_scores(
    nights: Nights, first: dict[str, Any], touched: Touched, caplog: pytest.LogCaptureFixture
) -> None:
    before = nights.rows("rankings", first)
    (file,) = (nights.output / "rankings").rglob("*.parquet")
    file.write_bytes(b"garbage")
    night = nights.run()
    assert set(touched.fetched) <= {"empty.mp4"}
    assert night["counts"]["unchanged"] == 4
    assert "All videos are ranked again, from their stored scores" in caplog.text
    assert nights.rows("rankings", night) == before


def test_without_their_stored_scores_videos_are_opened_anew(
    nights: Nights, touched: Touched, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(nights.output / "windows")
    nights.run(ranking=OTHER_WEIGHTS)
    assert set(touched.fetched) == EVERY_VIDEO - {"empty.mp4"}
    assert "are opened anew" in caplog.text


def test_a_name_that_is_no_text_is_looked_at_every_night(
    demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = Nights(tmp_path / "videos", tmp_path / "out", demo_models)
    nights.source.mkdir()
    numbered_video(tmp_path / "plain.mp4", seconds=6).rename(nights.source / os.fsdecode(b"not\xfftext.mp4"))
    nights.run(deep={"enabled": False})
    touched = watch(nights.source, monkeypatch)
    assert nights.run(deep={"enabled": False})["counts"]["ranked"] == 1
    assert len(touched.fetched) == 1
