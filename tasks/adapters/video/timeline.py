"""Decodes a video onto the sampling grid, once, in the sandbox, and reads the frames back.

Frames stay on scratch: what travels between tasks is the `Timeline`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from tasks.adapters.stopping import raise_if_stopped
from tasks.adapters.video.sandbox import Job, run_sandboxed
from tasks.core.errors import DecodeFailed, VideoRefused
from tasks.core.geometry import FrameBudget, frames_bytes
from tasks.core.records import Timeline, VideoRef
from tasks.core.speech.chunks import RATE
from tasks.core.speech.heard import as_heard

CHILD = "tasks.adapters.video.decode_child"
FRAMES_NAME = "frames.rgb"
SOUND_NAME = "sound.s16"
FULL_SCALE = 32768
"""Of a sample."""
FILE_SLACK_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What decoding one video may cost.

    `deadline_s` is wall time; `memory_bytes` the address space of each process in the child;
    `max_duration_s` the length of the video; `max_frames_bytes` the size of its frames and sound on scratch.
    """

    deadline_s: float
    memory_bytes: int
    max_duration_s: float
    max_frames_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeJob(Job):
    """A video to decode into the file `frames`; `budget` holds the fields of a `FrameBudget`.

    Its sound is written into the file `sound`, unless that is empty; somebody speaks where that is likelier
    than `speech_threshold`. `decoder` forces `pyav`, `decord` or `ffmpeg`; empty, the child chooses.
    """

    frames: str
    fps: int
    budget: dict[str, int]
    max_duration_s: float
    max_frames_bytes: int
    sound: str = ""
    speech_threshold: float = 0
    decoder: str = ""


def decode_timeline(
    source: Path,
    video: VideoRef,
    folder: Path,
    *,
    fps: int,
    budget: FrameBudget,
    limits: DecodeLimits,
    speech_threshold: float | None = None,
    decoder: str = "",
) -> Timeline:
    """Decodes `source` into `folder/frames.rgb`, in one forward pass.

    `source` is the downloaded file, alone in its folder. Tick k holds the last picture shown before
    (k + 1) / fps seconds after the start of the container's presentation. With a `speech_threshold`, its
    sound is written into `folder/sound.s16`, unless there is none. `decoder` forces `pyav`, `decord` or
    `ffmpeg`; empty, the child chooses.

    Raises `VideoRefused` (stage `probe` or `decode`) if the file is at fault, `DecodeFailed` (reason
    `deadline`, `out_of_memory`, `disk_full` or `crashed`) if decoding was cut off. Nothing is left in
    `folder` then.
    """
    path = folder.resolve() / FRAMES_NAME
    sound_path = path.with_name(SOUND_NAME)
    job = DecodeJob(
        source=str(source.resolve()),
        name=video.name,
        frames=str(path),
        fps=fps,
        budget=asdict(budget),
        memory_bytes=limits.memory_bytes,
        file_bytes=limits.max_frames_bytes + FILE_SLACK_BYTES,
        max_duration_s=limits.max_duration_s,
        max_frames_bytes=limits.max_frames_bytes,
        sound="" if speech_threshold is None else str(sound_path),
        speech_threshold=speech_threshold or 0,
        decoder=decoder,
    )
    try:
        found = run_sandboxed(CHILD, job, doing="Decoding", folder=folder, deadline_s=limits.deadline_s)
    except (VideoRefused, DecodeFailed):
        path.unlink(missing_ok=True)
        sound_path.unlink(missing_ok=True)
        raise
    if "heard" in found:
        found["heard"] = as_heard(found["heard"])
    if "loudness" in found:
        found["loudness"] = np.array(found["loudness"], np.float32)
    return Timeline(video=video, path=str(path), **found)


def read_frames(timeline: Timeline, ticks: Sequence[int]) -> npt.NDArray[np.uint8]:
    """The frames at `ticks`, in that order: uint8, `len(ticks) x height x width x 3`, RGB.

    A tick that is repeated is read from the file once. Raises `IndexError` for ticks off the timeline, and
    `RunEnded` if the run was stopped.
    """
    raise_if_stopped(timeline.path)
    distinct, positions = np.unique(np.asarray(ticks, dtype=np.int64), return_inverse=True)
    if len(distinct) and (distinct[0] < 0 or distinct[-1] >= timeline.n_ticks):
        raise IndexError(
            f"ticks {distinct[0]}..{distinct[-1]} do not all lie on a timeline of {timeline.n_ticks} ticks"
        )
    shape = (timeline.height, timeline.width, 3)
    size = frames_bytes(1, timeline.width, timeline.height)
    frames = np.empty((len(distinct), *shape), dtype=np.uint8)
    # Read, not mapped: mapped pages would count as memory of this process.
    with Path(timeline.path).open("rb", buffering=0) as file:
        for frame, tick in zip(frames, distinct, strict=True):
            file.seek(int(tick) * size)
            _read_into(file, frame.data.cast("B"))
    if len(distinct) == len(ticks) and (positions[1:] > positions[:-1]).all():
        return frames  # they are in order, and need no copy
    ordered: npt.NDArray[np.uint8] = frames[positions]
    return ordered


def read_sound(timeline: Timeline, start_ms: int, end_ms: int) -> npt.NDArray[np.float32]:
    """The sound of an opened video from and to these milliseconds, as much as there is: mono, -1 to 1.

    Raises `OSError` where a video has no sound, and `RunEnded` if the run was stopped.
    """
    raise_if_stopped(timeline.path)
    first, end = start_ms * RATE // 1000, end_ms * RATE // 1000
    path = Path(timeline.path).with_name(SOUND_NAME)
    samples = np.fromfile(path, np.int16, count=end - first, offset=first * np.dtype(np.int16).itemsize)
    sound: npt.NDArray[np.float32] = samples.astype(np.float32) / np.float32(FULL_SCALE)
    return sound


def _read_into(file: IO[bytes], target: memoryview) -> None:
    while len(target):
        count: int = file.readinto(target)  # type: ignore[attr-defined]
        if not count:
            raise EOFError(f"{file.name} ends before its last frame: it is not the file that was decoded")
        target = target[count:]
