"""Decodes a video onto the sampling grid, once, in a child process of its own.

A hostile or broken file can hang, crash or bloat a decoder; in a child with a deadline and a memory
limit that costs one video, not the worker. Frames stay on scratch: what travels is the `Timeline`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tasks.core.errors import DecodeFailed, VideoRefused
from tasks.core.geometry import frames_bytes
from tasks.core.records import FrameBudget, Timeline, VideoRef

FRAMES_NAME = "frames.rgb"
FILE_SLACK_BYTES = 64_000_000
LAST_WORDS_BYTES = 4000
OUT_OF_MEMORY_WORDS = ("MemoryError", "bad_alloc", "Cannot allocate memory", "failed to map segment")
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "IMAGEIO_FFMPEG_EXE")
"""All the child sees of the environment: credentials are none of its business."""
CALM = {
    "LC_ALL": "C.UTF-8",
    # Each costs address space a thread, which RLIMIT_AS counts.
    "MALLOC_ARENA_MAX": "2",
    "OPENBLAS_NUM_THREADS": "1",
    # decord gives up on slow machines by counting polls, and would then repeat or seek frames.
    "DECORD_EOF_RETRY_MAX": "1000000000",
}


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What decoding one video may cost.

    `deadline_s` is wall time; `memory_bytes` the address space of each process in the child;
    `max_duration_s` the length of the video; `max_frames_bytes` the size of its frames on scratch.
    """

    deadline_s: float
    memory_bytes: int
    max_duration_s: float
    max_frames_bytes: int


def decode_timeline(
    source: Path,
    video: VideoRef,
    folder: Path,
    *,
    fps: int,
    budget: FrameBudget,
    limits: DecodeLimits,
    decoder: str = "",
) -> Timeline:
    """Decodes `source` into `folder/frames.rgb`, in one forward pass.

    `source` is the downloaded file, alone in its folder. Tick k holds the picture on screen at k / fps
    seconds after the start of the container's presentation. `decoder` forces `pyav`, `decord` or
    `ffmpeg`; empty, the child chooses.

    Raises `VideoRefused` (stage `probe` or `decode`) if the file is at fault, `DecodeFailed` (reason
    `deadline`, `out_of_memory`, `disk_full` or `crashed`) if decoding was cut off. Nothing is left in
    `folder` then.
    """
    path = folder.resolve() / FRAMES_NAME
    job = {
        "parent": os.getpid(),
        "source": str(source.resolve()),
        "name": video.name,
        "frames": str(path),
        "fps": fps,
        "budget": asdict(budget),
        "memory_bytes": limits.memory_bytes,
        "file_bytes": limits.max_frames_bytes + FILE_SLACK_BYTES,
        "max_duration_s": limits.max_duration_s,
        "max_frames_bytes": limits.max_frames_bytes,
        "decoder": decoder,
    }
    try:
        result = run_child(
            job,
            program="tasks.adapters.video.decode_child",
            doing="Decoding",
            folder=folder,
            deadline_s=limits.deadline_s,
        )
        if "timeline" in result:
            return Timeline(video=video, path=str(path), **result["timeline"])
        if "refused" in result:
            raise VideoRefused(**_texts(result["refused"]))
        raise DecodeFailed(**_texts(result["failed"]))
    except (VideoRefused, DecodeFailed):
        path.unlink(missing_ok=True)
        raise


def read_frames(timeline: Timeline, ticks: Sequence[int]) -> npt.NDArray[np.uint8]:
    """The frames at `ticks`, in the order asked: uint8, `len(ticks) x height x width x 3`, RGB.

    Each tick is read from the file once, however often it is asked for. Raises `IndexError` for ticks off
    the timeline.
    """
    distinct, places = np.unique(np.asarray(ticks, dtype=np.int64), return_inverse=True)
    if len(distinct) and (distinct[0] < 0 or distinct[-1] >= timeline.n_ticks):
        raise IndexError(
            f"ticks {distinct[0]}..{distinct[-1]} asked of a timeline of {timeline.n_ticks} ticks"
        )
    shape = (timeline.height, timeline.width, 3)
    size = frames_bytes(1, timeline.width, timeline.height)
    frames = np.empty((len(distinct), *shape), dtype=np.uint8)
    # Read, not mapped: mapped pages would count as memory of this process.
    with Path(timeline.path).open("rb", buffering=0) as file:
        for frame, tick in zip(frames, distinct, strict=True):
            file.seek(int(tick) * size)
            _read_into(file, frame.data.cast("B"))
    ordered: npt.NDArray[np.uint8] = frames[places]
    return ordered


def _read_into(file: IO[bytes], target: memoryview) -> None:
    while len(target):
        count: int = file.readinto(target)  # type: ignore[attr-defined]
        if not count:
            raise EOFError(f"{file.name} ends before its last frame: it is not the file that was decoded")
        target = target[count:]


_running: dict[Path, subprocess.Popen[bytes]] = {}
"""The children of this process by the folder they write to."""

_stopped: set[Path] = set()
"""Under these folders nothing is decoded any more."""


def stop_decoding(root: Path) -> None:
    """End every child that decodes into a folder under `root`: its caller gets `DecodeFailed`.

    For good: a child that is only being started ends as soon as it is known.
    """
    _stopped.add(root)
    for folder, process in list(_running.items()):
        if folder.is_relative_to(root):
            _kill_group(process)


def run_child(
    job: dict[str, Any], *, program: str, doing: str, folder: Path, deadline_s: float
) -> dict[str, Any]:
    """What a module of ours, run as a program in `folder`, makes of a job that names a video.

    It sees no credentials, and ends with the deadline, with this process or with `stop_decoding`.
    `doing` begins the sentence that says how it ended.

    Raises `DecodeFailed` (reason `deadline`, `out_of_memory` or `crashed`).
    """
    doing = f"{doing} '{job['name']}'"
    with tempfile.TemporaryFile(dir=folder) as words:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            cwd=folder,
            env=_environment(),
            start_new_session=True,
        )
        _running[folder] = process
        if any(folder.is_relative_to(root) for root in _stopped):
            _kill_group(process)
        try:
            answer, _ = process.communicate(json.dumps(job).encode(), timeout=deadline_s)
        except subprocess.TimeoutExpired as error:
            raise DecodeFailed(
                f"{doing} was stopped after limits.deadline_seconds = {deadline_s:g}.",
                reason="deadline",
            ) from error
        finally:
            del _running[folder]
            _kill_group(process)
            process.communicate()
        if process.returncode == 0:
            result: dict[str, Any] = json.loads(answer)
            return result
        raise _died(doing, process.returncode, _last_words(words))


def _environment() -> dict[str, str]:
    package_root = str(Path(__file__).resolve().parents[3])
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**passed_on, **CALM, "PYTHONPATH": os.pathsep.join(paths)}


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Ends the child and its ffmpeg, whatever state they are in."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _died(doing: str, code: int, words: str) -> DecodeFailed:
    last = words.strip().splitlines()[-1:] or ["no message"]
    if code == -signal.SIGKILL or any(sign in words for sign in OUT_OF_MEMORY_WORDS):
        return DecodeFailed(f"{doing} ran out of memory ({last[0]}).", reason="out_of_memory")
    return DecodeFailed(f"{doing} crashed with code {code} ({last[0]}).", reason="crashed")


def _last_words(words: IO[bytes]) -> str:
    size = words.seek(0, os.SEEK_END)
    words.seek(max(0, size - LAST_WORDS_BYTES))
    return words.read().decode(errors="replace")


def _texts(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key in ("message", "stage", "reason")}
