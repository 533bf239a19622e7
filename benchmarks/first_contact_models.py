"""What models and their workers do on a GPU: as on a CPU, in the memory that there is."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from first_contact_lab import GIB, Lab, Line
from first_contact_workers import lose_gpu, which_gpu
from speed_fast import OneByOne, write_videomae

from tasks.adapters.models.devices import why_unusable
from tasks.adapters.models.gpus import driver_version, find_gpus
from tasks.adapters.models.videollama3.model import VideoLlama3
from tasks.adapters.models.videomae import load_videomae
from tasks.core.errors import ModelError, WorkerLost
from tasks.core.records import Analysis
from tasks.core.scoring.windows import sample_ticks
from tasks.core.scoring.windows import windows as all_windows


def versions(lab: Lab) -> list[Line]:
    """PyTorch, CUDA, driver, card."""
    why = why_unusable()
    found = [
        Line("PyTorch", "2.11 or later", torch.__version__, None),
        Line("CUDA", "13.0", str(torch.version.cuda), None),
        Line("driver", "580 or later", str(driver_version()), None),
        lab.only_on_a_gpu("PyTorch can use the GPU", "yes", why or "yes", as_expected=not why),
    ]
    if lab.on_gpu:
        capability = ".".join(map(str, torch.cuda.get_device_capability(lab.device)))
        found += [
            Line("cuDNN", "92000", str(torch.backends.cudnn.version()), None),
            Line("card", "", f"{torch.cuda.get_device_name(lab.device)}, {capability}, {lab.dtype}", None),
            Line("built for", "the card", ", ".join(torch.cuda.get_arch_list()), None),
        ]
    return found


def gpus(lab: Lab) -> list[Line]:
    """GPUs that are counted, and the processes that get one each."""
    from tasks.adapters.workers.processes import GpuProcesses  # asks for pebble

    counted = find_gpus(0) if lab.on_gpu else [""]
    seen = torch.cuda.device_count() if lab.on_gpu else len(counted)
    workers = GpuProcesses(counted, deadline_s=120)
    try:
        named = workers.on_all(which_gpu, lab.device.type)
    finally:
        workers.close()
    apart = len(set(named)) == len(counted) and "cpu" not in named
    # Of slices (MIG) PyTorch sees only the first.
    expected, enough = f"{seen}, as PyTorch does; more with slices", len(counted) >= seen
    return [
        lab.only_on_a_gpu("counted", expected, str(len(counted)), as_expected=enough),
        lab.only_on_a_gpu("a process each", "all different, none cpu", ", ".join(named), as_expected=apart),
    ]


def windows(lab: Lab) -> list[Line]:
    """VideoMAE: how fast, and whether as in float32."""
    checkpoint = write_videomae(lab.folder / "videomae", quick=lab.rehearsed)
    model = load_videomae(checkpoint, device=lab.device.type)
    every = all_windows(lab.sizes.seconds, lengths=[lab.sizes.length], stride=1 if lab.on_gpu else 6)
    frames_of = lab.film.timeline()
    _, later = lab.times(lambda: model.features(frames_of, every), calls=3)
    some = every[:4]
    naive = OneByOne(checkpoint, lab.device)
    alone = [torch.from_numpy(naive.embedding(lab.film.frames[sample_ticks(w, count=16)])) for w in some]
    ours = torch.from_numpy(model.features(frames_of, some).embeddings)
    cosine = float(torch.cosine_similarity(ours, torch.stack(alone)).min())
    rate = len(every) / later
    judged = lab.is_fast and not lab.rehearsed
    return [
        Line("cosine to float32, one by one", "at least 0.999", f"{cosine:.5f}", cosine >= 0.999),
        Line("windows a second", "at least 250", f"{rate:.1f}", rate >= 250 if judged else None),
    ]


def layers(lab: Lab) -> list[Line]:
    """Layers of VideoLLaMA3's language model: joined, with fused norms, on a GPU; packed on a CPU."""
    names = {type(module).__name__ for module in lab.llama.decoder.language_model.modules()}
    joined = {"JoinedAttention", "JoinedMLP", "RMSNorm"}
    wanted, never = (joined, {"PackedLinear"}) if lab.on_gpu else ({"PackedLinear"}, joined)
    found = names & (joined | {"PackedLinear"})
    expected = ", ".join(sorted(wanted))
    return [Line("layers", expected, ", ".join(sorted(found)), wanted <= names and not never & names)]


def captured(lab: Lab) -> list[Line]:
    """Steps recorded as CUDA graphs against steps launched one by one."""
    graphs = lab.llama.decoder.graphs
    lab.judge(lab.llama, batch_size=lab.sizes.segments)  # warm
    played, played_s = lab.judge(lab.llama, batch_size=lab.sizes.segments)
    recorded, graphs.enabled = graphs.enabled, False
    launched, launched_s = lab.judge(lab.llama, batch_size=lab.sizes.segments)
    graphs.enabled = recorded
    same, ratio = _same(played, launched), launched_s / played_s
    found = f"{ratio:.2f} times as long"
    return [
        *_answered(played),
        lab.only_on_a_gpu("recorded", "yes", "yes" if recorded else "no", as_expected=recorded),
        Line("same answers", "at least 0.95", f"{same:.2f}", same >= 0.95),
        lab.only_on_a_gpu("launched, against recorded", "at least 1.2", found, as_expected=ratio >= 1.2),
    ]


def memory(lab: Lab) -> list[Line]:
    """The batch that is chosen for little memory: it fits, and leaves little."""
    free_gib = 4.0
    with hogged(lab, free_gib=free_gib):
        found, _ = lab.judge(lab.llama, batch_size=0)
        left = _left_gib(lab, free_gib)
    batches = sorted({analysis.batch_size or 0 for analysis in found})
    return [
        *_answered(found),
        Line("batch", "one at least", str(batches), batches[0] >= 1),
        lab.only_on_a_gpu(
            f"left of {free_gib:g} GiB", "0 to 2.5 GiB", f"{left:.1f} GiB", as_expected=0 <= left <= 2.5
        ),
    ]


def out_of_memory(lab: Lab) -> list[Line]:
    """Less at once where memory runs out, and everything again for the next video."""
    if lab.on_gpu:
        with hogged(lab, free_gib=3.0):
            short, _ = lab.judge(lab.llama, batch_size=lab.sizes.segments)
    else:
        with one_at_a_time(lab.llama):
            short, _ = lab.judge(lab.llama, batch_size=lab.sizes.segments)
    before = torch.cuda.memory_allocated() if lab.on_gpu else 0
    again, _ = lab.judge(lab.llama, batch_size=lab.sizes.segments)
    kept = (torch.cuda.memory_allocated() - before) / GIB if lab.on_gpu else 0.0
    reasons = sorted({analysis.reason or "" for analysis in short})
    fewer = reasons in (["smaller_batch"], ["", "smaller_batch"])
    return [
        Line("short of memory", "smaller_batch", str(reasons), fewer),
        *_answered(again),
        Line("kept by a video", "less than 0.05 GiB", f"{kept:.3f} GiB", kept < 0.05),
    ]


def lost_gpu(lab: Lab) -> list[Line]:
    """An error that breaks the GPU for its process ends that process, and the next call has another."""
    from tasks.adapters.workers.processes import GpuProcesses

    workers = GpuProcesses(find_gpus(1) if lab.on_gpu else [""], deadline_s=120)
    try:
        try:
            said = f"nothing: {workers.call(lose_gpu, lab.device.type)}"
        except WorkerLost as error:
            said = str(error)
        after = workers.call(which_gpu, lab.device.type)
    finally:
        workers.close()
    return [
        Line("broken", "the worker ended", said, "A GPU worker ended" in said),
        Line("the next call", "answered", after, bool(after)),
    ]


def quantized(lab: Lab) -> list[Line]:
    """int8 and int4 once each."""
    lines = []
    for kind in ("int8", "int4"):
        try:
            llama = VideoLlama3(lab.checkpoint, quantization=kind, device=lab.device, dtype=lab.dtype)
        except ModelError as error:
            lines.append(Line(kind, "", f"not tried: {error}"[:120], None))
            continue
        found, seconds = lab.judge(llama, batch_size=lab.sizes.segments)
        tokens = llama.usage.count["new_tokens"] / seconds
        lines += _answered(found, kind)
        lines.append(Line(f"{kind}: tokens a second", "", f"{tokens:.0f}", None))
        del llama
        gc.collect()
    return lines


@contextmanager
def hogged(lab: Lab, *, free_gib: float) -> Iterator[None]:
    """While so much memory of the GPU is free; on a CPU nothing is done."""
    if not lab.on_gpu:
        yield
        return
    lab.llama  # noqa: B018 - it is there before
    gc.collect()
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(lab.device)
    hog = torch.empty(max(0, free - int(free_gib * GIB)), dtype=torch.uint8, device=lab.device)
    torch.cuda.reset_peak_memory_stats(lab.device)
    try:
        yield
    finally:
        del hog
        torch.cuda.empty_cache()


def _left_gib(lab: Lab, free_gib: float) -> float:
    if not lab.on_gpu:
        return free_gib
    taken = torch.cuda.max_memory_reserved(lab.device) - torch.cuda.memory_allocated(lab.device)
    return free_gib - taken / GIB


@contextmanager
def one_at_a_time(llama: VideoLlama3) -> Iterator[None]:
    """Stands in for a GPU that has memory for one segment."""
    answer = llama.decoder.answer

    def answer_one(prompts: Sequence[Any], **options: Any) -> Any:
        if len(prompts) > 1:
            raise torch.OutOfMemoryError("this is a rehearsal")
        return answer(prompts, **options)

    with patch.object(llama.decoder, "answer", answer_one):
        yield


def _answered(found: list[Analysis], what: str = "segments") -> list[Line]:
    """That each has an answer, in full."""
    wrong = [f"{each.status}: {each.reason} {each.detail or ''}" for each in found if each.status != "ok"]
    less = [str(each.reason) for each in found if each.status == "ok" and each.reason]
    said = "; ".join([*wrong, *less])[:200] or f"{len(found)} answers"
    return [Line(what, "an answer each, of all frames", said, not wrong and not less)]


def _same(some: list[Analysis], others: list[Analysis]) -> float:
    """The share of answers that are the same."""
    return sum(a.answer == b.answer for a, b in zip(some, others, strict=True)) / len(some)
