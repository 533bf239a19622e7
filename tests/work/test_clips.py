"""A clip lies under the output with what is said in it; no file is empty where nothing is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import av
import pytest

from tasks.adapters.storage import Store
from tasks.core.errors import StorageError
from tasks.core.records import Analysis, Segment, Timeline, Window
from tasks.core.speech.cuts import Cut
from tasks.core.speech.heard import Heard, Transcript, Word
from tasks.work.media import make_media
from tasks.work.opening import open_video
from tasks.work.spec import RunSpec
from tests.adapters.video.clips.test_sound import loudness_of
from tests.media import numbered_video
from tests.spec import make_spec

SAID = Transcript(
    (Word(1500, 1900, " Look", 1.0), Word(1900, 2400, " here.", 1.0)), "en", ((1500, 2400),), ()
)
SPOKEN = Segment(
    Window(1, 3),
    50,
    50,
    Analysis.skipped("disabled"),
    1,
    cut=Cut(1000, 3000, is_clean=True, speech_ratio=0.5),
)
SILENT = replace(SPOKEN, rank=2, cut=Cut(4000, 6000, is_clean=True, speech_ratio=0.0))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered_video(tmp_path_factory.mktemp("videos") / "v.mp4", seconds=7, sound_seconds=7).parent


def opened(spec: RunSpec, folder: Path, *, transcript: Transcript | None = SAID) -> Timeline:
    (video,) = spec.source.videos("**")
    timeline = open_video(video, spec, folder / "scratch")
    assert isinstance(timeline, Timeline)
    return replace(timeline, heard=replace(Heard.of([(1500, 2400)], end_ms=7000), transcript=transcript))


def clips_of(
    videos: Path, folder: Path, captions: str, **more: bool | str
) -> tuple[tuple[Segment, ...], list[str]]:
    """The segments with their clips, and the names of all files under the output."""
    publish = {"clips": True, "captions": captions, "thumbnails": False, "report": False, **more}
    spec = make_spec(videos, folder / "out", publish=publish)
    media = make_media([SPOKEN, SILENT], opened(spec, folder), spec)
    assert media.failures == ()
    return media.segments, sorted(path.name for path in (folder / "out").rglob("*.*"))


def test_captions_lie_beside_the_clips_in_which_somebody_speaks(videos: Path, tmp_path: Path) -> None:
    (spoken, silent), names = clips_of(videos, tmp_path, "files")
    assert (spoken.clip_captions, silent.clip_captions) == ("files", "no_words")
    assert names == [
        *(f"0001_0m01s-0m03s.{kind}" for kind in ("jpg", "mp4", "srt", "vtt")),
        *(f"0002_0m04s-0m06s.{kind}" for kind in ("jpg", "mp4")),
    ]
    clip = tmp_path / "out" / str(spoken.clip_uri)
    assert clip.with_suffix(".srt").read_text() == "1\n00:00:00,500 --> 00:00:01,700\nLook here.\n"
    assert clip.with_suffix(".vtt").read_text().startswith("WEBVTT\n\n00:00:00.500 --> ")


def test_burned_captions_are_no_files_and_the_sound_is_as_loud_as_is_wanted(
    videos: Path, tmp_path: Path
) -> None:
    (spoken, silent), names = clips_of(videos, tmp_path, "burned", loudness=True, size="1080")
    assert (spoken.clip_captions, silent.clip_captions) == ("burned", "no_words")
    assert {name.rpartition(".")[2] for name in names} == {"jpg", "mp4"}
    assert loudness_of(tmp_path / "out" / str(spoken.clip_uri))[0] == pytest.approx(-14, abs=0.7)
    with av.open(str(tmp_path / "out" / str(spoken.clip_uri))) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (1800, 1080)


@dataclass
class Flaky:
    """A store that refuses so many writes of clips, and takes the next ones."""

    refusals: float
    asked: int = 0

    def publish(self, store: Store, local: Path, name: str) -> str:
        if name.endswith(".mp4"):
            self.asked += 1
            if self.asked <= self.refusals:
                raise StorageError("The store is busy.", reason="throttled", retryable=True)
        return PUBLISH(store, local, name)


PUBLISH = Store.publish


@pytest.mark.parametrize(("refusals", "attempts", "asked"), [(2, [], 4), (math.inf, [3, 1], 4)])
def test_a_clip_that_the_store_does_not_take_for_the_moment_is_made_again(
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refusals: float,
    attempts: list[int],
    asked: int,
) -> None:
    """A store that refuses one clip to the end is asked only once for the next."""
    store = Flaky(refusals)
    monkeypatch.setattr(Store, "publish", lambda *args: store.publish(*args))
    monkeypatch.setattr("tasks.work.media.UPLOAD_PAUSES_S", (0, 0))
    spec = make_spec(videos, tmp_path / "out", publish={"clips": True, "report": False, "thumbnails": False})
    media = make_media([SPOKEN, SILENT], opened(spec, tmp_path), spec)
    assert [failure.attempts for failure in media.failures] == attempts
    assert [segment.clip_uri is None for segment in media.segments] == [bool(attempts)] * 2
    assert store.asked == asked
