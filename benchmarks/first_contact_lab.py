"""What the checks of benchmarks/gpu_first_contact.py share: sizes, models, lines, clocks."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

import torch
from footage import Drawing, candidates, draw
from untrained import FULL, TINY, Shape, write_checkpoint

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.models.devices import pick_dtype
from tasks.adapters.models.videollama3.config import frame_budget
from tasks.adapters.models.videollama3.model import VideoLlama3
from tasks.core.geometry import frame_size
from tasks.core.records import Analysis, ReadFrames, Window
from tasks.core.settings import Deep

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was found; `expected_found` is None where it is not judged."""

    what: str
    expected: str
    found: str
    expected_found: bool | None

    @property
    def text(self) -> str:
        """For the terminal."""
        verdict = {True: "as expected", False: "SURPRISE", None: "not judged"}[self.expected_found]
        return f"  {self.what}: {self.found} (expected: {self.expected or 'anything'}) {verdict}"


@dataclass(frozen=True, slots=True)
class Sizes:
    """`rows` prompts of `prompt` tokens; a video of `seconds`, `segments` of it `length` seconds long."""

    shape: Shape
    rows: int
    prompt: int
    seconds: int
    length: int
    segments: int
    new_tokens: int


TRUE = Sizes(FULL, rows=30, prompt=16_507, seconds=180, length=59, segments=8, new_tokens=320)
SMALL = Sizes(TINY, rows=3, prompt=300, seconds=20, length=8, segments=3, new_tokens=90)


class Lab:
    """A device, and untrained models in true or tiny sizes, made when they are first needed."""

    def __init__(self, device: torch.device, folder: Path, *, rehearsed: bool) -> None:
        self.device, self.folder, self.rehearsed = device, folder, rehearsed
        self.sizes = SMALL if rehearsed else TRUE
        self.dtype = pick_dtype(device)
        self.on_gpu = device.type == "cuda"
        # The expected times are those of an H100.
        self.is_fast = self.on_gpu and torch.cuda.get_device_capability(device) >= (9, 0)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """An untrained VideoLLaMA3."""
        folder = self.folder / "videollama3"
        return write_checkpoint(folder, self.sizes.shape, dtype=self.dtype, device=self.device)[0]

    @cached_property
    def llama(self) -> VideoLlama3:
        """The same, loaded."""
        return VideoLlama3(self.checkpoint, device=self.device, dtype=self.dtype)

    @cached_property
    def film(self) -> Drawing:
        """Frames as large as a segment's may be."""
        budget = frame_budget(self.checkpoint, frames_per_segment=self.sizes.length)
        return draw(self.sizes.seconds, size=frame_size(1280, 720, budget))

    def judge(self, llama: VideoLlama3, *, batch_size: int) -> tuple[list[Analysis], float]:
        """The analyses of all segments, and the seconds they took."""
        windows: Sequence[Window] = candidates(
            self.sizes.segments, seconds=self.sizes.seconds, length=self.sizes.length
        )
        frames_of: ReadFrames = self.film.timeline()
        began = self.now()
        found = [
            analysis
            for _, analysis in llama.analyse(
                frames_of,
                windows,
                fps=1,
                n_ticks=self.sizes.seconds,
                prompt=Deep().question,
                max_frames=128,
                max_new_tokens=self.sizes.new_tokens,
                batch_size=batch_size,
            )
        ]
        return found, self.now() - began

    def now(self) -> float:
        """Seconds, after all that was begun on the device."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def times(self, work: Callable[[], object], *, calls: int = 10) -> tuple[float, float]:
        """Seconds of the first call, and the median of the later ones."""
        seconds = []
        for _ in range(calls):
            began = self.now()
            work()
            seconds.append(self.now() - began)
        return seconds[0], median(seconds[1:])

    def peak_gib(self, work: Callable[[], object]) -> float:
        """What a call takes besides what is there already; nothing is known of that on a CPU."""
        if not self.on_gpu:
            return float("nan")
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        work()
        return (torch.cuda.max_memory_allocated(self.device) - before) / GIB

    def kernels(self, work: Callable[[], object]) -> list[str]:
        """The GPU kernels that a call runs, the longest first; on a CPU PyTorch's names of attention."""
        cpu, cuda = torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA
        with torch.profiler.profile(activities=[cpu, cuda] if self.on_gpu else [cpu]) as profiler:
            work()
            self.now()
        events = sorted(profiler.key_averages(), key=lambda event: -event.self_device_time_total)
        if self.on_gpu:
            return [event.key for event in events if event.self_device_time_total]
        return [event.key for event in events if "attention" in event.key]

    def at_most(self, what: str, seconds: float, wanted: float) -> Line:
        """A time, judged on the card that the expectation is of."""
        judged = self.is_fast and not self.rehearsed
        found = f"{seconds * 1000:.2f} ms"
        return Line(what, f"at most {wanted * 1000:g} ms", found, seconds <= wanted if judged else None)

    def only_on_a_gpu(self, what: str, expected: str, found: str, *, as_expected: bool) -> Line:
        """What a CPU has no part in."""
        judged = self.on_gpu and not self.rehearsed
        return Line(what, expected, found, as_expected if judged else None)
