"""A model, a video, and the two ways from one to answers about the other, timed and counted."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from footage import Drawing, Film, candidates, draw, shoot
from naive import NaivePath
from operations import Rates, measure_rates
from untrained import Shape, write_checkpoint

from tasks.adapters.models.devices import pick_device, pick_dtype
from tasks.adapters.models.videollama3 import generator
from tasks.adapters.models.videollama3.config import frame_budget, read_frame_spec
from tasks.adapters.models.videollama3.kv_cache import BatchKVCache
from tasks.adapters.models.videollama3.model import VideoLlama3
from tasks.core.geometry import FrameBudget, frame_size
from tasks.core.records import ReadFrames, Window
from tasks.core.scoring.answers import default_prompt


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured: a video of `seconds`, `segments` candidates of `length` seconds each.

    `batch` segments are answered at once; `sweep` are the batch sizes compared on the first
    `sweep_segments` of them. `shot` is the video's own width and height.
    """

    shape: Shape
    seconds: int = 300
    length: int = 59
    segments: int = 30
    new_tokens: int = 320
    batch: int = 8
    sweep: tuple[int, ...] = (1, 8)
    sweep_segments: int = 8
    shot: tuple[int, int] = (1280, 720)


@dataclass(slots=True)
class Recorder:
    """Stands in for the decoder's tokenizer, and keeps the tokens of every answer it is given."""

    tokenizer: Any
    answers: list[list[int]] = field(default_factory=list)

    def decode(self, tokens: list[int]) -> str:
        """The text of an answer."""
        self.answers.append(list(tokens))
        return str(self.tokenizer.decode(tokens))


@dataclass(frozen=True, slots=True)
class Run:
    """One pass over all segments: seconds by phase, what was counted, and the tokens of the answers.

    Decoding has no seconds where frames are drawn.
    """

    seconds: dict[str, float]
    count: dict[str, int]
    answers: list[list[int]]


class Bench:
    """A checkpoint, footage, and Hookline's own way from one to answers about the other."""

    def __init__(self, case: Case, folder: Path, *, drawn: bool) -> None:
        self.case, self.drawn, self.device = case, drawn, pick_device()
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else pick_dtype(self.device)
        self.checkpoint, self.config = write_checkpoint(
            folder / "checkpoint", case.shape, dtype=self.dtype, device=self.device
        )
        self.budget: FrameBudget = frame_budget(self.checkpoint, frames_per_segment=case.length)
        self.size = frame_size(*case.shot, self.budget)
        self.footage: Film | Drawing = (
            draw(case.seconds, size=self.size)
            if drawn
            else shoot(folder / "film.mp4", seconds=case.seconds, shot=case.shot, size=self.size)
        )
        self.windows = candidates(case.segments, seconds=case.seconds, length=case.length)
        self.patches = self.size[0] * self.size[1] // read_frame_spec(self.checkpoint).patch ** 2
        self.llama = VideoLlama3(self.checkpoint, device=self.device, dtype=self.dtype)
        self.recorder = Recorder(self.llama.decoder.tokenizer)
        self.llama.decoder.tokenizer = self.recorder

    def ours(self) -> Run:
        """Decode the video once, and judge all segments."""
        began = time.perf_counter()
        frames_of = self.footage.timeline(self.budget)
        decoded = time.perf_counter() - began
        run = self.judge(frames_of, self.windows, batch=self.case.batch)
        seconds = {**run.seconds, "total": run.seconds["total"] + decoded}
        if not self.drawn:
            seconds["decode"] = decoded
        return Run(seconds, run.count, run.answers)

    def judge(self, frames_of: ReadFrames, windows: Sequence[Window], *, batch: int) -> Run:
        """Judge segments, `batch` at once.

        Raises:
            RuntimeError: a segment failed, or memory did not allow as many at once.
        """
        costs = self.llama.usage
        costs.count.clear()
        costs.seconds.clear()
        self.recorder.answers = []
        began = time.perf_counter()
        for window, analysis in self.llama.analyse(
            frames_of,
            windows,
            fps=1,
            n_ticks=self.case.seconds,
            prompt=default_prompt(),
            max_frames=128,
            max_new_tokens=self.case.new_tokens,
            batch_size=batch,
        ):
            if analysis.status != "ok" or analysis.reason:
                raise RuntimeError(f"{window}: {analysis.reason} ({analysis.detail})")
        seconds = {**costs.seconds, "total": time.perf_counter() - began}
        return Run(seconds, dict(costs.count), self.recorder.answers)

    def naive(self, answers: Sequence[Sequence[int]]) -> Run:
        """Answer all segments the naive way, each at the length of its answer in `answers`."""
        path = NaivePath(
            self.checkpoint,
            self.footage.segment,
            prompt=default_prompt(),
            video_s=self.case.seconds,
            device=self.device,
            dtype=self.dtype,
        )
        path.answer(Window(0, 8), new_tokens=8)  # warms up
        path.seconds.clear()
        path.count.clear()
        written = [
            path.answer(window, new_tokens=len(answer))
            for window, answer in zip(self.windows, answers, strict=True)
        ]
        if self.drawn:
            del path.seconds["decode"]
        return Run(dict(path.seconds), dict(path.count), written)

    def rates(self, run: Run) -> Rates:
        """The machine's own rates at the shapes that occurred."""
        rates = measure_rates(
            self.config,
            patches=self.patches,
            prompt_tokens=run.count["prompt_tokens"] // self.case.segments,
            batches=[1, self.case.segments / self.batches],
            device=self.device,
            dtype=self.dtype,
        )
        if isinstance(self.footage, Film):
            began = time.perf_counter()
            self.footage.segment(Window(0, self.case.seconds))
            rates["decode"] = self.case.seconds / (time.perf_counter() - began)
        return rates

    @property
    def batches(self) -> int:
        """Batches that the segments make."""
        return -(-self.case.segments // self.case.batch)

    def sweep(self, answers: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
        """The batch sizes compared. `same_answers`: the share of those that equal the main run's."""
        windows = self.windows[: self.case.sweep_segments]
        frames_of = self.footage.timeline(self.budget)
        lines = []
        for batch in self.case.sweep:
            reset_peak(self.device)
            run = told(f"batch {batch}", self.judge(frames_of, windows, batch=batch))
            lines.append(
                {
                    "batch": batch,
                    "segments": len(windows),
                    "tokens_a_second": run.count["new_tokens"] / run.seconds["generate"],
                    "segments_a_minute": 60 * len(windows) / run.seconds["total"],
                    "peak_bytes": peak_bytes(self.device),
                    "same_answers": share_equal(run.answers, answers[: len(windows)]),
                    "seconds": run.seconds,
                }
            )
        return lines

    def captured(self) -> dict[str, Any]:
        """Steps recorded as CUDA graphs against steps launched one by one, all else equal."""
        frames_of = self.footage.timeline(self.budget)
        played = self.judge(frames_of, self.windows, batch=self.case.batch)
        with launched():
            plain = self.judge(frames_of, self.windows, batch=self.case.batch)
        tokens = {"captured": played, "launched": plain}
        return {
            "same_answers": share_equal(played.answers, plain.answers),
            "generate_seconds": {name: run.seconds["generate"] for name, run in tokens.items()},
        }


@contextmanager
def launched() -> Iterator[None]:
    """Within it no steps are recorded."""

    def rows(*arguments: Any, **named: Any) -> BatchKVCache:
        return BatchKVCache(*arguments, **{**named, "graphs": None})

    with patch.object(generator, "BatchKVCache", rows):
        yield


def share_equal(some: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> float:
    """The share of answers that are the same, token by token."""
    return sum(list(a) == list(b) for a, b in zip(some, others, strict=True)) / len(some)


def reset_peak(device: torch.device) -> None:
    """Let the peak of memory begin anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """The most memory taken since: by tensors on a GPU, else by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return int(status.split()[0]) * 1024


def told(name: str, run: Run) -> Run:
    """The run, after a line about it on stderr: all of it takes minutes."""
    print(f"{name}: {run.seconds} {run.count}", file=sys.stderr, flush=True)
    return run
