"""How long a run will take, by what earlier ones under the same output took."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.core.manifest import Estimate, Manifest
from tasks.core.settings import Settings

STAGES = ("fetch", "decode", "speech", "fast", "deep")
BY_SEGMENT = ("speech", "deep")
"""Stages whose work grows with the segments that are looked at closely; that of the others with the video."""

BY_GPU = ("speech", "fast", "deep")

ALONE = 2.0
"""The spread of an estimate that rests on one run: half as long, or twice."""

MIN_SPREAD = 1.1
"""No run takes as long as another to the second."""


@dataclass(frozen=True, slots=True)
class Work:
    """How much a run opens: videos, hours of them, and about how many segments are looked at closely.

    `unsure_hours` is by how much the hours may be wrong.
    """

    videos: int
    hours: float
    segments: float
    unsure_hours: float = 0.0


@dataclass(frozen=True, slots=True)
class PastRun:
    """What an earlier run opened, and the seconds it took: `whole` and by stage; on GPUs by stage."""

    work: Work
    seconds: Mapping[str, float]
    gpu_seconds: Mapping[str, float] = field(default_factory=dict)
    gpus: int = 0

    @classmethod
    def of(cls, manifest: Manifest, settings: Settings) -> PastRun:
        """An earlier run as its manifest tells."""
        counts, hours = manifest.counts, manifest.hours_of_video
        videos = counts.get("ranked", 0)
        rooms = videos * segments_in(hours * 3600 / videos, settings) if videos else 0.0
        return cls(Work(videos, hours, rooms), manifest.seconds, *_on_gpus(manifest))


def _on_gpus(manifest: Manifest) -> tuple[dict[str, float], int]:
    """Seconds of GPUs by stage, and how many there were; none where models computed on a CPU."""
    speed = manifest.throughput
    if speed is None or not any(device.get("kind") == "cuda" for device in manifest.devices):
        return {}, 0
    seconds = {"fast": speed.fast.seconds or 0.0, "deep": speed.deep.seconds or 0.0}
    return seconds | {"speech": manifest.seconds.get("speech", 0.0)}, max(
        speed.fast.devices, speed.deep.devices
    )


def is_alike(manifest: Manifest, settings: Settings) -> bool:
    """Whether a run did the same to its videos, spread in the same way."""
    decide = settings.model_dump(mode="json", include={"engine", "publish"})
    same = all(manifest.settings.get(group) == chosen for group, chosen in decide.items())
    return same and manifest.models.get("settings_hash") == settings.digest()


def segments_in(duration_s: float, settings: Settings) -> float:
    """About how many segments of a video of this length are looked at closely.

    Candidates must not overlap by more than `ranking.max_overlap`: windows of length w that are s apart
    overlap by (w - s) / (w + s).

    >>> settings = Settings(source="in", output="out")
    >>> round(segments_in(118, settings), 1), segments_in(36_000, settings)
    (8.0, 32)
    """
    ranking, length_s = settings.ranking, max(settings.windows.window_seconds)
    overlap = float(ranking.max_overlap)
    apart_s = length_s * (1 - overlap) / (1 + overlap)
    apart_s = max(apart_s, settings.windows.stride_seconds)
    rooms = 1 + max(duration_s - length_s, 0) / apart_s
    return min(rooms, ranking.candidates) + (settings.audit.windows if rooms > ranking.candidates else 0)


def estimate(work: Work, past: Sequence[PastRun], *, gpu_hour: float = 0.0) -> Estimate:
    """What this work will take. Without an earlier run that opened a video, nobody knows."""
    opening = [run for run in past if run.work.hours > 0]
    if not opening:
        return Estimate(videos=work.videos)
    seconds, spread = _seconds(work, past), _spread(work, past, opening)
    whole = seconds["whole"]
    gpus = next((run.gpus for run in opening if run.gpus), 0)
    on_gpus = [PastRun(run.work, run.gpu_seconds) for run in opening if run.gpus]
    gpu_seconds = {stage: _of_stage(stage, work, on_gpus) for stage in BY_GPU} if gpus else None
    return Estimate(
        videos=work.videos,
        hours_of_video=work.hours,
        seconds=seconds,
        low=whole / spread,
        high=whole * spread,
        runs=len(opening),
        gpus=gpus,
        gpu_hours=gpu_seconds and {stage: taken / 3600 for stage, taken in gpu_seconds.items()},
        cost=gpu_hour * gpus * whole / 3600 if gpus and gpu_hour else None,
    )


def _seconds(work: Work, past: Sequence[PastRun]) -> dict[str, float]:
    """Of each stage as it was per hour of video or per segment; of the whole as it was by all stages."""
    opening = [run for run in past if run.work.hours > 0]
    stages = {stage: _of_stage(stage, work, opening) for stage in STAGES}
    fixed, share = _line([(_sum(run), run.seconds["whole"]) for run in past if "whole" in run.seconds])
    return {"whole": fixed + share * sum(stages.values()), **stages}


def _of_stage(stage: str, work: Work, past: Sequence[PastRun]) -> float:
    unit = "segments" if stage in BY_SEGMENT else "hours"
    did = math.fsum(getattr(run.work, unit) for run in past)
    return getattr(work, unit) * math.fsum(run.seconds.get(stage, 0.0) for run in past) / did if did else 0.0


def _sum(run: PastRun) -> float:
    return math.fsum(run.seconds.get(stage, 0.0) for stage in STAGES)


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """What every run takes by the clock, and what each second of its stages adds: by least squares of ratios.

    Runs of one size cannot tell these two apart: what is more than the stages together is taken for fixed.

    >>> [round(each, 3) for each in _line([(100, 60), (10, 15)])], _line([(10, 15)]), _line([(10, 5)])
    ([10.0, 0.5], (5.0, 1.0), (0.0, 0.5))
    """
    weights = [1 / max(whole, 1e-9) ** 2 for _, whole in points]
    total = math.fsum(weights)
    stages = math.fsum(w * s for w, (s, _) in zip(weights, points, strict=True)) / total
    whole = math.fsum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    varies = math.fsum(w * (s - stages) ** 2 for w, (s, _) in zip(weights, points, strict=True)) / total
    if varies <= (0.05 * stages) ** 2:
        share = min(1.0, whole / stages) if stages else 0.0
        return whole - share * stages, share
    both = zip(weights, points, strict=True)
    share = math.fsum(w * (s - stages) * (y - whole) for w, (s, y) in both) / total / varies
    if share < 0:
        return whole, 0.0
    if (fixed := whole - share * stages) < 0:
        return 0.0, whole / stages
    return fixed, share


def _spread(work: Work, past: Sequence[PastRun], opening: Sequence[PastRun]) -> float:
    """By which factor the whole may be less or more: as wrong as this rule would have been for a past run.

    Each is told by the others. What nobody knows of the length of videos comes on top.
    """
    wrong = [MIN_SPREAD]
    for run in opening:
        others = [other for other in past if other is not run]
        if any(other.work.hours > 0 for other in others):
            ratio = run.seconds["whole"] / max(_seconds(run.work, others)["whole"], 1e-9)
            wrong.append(max(ratio, 1 / max(ratio, 1e-9)))
    spread = max(wrong) if len(wrong) > 1 else ALONE
    return spread * (1 + work.unsure_hours / work.hours if work.hours else 1)


def disk(manifest: Manifest, work: Work, *, listed: int) -> int | None:
    """Bytes that the tables of a run will take under the output; None where no earlier one tells.

    Ranking and library are written whole each night; pictures, clips and stored answers come on top.
    """
    before = sum(manifest.counts.get(name, 0) for name in ("ranked", "unchanged"))
    if not before or not manifest.files:
        return None
    size = 0.0
    for entry in manifest.files:
        whole = any(f"/{name}/" in str(entry.get("uri")) for name in ("rankings", "library", "failures"))
        grows = (
            listed / before
            if whole
            else work.hours / manifest.hours_of_video
            if manifest.hours_of_video
            else 0
        )
        size += float(entry.get("bytes", 0)) * grows
    return int(size)
