"""Work that needs a model. A worker on another machine has checkpoints and frames there, or fetches them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from tasks.adapters.garbage import no_garbage
from tasks.adapters.models.checkpoints import Checkpoint, on_this_machine
from tasks.adapters.models.cpu import cpu_dtype
from tasks.adapters.models.gpus import is_without_cuda
from tasks.adapters.stopping import raise_if_stopped
from tasks.core.devices import Backend, Device
from tasks.core.errors import ModelError
from tasks.core.records import Analysis, Timeline, Window, WindowFeatures
from tasks.core.throughput import Span, Work
from tasks.work.analyses import cache_keys, cache_of_run
from tasks.work.opening import frames_of, opened_here
from tasks.work.spec import RunSpec

WRITE_THREADS = 8
"""Analyses that are written to the cache while the next ones are made."""


def check_fast_model(spec: RunSpec) -> Device:
    """Load the fast model; the process keeps it. Says where it computes.

    Raises:
        ModelError: it cannot be loaded, or the head is not of this model.
    """
    # PyTorch takes seconds to import, and this module is imported before it is known whether it is needed.
    with no_garbage():
        from tasks.adapters.models.videomae import load_videomae

        model = load_videomae(on_this_machine(spec.fast), device=spec.settings.engine.device)
    if spec.head:
        spec.head.check_fits(model.dimensions)
    return model.computes_on


def check_deep_model(deep: Checkpoint, spec: RunSpec) -> None:
    """Load the deep model; the process keeps it.

    Raises:
        ModelError: it cannot be loaded.
    """
    with no_garbage():
        from tasks.adapters.models.videollama3.model import load_videollama3

        settings = spec.settings
        load_videollama3(
            on_this_machine(deep), quantization=settings.deep.quantization, device=settings.engine.device
        )


def find_backend(wanted: str = "auto") -> Backend:
    """What models compute on in this process, and in; `wanted` is `engine.device`.

    Raises:
        ModelError: there is a GPU that cannot be used.
    """
    if wanted == "cpu" or (wanted == "auto" and is_without_cuda()):
        return Backend("cpu", cpu_dtype())  # without PyTorch: there may be nothing to compute
    from tasks.adapters.models.devices import backend_of, pick_device, pick_dtype

    device = pick_device(wanted)
    return backend_of(device, pick_dtype(device))


class Loaded(NamedTuple):
    """What a process holds: which models, and of its GPU how many bytes are used, of how many there are."""

    videomae: bool
    videollama3: bool
    whisper: bool
    gpu_memory: tuple[int, int] | None


def loaded_models() -> Loaded:
    """What this process holds."""
    from tasks.adapters.models import memory, videomae
    from tasks.adapters.models.videollama3 import model as videollama3
    from tasks.adapters.models.whisper import model as whisper

    loaded = (videomae.is_loaded(), videollama3.is_loaded(), whisper.is_loaded())
    return Loaded(*loaded, memory.of_gpu())


def window_features(batch: Sequence[Window], timeline: Timeline, spec: RunSpec) -> WindowFeatures:
    """The VideoMAE features of a batch of windows of one video.

    Raises:
        ModelError: the model cannot be loaded, or gives something that is not a number.
    """
    from tasks.adapters.models.videomae import load_videomae

    model = load_videomae(on_this_machine(spec.fast), device=spec.settings.engine.device)
    began_s = time.perf_counter()
    features = model.features(
        frames_of(timeline, spec),
        batch,
        batch_size=spec.settings.fast.batch_size,
        shown=(timeline.source_width, timeline.source_height),
    )
    loops = [features.loop] if features.loop else []
    return replace(features, work=_work(began_s, loops, features.seconds, {"windows": len(batch)}))


def new_analyses(
    windows: Sequence[Window],
    timeline: Timeline,
    said: Mapping[Window, str],
    deep: Checkpoint,
    spec: RunSpec,
) -> Iterator[tuple[Window, Analysis] | Work]:
    """Each window with its analysis, as soon as it is made; by the end all answers are in the cache.

    `said` is what the model is told that is said in them. At last comes what it cost. If the model cannot be
    loaded, every analysis is a failed one.

    Raises:
        RunEnded: the run was stopped.
    """
    from tasks.adapters.models.usage import Spent
    from tasks.adapters.models.videollama3.model import load_videollama3

    settings = spec.settings.deep
    try:
        model = load_videollama3(
            on_this_machine(deep), quantization=settings.quantization, device=spec.settings.engine.device
        )
    except ModelError as error:
        yield from ((window, Analysis.failed(error.reason, str(error))) for window in windows)
        return
    began_s, spent = time.perf_counter(), Spent()
    opened = opened_here(timeline, spec)
    made = model.analyse(
        frames_of(opened, spec),
        windows,
        fps=timeline.fps,
        n_ticks=timeline.n_ticks,
        prompt=settings.question,
        answer_order=settings.answer_order,
        said=said,
        max_frames=settings.max_frames,
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
        spent=spent,
    )
    # Its own backend: workers of one cluster may differ.
    here = replace(spec, deep_backend=model.backend)
    cache, keys = cache_of_run(spec), cache_keys(windows, timeline, here, said=said)
    with ThreadPoolExecutor(WRITE_THREADS, "keep-analyses") as keeping:
        for window, analysis in made:
            raise_if_stopped(opened.path)
            # An answer from fewer frames is worth another try in a later run.
            if cache and analysis.reason != "fewer_frames":
                keeping.submit(cache.put, keys[window], analysis)
            spent.count["segments"] += analysis.status == "ok"
            yield window, analysis
    yield _work(began_s, spent.loops, spent.count.pop("busy_us", 0) / 1e6, spent.count)


def _work(began_s: float, loops: Sequence[Span], busy_s: float, counts: Mapping[str, int]) -> Work:
    """What a call that began then has cost up to now."""
    process = f"{socket.gethostname()}:{os.getpid()}"
    return Work(process, (began_s, time.perf_counter()), tuple(loops), busy_s, dict(counts))
