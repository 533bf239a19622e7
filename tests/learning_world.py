"""A made-up library whose truth is known: videos, a judge, and what the nights would have left of them.

A second of video has a hidden state: a part that its video has, and parts that drift on several time scales.
An embedding is the window's mean state, turned into as many numbers as wanted. How good a window is within
its video is 30 % linear in what the embedding shows, 15 % a product of two parts, 8 % what salience sees, and
47 % cannot be seen in it at all. The judge has a bias by video, and noise that neighbouring windows share.
Directions carry over to real libraries, levels do not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from prefect.logging import disable_run_logger

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.models.head import Head
from tasks.core.learning.audit import judged
from tasks.core.learning.videos import rows_by_video
from tasks.core.manifest import Manifest
from tasks.core.records import Analysis, Answer, RankedVideo, Timeline, VideoRef, Window, WindowFeatures
from tasks.core.tables.parquet_options import write_options
from tasks.core.tables.rows import windows_table
from tasks.core.tables.schemas import table_name, windows_schema
from tasks.rank import rank_video
from tasks.score import score_video
from tasks.work.analyses import Analyses
from tasks.work.spec import RunSpec
from tests.spec import NO_MODEL, make_spec

SECONDS, STRIDE, STATES = 59, 3, 96
LINEAR, PRODUCT, SALIENT, HIDDEN = 0.30, 0.15, 0.08, 0.47

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MadeVideo:
    """`starts` in seconds, float32 `embeddings` and `change` of the windows, what the judge says of each."""

    seconds: int
    starts: npt.NDArray[np.int64]
    embeddings: npt.NDArray[np.float32]
    change: npt.NDArray[np.float32]
    judged: Floats
    worth: Floats


class World:
    """Videos one by one; the same seed makes the same."""

    def __init__(self, *, seed: int = 11, dimensions: int = 768, median_minutes: float = 11.0) -> None:
        rng = np.random.default_rng(99)
        self.seed, self.median = seed, median_minutes
        self.turn, _ = np.linalg.qr(rng.standard_normal((max(dimensions, STATES), STATES)))
        self.turn = self.turn[:dimensions]
        self.spectrum = np.arange(1, STATES + 1) ** -0.5
        self.offset = rng.standard_normal(dimensions) * 0.5
        self.scales = rng.choice([8.0, 20.0, 60.0, 180.0], size=STATES)
        self.good, self.bias = (v / np.linalg.norm(v) for v in rng.standard_normal((2, STATES)))

    def videos(self, count: int, *, first: int = 0) -> Iterator[MadeVideo]:
        for number in range(first, first + count):
            yield self.video(np.random.default_rng([self.seed, number]))

    def video(self, rng: np.random.Generator) -> MadeVideo:
        minutes = np.clip(np.exp(rng.normal(np.log(self.median), 0.55)), 3, 60)
        seconds = int(minutes * 60)
        own, drift = rng.standard_normal(STATES) * 1.6, drifting(rng, seconds, self.scales)
        starts = np.unique(np.append(np.arange(0, seconds - SECONDS + 1, STRIDE), seconds - SECONDS))
        state = means(drift, starts)
        embeddings = ((own + state) * self.spectrum) @ self.turn.T + self.offset
        embeddings += rng.standard_normal(embeddings.shape) * 0.01
        change = means(np.abs(np.diff(drift, axis=0, prepend=drift[:1])).mean(1), starts)
        mean = embeddings.mean(0)
        norms = np.linalg.norm(embeddings, axis=1) * np.linalg.norm(mean)
        salient = standard(1 - embeddings @ mean / norms) + standard(change)
        hidden = means(drifting(rng, seconds, np.array([45.0]))[:, 0], starts)
        hidden += 0.5 * means(drifting(rng, seconds, np.array([6.0]))[:, 0], starts, seconds=3)
        product = means(drift[:, 5] * drift[:, 11], starts) + state[:, 2] * state[:, 7]
        parts = (state @ self.good / 0.55, product / 0.45, salient / 1.4, hidden / 0.75)
        within = sum(np.sqrt(share) * part for share, part in zip(SHARES, parts, strict=True))
        worth = 0.8 * (0.6 * own / 1.6 @ self.good + 0.8 * rng.standard_normal()) + within
        noise = 0.8 * means(drifting(rng, seconds, np.array([30.0]))[:, 0], starts) / 0.65
        noise += 0.6 * rng.standard_normal(len(starts))
        mood = 0.8 * (0.7 * own / 1.6 @ self.bias + 0.7 * rng.standard_normal())
        judged = np.clip(46 + 9 * (worth + mood + 0.9 * noise), 0, 100)
        return MadeVideo(
            seconds, starts, embeddings.astype(np.float32), change.astype(np.float32), judged, worth
        )


SHARES = (LINEAR, PRODUCT, SALIENT, HIDDEN)


def drifting(rng: np.random.Generator, seconds: int, scales: Floats) -> Floats:
    """Ornstein-Uhlenbeck processes of unit variance, one a column, sampled each second."""
    keep = np.exp(-1 / scales)
    noise = rng.standard_normal((seconds + 200, len(scales))) * np.sqrt(1 - keep**2)
    for before, now in pairwise(noise):
        now += keep * before
    return noise[200:]


def means(values: Floats, starts: npt.NDArray[np.int64], *, seconds: int = SECONDS) -> Floats:
    """The mean of each window."""
    total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, 0)])
    return np.asarray((total[starts + seconds] - total[starts]) / seconds)


def standard(values: Floats) -> Floats:
    return np.asarray((values - values.mean()) / (values.std() or 1))


JUDGE = Checkpoint(Path("/nowhere"), "made-up/judge", "1")
FIRST_NIGHT = datetime(2026, 1, 5, tzinfo=UTC)


def night_of(spec: RunSpec, number: int) -> RunSpec:
    """The run of a night: its id is of that day."""
    began = FIRST_NIGHT + timedelta(days=number)
    return replace(spec, run_id=f"{began:%Y%m%dT%H%M%SZ}-{number:06x}", started_at=began)


def ranked(
    made: MadeVideo, name: str, spec: RunSpec, *, audited: bool = True, analysed: Collection[Window] = ()
) -> RankedVideo:
    """A video as a run with this head and these settings leaves it: the judge saw candidates and audits.

    `analysed` are windows that it had seen before.
    """
    ref = VideoRef(f"s3://world/{name}.mp4", f"etag {name}", 1)
    timeline = Timeline(ref, "", made.seconds, 1, 28, 28, float(made.seconds), "pyav")
    windows = [Window(int(start), int(start) + SECONDS) for start in made.starts]
    features = WindowFeatures(made.embeddings, made.change)
    drawn = {ref.key} if audited else ()
    scored = score_video(timeline, [windows], [features], spec, audited=drawn, analysed=analysed)
    said = dict(zip(windows, made.judged, strict=True))
    answers = {item.window: answered(float(said[item.window])) for item in judged(scored)}
    return rank_video(scored, Analyses(answers), spec.settings.ranking)


def answered(score: float) -> Analysis:
    return Analysis.ok(Answer(round(score), 50, 50, (), (), "", ""), expected_score=score)


def world_spec(output: object, *, head: Head | None = None, **groups: object) -> RunSpec:
    spec = make_spec("s3://world", output, fast=NO_MODEL, **groups)
    return replace(spec, deep=JUDGE, head=head)


def publish_night(videos: Sequence[RankedVideo], spec: RunSpec, output: Path) -> str:
    """Write the windows and the manifest of a night, as `publish` does; returns the id of the run."""
    dimensions = videos[0].scored.embeddings.shape[1]
    table = windows_table(videos, spec.stamp, dimensions=dimensions)
    keep_night(table, spec, output, models=dict(spec.stamp.models))
    return spec.run_id


def keep_night(table: pa.Table, spec: RunSpec, output: Path, *, models: dict[str, str | None]) -> None:
    """The files of a night of which windows are made up."""
    path = output / table_name("windows", run_date=spec.run_date, run_id=spec.run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **write_options(table))
    manifest = Manifest(
        run_id=spec.run_id,
        run_date=spec.run_date,
        state="Completed",
        models=models,
        settings=spec.settings.model_dump(mode="json"),
    )
    (output / "runs").mkdir(exist_ok=True)
    (output / "runs" / f"{spec.run_id}.json").write_text(manifest.model_dump_json())


def publish_nights(
    output: Path,
    world: World,
    *,
    nights: int,
    videos: int,
    head: Head | None = None,
    first: int = 0,
    audited: bool = True,
) -> list[list[MadeVideo]]:
    """Nights of so many new videos each; returns what they were made from."""
    made = []
    with disable_run_logger():
        for night in range(first, first + nights):
            spec = night_of(world_spec(output, head=head), night)
            new = list(world.videos(videos, first=night * videos))
            names = [f"{night:03}-{n:05}" for n in range(videos)]
            left = [ranked(each, name, spec, audited=audited) for each, name in zip(new, names, strict=True)]
            publish_night(left, spec, output)
            made.append(new)
    return made


def publish_plain_night(
    output: Path,
    *,
    videos: int,
    number: int = 0,
    learnable: float = 1.0,
    windows: int = 20,
    judged: int = 20,
    audits: int = 0,
    dimensions: int = 8,
    **models: str | None,
) -> str:
    """A night without a world, in no time: the judge's score is as much in the embedding as wanted.

    The first `judged` windows are candidates, the next `audits` were drawn of the others, and the fast score
    is worth nothing. `models` are those of the manifest.
    """
    rng = np.random.default_rng([number, videos])
    spec = night_of(world_spec(output), number)
    shape = (videos, windows)
    embedding = rng.standard_normal((*shape, dimensions)) + 5 * rng.standard_normal((videos, 1, dimensions))
    within = embedding[..., 0] - embedding[..., 0].mean(1, keepdims=True)
    noise = rng.standard_normal(shape) + rng.standard_normal((videos, 1))
    deep = np.clip(50 + 8 * (learnable * within + noise), 0, 100).ravel()
    chosen = np.tile(np.arange(windows) < judged, videos)
    audited = np.tile(np.arange(windows) < judged + audits, videos) & ~chosen
    answered = chosen | audited
    start = np.tile(3.0 * np.arange(windows), videos)
    names = [f"{number:03}-{n:05}" for n in range(videos) for _ in range(windows)]
    columns = {
        "run_id": [spec.run_id] * len(start),
        "video_uri": [f"s3://world/{name}.mp4" for name in names],
        "video_etag": [f"etag {name}" for name in names],
        "start": start,
        "end": start + SECONDS,
        "videomae_score": rng.integers(0, 101, len(start)),
        "fast_kind": ["head_percentile" if models.get("head_revision") else "salience"] * len(start),
        "embedding": pa.FixedSizeListArray.from_arrays(
            pa.array(embedding.astype(np.float16).astype(np.float32).ravel()), dimensions
        ),
        "is_candidate": chosen,
        "change": rng.random(len(start), dtype=np.float32),
        "score": pa.array(deep.astype(int), mask=~chosen),
        "deep_score": pa.array(deep.astype(int), mask=~answered),
        "deep_expected_score": pa.array(deep, mask=~answered),
        "pack_rank": np.tile(1 + np.arange(windows), videos),
        "audited": audited,
        "audit_probability": pa.array(np.where(chosen, 1, audits / max(windows - judged, 1)), mask=~answered),
    }
    schema = windows_schema(dimensions)
    empty = {name: pa.nulls(len(start), schema.field(name).type) for name in schema.names}
    table = pa.table({name: columns.get(name, empty[name]) for name in schema.names}).cast(schema)
    keep_night(table, spec, output, models=dict(spec.stamp.models) | models)
    return spec.run_id


def recall_of(head: Head | None, videos: Sequence[MadeVideo]) -> tuple[float, float]:
    """Of the judge's best 15 windows of a packing, the share among its candidates, by a head or by salience;
    and that of a choice by chance. The mean over the videos that are cut."""
    spec, shares, chances = world_spec("nowhere", head=head), [], []
    with disable_run_logger():
        for number, made in enumerate(videos):
            scored = ranked(made, str(number), spec, audited=False).scored
            places = np.array([item.pack_rank or 0 for item in scored.windows])
            packed = np.flatnonzero(places)
            count = len(scored.candidates)
            if len(packed) > count:
                best = packed[np.argsort(-made.judged[packed], kind="stable")[:15]]
                shares.append(float((places[best] <= count).mean()))
                chances.append(count / len(packed))
    return float(np.mean(shares)), float(np.mean(chances))


@dataclass(frozen=True, slots=True)
class TakenOver:
    """Of the candidates of a head, the share that the judge has not seen, and what it says of the best 15.

    Both where what it has seen stands in for others, and where nothing does: `alone`.
    """

    new: float
    new_alone: float
    best: float
    best_alone: float


def taken_over(heads: Sequence[Head | None], videos: Sequence[MadeVideo]) -> TakenOver:
    """What the last of these heads finds, where the judge has seen what those before it chose."""
    found = []
    with disable_run_logger():
        for number, made in enumerate(videos):
            seen, said = frozenset[Window](), dict(zip(made.starts.tolist(), made.judged, strict=True))
            for head in heads[:-1]:
                spec = world_spec("nowhere", head=head)
                before = ranked(made, str(number), spec, analysed=seen).scored
                seen |= {item.window for item in judged(before)}
            spec = world_spec("nowhere", head=heads[-1])
            for known in (seen, ()):
                now = ranked(made, str(number), spec, audited=False, analysed=known).scored.candidates
                best = sorted(said[item.window.start] for item in now)[-15:]
                found += [sum(item.window not in seen for item in now) / len(now), np.mean(best)]
    new, best, new_alone, best_alone = np.reshape(found, (-1, 4)).mean(0).tolist()
    return TakenOver(new, new_alone, best, best_alone)


def reaching_the_bar(output: Path, nights: Sequence[Sequence[MadeVideo]]) -> dict[str, tuple[int, int]]:
    """How many windows reach the ranking's own bar if the judge sees all: candidates, and all; by run.

    Of the videos that tell anything of it, as some of their windows were audited.
    """
    found = {}
    for path, made in zip(sorted(output.glob("windows/*/*.parquet")), nights, strict=True):
        candidates, every = 0, 0
        videos = rows_by_video(pq.ParquetFile(path).read(), run_id=path.stem, top_n=15)
        for rows, truth in zip(videos, made, strict=True):
            if rows.audited.any():
                bar = np.sort(truth.judged[rows.is_candidate])[-15]
                candidates += 15
                every += int((truth.judged[rows.in_packing] >= bar).sum())
        found[path.stem] = candidates, every
    return found
