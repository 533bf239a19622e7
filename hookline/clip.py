"""One clip of a ranked video, cut again where an editor wants it: nothing is scored for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from rich.console import Console
from rich.markup import escape

from hookline.videos import of_videos, video_called
from tasks.adapters.storage import Store, store_of
from tasks.adapters.storage.published import read_table
from tasks.core.errors import SettingsError
from tasks.core.manifest import Manifest
from tasks.core.records import Timeline
from tasks.core.settings import Limits, Publish, Speech
from tasks.core.settings.group import Group
from tasks.core.settings.wrong import what_is_wrong
from tasks.core.speech.heard import Heard
from tasks.core.speech.transcripts import unwritten
from tasks.core.views.clock import clock, seconds_from, watched
from tasks.core.views.escaping import printable
from tasks.core.views.pictures import Cut, Framing, clip_name
from tasks.work.clips import KeptClip, keep_clip
from tasks.work.hearing import heard_before

MAX_SECONDS = 600
"""The longest window that can be ranked is as long."""

ROUNDED_S = 0.001
"""The times of a file of shots are rounded: that of a video's end may lie behind it by less than this."""

Seconds = Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)]
Place = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Shot(BaseModel):
    """From `start` on, the middle of the crop lies at `crop_x`."""

    start: Seconds
    crop_x: Place


class Shots(BaseModel):
    """What lies beside a clip whose crop moves."""

    video: str
    start: Seconds
    end: Seconds
    crop: str
    shots: list[Shot] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a video is wanted: a ranked segment, or from when to when, which goes before it.

    `publish` are settings of the group of this name that replace those of the run. `crop_x` is where the
    middle of a crop lies, from 0 (left) to 1; `shots` say so of each shot, and from when to when, if nothing
    else does.
    """

    rank: int | None
    begin: str
    end: str
    publish: Mapping[str, str | bool | None]
    crop_x: float | None
    shots: Shots | None

    @property
    def framing(self) -> list[Framing]:
        if self.shots:
            return [Framing(shot.start, shot.crop_x) for shot in self.shots.shots]
        return [] if self.crop_x is None else [Framing(0.0, self.crop_x)]


def cut_again(console: Console, store: Store, run: Manifest, part: str, wanted: Wanted) -> None:
    """Cut a clip of the one ranked video with `part` in its URI, and print where it lies.

    Raises:
        SettingsError: there is no such video, or several; or what is wanted of it is not there.
        StorageError: the video has changed or is gone, or the output cannot be written.
        DecodeFailed: no clip can be cut.
    """
    timeline = video_called(store, run, part).timeline
    assert timeline, "only ranked videos are called"
    if wanted.shots and wanted.shots.video != timeline.video.name:
        shown, asked = printable(wanted.shots.video), printable(timeline.video.name)
        raise SettingsError(f"--shots: that file is of {shown}, not of {asked}")
    begin_s, end_s = span_of(store, run, timeline, wanted)
    publish = publish_of(run, wanted)
    limits, speech = Limits(**settings_of(run, Limits)), Speech(**settings_of(run, Speech))
    cut = Cut(begin_s, end_s, (begin_s + end_s) / 2)
    heard = heard_before(timeline.video, store, speech.threshold) if publish.captions != "none" else None
    there = limits.scratch_dir if Path(limits.scratch_dir).is_dir() else ""  # it may be that of a worker
    with TemporaryDirectory(dir=there or None, prefix="hookline-clip-") as folder:
        source = Path(folder, "video")
        with console.status(f"fetching {escape(timeline.video.name)}"):
            store_of(timeline.video).download(timeline.video, source, deadline_s=limits.deadline_seconds)
        with console.status(f"cutting {clock(begin_s)} - {clock(end_s)}"):
            clip = keep_clip(
                source,
                cut,
                name_of(timeline, cut, run, publish, wanted),
                store,
                video=timeline.video.name,
                words=heard.transcript.words if heard and heard.transcript else (),
                publish=publish,
                limits=limits,
                scratch=Path(folder),
                framing=wanted.framing,
            )
    if clip.captions != "files":
        remove_captions(clip, store)
    console.print(f"{store.uri}/{clip.name}", soft_wrap=True, markup=False, highlight=False)
    if note := about_captions(clip, heard):
        console.print(note, soft_wrap=True)


def remove_captions(clip: KeptClip, store: Store) -> None:
    """Remove the files of captions that an earlier clip of the same name had."""
    stem = clip.name.removesuffix(".mp4")
    for name in (f"{stem}.srt", f"{stem}.vtt"):
        if store.exists(name):  # who may not remove files can still cut clips
            store.remove(name)


def name_of(timeline: Timeline, cut: Cut, run: Manifest, publish: Publish, wanted: Wanted) -> str:
    """Where the clip lies: beside those of the run, and what is cut in another way beside it."""
    ways = ["" if publish.crop == "none" else f"_{publish.crop.replace(':', 'x')}"]
    if wanted.shots:
        ways.append("_shots")
    elif wanted.crop_x is not None:
        ways.append(f"_at{wanted.crop_x:g}")
    elif publish.crop_follow:
        ways.append("_follow")
    ways.append("_captions" if publish.captions == "burned" else "")
    name = clip_name(timeline.video, cut, run_id=run.run_id)
    return f"{name.removesuffix('.mp4')}{''.join(ways)}.mp4"


def publish_of(run: Manifest, wanted: Wanted) -> Publish:
    """The settings of the run, and what is wanted instead.

    Raises:
        SettingsError: there is no crop to move, or it is to lie in two places.
    """
    if wanted.shots and wanted.crop_x is not None:
        raise SettingsError(
            f"--shots and --crop_x {wanted.crop_x:g} both say where the crop lies: give one of them"
        )
    given: dict[str, Any] = {"crop": wanted.shots.crop} if wanted.shots else {}
    given |= {name: value for name, value in wanted.publish.items() if value is not None}
    if given.get("crop") == "none":
        given.setdefault("crop_follow", False)
    whole = settings_of(run, Publish) | {"clips": True} | given
    if (wanted.framing or whole.get("crop_follow")) and whole.get("crop", "none") == "none":
        by = "--crop_follow" if wanted.crop_x is None else f"--crop_x {wanted.crop_x:g}"
        moves = "--shots moves" if wanted.shots else f"{by} moves"
        raise SettingsError(f"{moves} a crop, and there is none: add --crop 9:16, 4:5 or 1:1")
    return Publish.model_validate(whole)


def read_shots(path: Path) -> Shots:
    """What a file beside a clip says of its crop, as it is or corrected.

    Raises:
        SettingsError: it is no such file, or cannot be read.
    """
    try:
        return Shots.model_validate(json.loads(path.read_bytes()))
    except ValidationError as error:
        wrong = what_is_wrong(error)
    except OSError as error:
        wrong = error.strerror or str(error)
    except (ValueError, RecursionError) as error:
        wrong = str(error)
    raise SettingsError(f"{path} is no file of shots: {wrong}")


def span_of(store: Store, run: Manifest, timeline: Timeline, wanted: Wanted) -> tuple[float, float]:
    """From when to when the clip goes, in seconds."""
    begin_s, end_s = (wanted.shots.start, wanted.shots.end) if wanted.shots else (None, None)
    if wanted.rank is not None:
        begin_s, end_s = ranked_span(store, run, timeline, wanted.rank)
    begin_s = seconds_from(wanted.begin) if wanted.begin else begin_s
    end_s = seconds_from(wanted.end) if wanted.end else end_s
    if begin_s is None or end_s is None:
        raise SettingsError("say what to cut: --from and --to, --rank or --shots")
    length = f"{timeline.video.name} is {clock(timeline.duration_s)} long"
    if not begin_s < end_s <= timeline.duration_s + ROUNDED_S:
        raise SettingsError(
            f"--from {clock(begin_s)} --to {clock(end_s)}: one must lie before the other, and {length}"
        )
    if end_s - begin_s > MAX_SECONDS:
        raise SettingsError(
            f"--from {clock(begin_s)} --to {clock(end_s)}: a clip is {MAX_SECONDS} s at the most"
        )
    return begin_s, min(end_s, timeline.duration_s)


def ranked_span(store: Store, run: Manifest, timeline: Timeline, rank: int) -> tuple[float, float]:
    """From when to when the clip of a ranked segment goes, or would."""
    columns, optional = (
        ["video_uri", "rank", "start", "end"],
        ["cut_start", "cut_end", "clip_start", "clip_end"],
    )
    rows = of_videos(read_table(store, "rankings", run, columns, optional=optional), timeline.video.label)
    ranked = {row["rank"]: row for row in rows.to_pylist() if row["video_uri"] == timeline.video.label}
    if rank not in ranked:
        raise SettingsError(f"--rank {rank}: {timeline.video.name} has the ranks 1 to {len(ranked)}")
    row = ranked[rank]
    if row.get("clip_start") is None:
        return watched(row)
    return row["clip_start"], row["clip_end"]


def settings_of(run: Manifest, group: type[Group]) -> dict[str, Any]:
    """The settings of a group that a run of any version had, as far as this version knows them."""
    known = run.settings.get(group.__name__.lower(), {})
    return {name: known[name] for name in group.model_fields if name in known}


def about_captions(clip: KeptClip, heard: Heard | None) -> str:
    """What is missing from the captions of a clip; empty if nothing is."""
    if clip.captions is None:
        return ""
    span = (round(clip.start_s * 1000), round(clip.end_s * 1000))
    if heard and heard.status in ("no_speech", "no_sound"):
        return "No captions: nobody speaks in this video."
    if heard is None or heard.transcript is None:
        return "No captions: nothing that is said in this video was written down."
    if unwritten(heard, [span], heard.transcript.model):
        return "Some of what is said in it was not written down: Whisper hears candidates only."
    return "No captions: nobody speaks there." if clip.captions == "no_words" else ""
