"""Tune VideoLLaMA3 on labels: ask it about labelled windows, train an adapter, ask once more."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from tasks.adapters.models.checkpoints import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Checkpoint, resolve_adapter
from tasks.adapters.models.tuning.lessons import Job, Lesson
from tasks.adapters.models.tuning.process import tune_in_processes
from tasks.adapters.storage import Store
from tasks.adapters.storage.labelled import labelled_windows
from tasks.adapters.storage.published import newest_manifest
from tasks.adapters.storage.scratch import run_folder
from tasks.adapters.workers.processes import Workers
from tasks.core.amounts import number_of
from tasks.core.errors import ModelError, SettingsError, StorageError
from tasks.core.learning.promotion import is_held_out
from tasks.core.learning.tuning import (
    Judged,
    LabelledWindow,
    TuningExam,
    missing,
    tuning_exam,
    wanted_scores,
)
from tasks.core.manifest import Manifest
from tasks.core.records import Analysis, Failure, Stage, Timeline, Window
from tasks.core.scoring.windows import sample_ticks
from tasks.core.settings import Settings
from tasks.core.settings.wrong import what_is_wrong
from tasks.run.run import find_deep, find_workers
from tasks.work.analyses import cache_keys, cache_of_run, cached_analyses, quotes, seen_windows
from tasks.work.hearing import keep_heard
from tasks.work.models import find_backend, new_analyses
from tasks.work.opening import close_timeline, frames_of, open_video
from tasks.work.spec import RunSpec
from tasks.work.transcripts import with_own_words

EPOCHS, LEARNING_RATE = 3, 1e-4

UNFINISHED = "adapters/unfinished"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """A labelled window as the deep model sees it: its ticks, what it is told that is said, its answer.

    The frames of its video that are wanted lie in a file, one for each of `frame_ticks`; empty if none are.
    """

    timeline: Timeline
    ticks: Window
    said: str
    analysis: Analysis
    frames: str
    frame_ticks: tuple[int, ...]


Views = dict[LabelledWindow, Seen]


@dataclass(frozen=True, slots=True)
class Tuned:
    """An adapter that was trained: its id, its place, its card, and what the exam found."""

    adapter: str
    uri: str
    card: str
    exam: TuningExam


def tune(store: Store, *, epochs: int = EPOCHS, learning_rate: float = LEARNING_RATE, say: Say) -> Tuned:
    """Train an adapter on the labels under an output, examine it, and keep it under adapters/.

    It goes on where an earlier try with the same labels and settings has come to. `say` gets its progress.

    Raises:
        SettingsError: there are too few labels (it says how many are missing), or peft is not installed.
        ModelError: the model cannot be had, or tuning failed.
        StorageError: there is no complete run, or the output cannot be read or written.
    """
    manifest = newest_manifest(store)
    labels = enough_labels(store, manifest)
    if find_spec("peft") is None:
        raise SettingsError("To tune takes peft: pip install 'hookline[train]'")
    settings = settings_of(manifest, store)
    run_id = f"tune-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}"
    with run_folder(settings.limits.scratch_dir, run_id) as scratch:
        spec = spec_of(manifest, settings, run_id)
        held_out = [label for label in labels if is_held_out(label.video.etag)]
        taught = number_of(len(labels) - len(held_out), "label")
        say(f"{taught} to teach, {len(held_out)} of held-out videos to examine")
        before = see(labels, spec, scratch, say)
        job = job_of(before, spec, scratch, epochs=epochs, learning_rate=learning_rate)
        tune_in_processes(job, say)
        say("examining the tuned model on the held-out videos")
        adapter = resolve_adapter(str(scratch / "adapter"))
        after = see(held_out, replace(spec, deep=replace(job.checkpoint, adapter=adapter)), scratch, say)
        exam = tuning_exam(list(judged(before, after)))
        about, name = record_of(job, exam, spec), id_of(adapter)
        uri = keep(store, name, adapter, about, card(about, exam))
    for left in store.names(UNFINISHED):
        store.remove(left)
    return Tuned(name, uri, card(about, exam), exam)


def enough_labels(store: Store, manifest: Manifest) -> list[LabelledWindow]:
    """The labelled windows that the newest run knows.

    Raises:
        SettingsError: there are too few; it says how many there are, and are needed.
    """
    labels, lost = labelled_windows(store, manifest)
    if too_few := missing(labels):
        others = f" {lost} other labels are of videos or windows that the newest run does not know." * bool(
            lost
        )
        raise SettingsError(
            f"Too few labels to tune on: {'; '.join(too_few)}.{others} Bring back more verdicts with "
            "hookline labels: of ranked segments, and of others that nobody would publish"
        )
    return labels


def settings_of(manifest: Manifest, store: Store) -> Settings:
    """The settings of the newest run, on this machine, and with VideoLLaMA3 as it was before any tuning.

    Raises:
        SettingsError: another version of Hookline wrote them.
    """
    told: dict[str, Any] = {**manifest.settings, "output": store.uri}
    told["deep"] = {**told.get("deep", {}), "enabled": True, "adapter": "", "quantization": "none"}
    told["engine"] = {**told.get("engine", {}), "runner": "process", "dask_address": ""}
    try:
        return Settings.model_validate(told)
    except ValidationError as error:
        raise SettingsError(
            f"The settings of the newest run {manifest.run_id} are of another version: rank once more with "
            f"this one ({what_is_wrong(error)})"
        ) from error


def spec_of(manifest: Manifest, settings: Settings, run_id: str) -> RunSpec:
    """A run that asks the deep model what the newest one asked, and has no other model.

    Raises:
        ModelError: VideoLLaMA3 cannot be had.
    """
    deep, budget = find_deep(settings)
    if isinstance(deep, Analysis):
        raise ModelError(str(deep.detail), reason=str(deep.reason))
    models, speech = manifest.models, settings.speech
    fast = Checkpoint(Path(), settings.fast.model, models.get("videomae_revision") or "")
    # Not needed here, but what it wrote down is quoted.
    whisper = Checkpoint(Path(), speech.model, models.get("whisper_revision") or "")
    listens = speech.enabled and speech.transcribe
    began = datetime.now(UTC)
    return RunSpec(run_id, began, settings, fast, deep, None, budget, whisper=whisper if listens else None)


def see(labels: Sequence[LabelledWindow], spec: RunSpec, scratch: Path, say: Say) -> Views:
    """What the deep model says of labelled windows: known from before, or asked now as a run would."""
    by_video: dict[str, list[LabelledWindow]] = {}
    for label in labels:
        by_video.setdefault(label.video.uri, []).append(label)
    views: Views = {}
    began_s, workers = time.monotonic(), find_workers(spec.settings)
    with closing(workers):
        spec = replace(spec, deep_backend=workers.call(find_backend, spec.settings.engine.device))
        for number, of_video in enumerate(by_video.values(), start=1):
            try:
                opened = open_video(of_video[0].video, spec, scratch)
            except StorageError as error:
                opened = Failure.from_error(of_video[0].video, Stage.FETCH, error)
            if isinstance(opened, Failure):
                say(f"{opened.video.name} is left out: {opened.detail}")
                continue
            timeline = with_own_words(keep_heard(opened, spec), spec)
            try:
                views |= seen_in(timeline, of_video, workers, spec)
            finally:
                close_timeline(timeline)
            left_s = (time.monotonic() - began_s) / number * (len(by_video) - number)
            say(f"asked about {number} of {len(by_video)} videos, {timedelta(seconds=round(left_s))} left")
    return views


def seen_in(timeline: Timeline, labels: Sequence[LabelledWindow], workers: Workers, spec: RunSpec) -> Views:
    """The labelled windows of one video. Where it is to teach something, its frames are kept."""
    items = [label.item for label in labels]
    seen, said = seen_windows(items, timeline), quotes(items, timeline, spec)
    keys = cache_keys(sorted(set(seen.values())), timeline, spec, said=said)
    known = cached_analyses(keys, cache_of_run(spec))
    unknown = [window for window in keys if window not in known]
    work = (new_analyses, unknown, timeline.silent, said, spec.deep, spec)
    for made in workers.each(*work) if unknown else ():
        if isinstance(made, tuple):
            known[made[0]] = made[1]
    file, ticks = Path(timeline.path).parent.with_suffix(".npy"), tuple[int, ...]()
    if not is_held_out(timeline.video.etag):
        most = spec.settings.deep.max_frames
        shown = (sample_ticks(window, count=min(window.length, most)) for window in keys)
        ticks = tuple(sorted({tick for each in shown for tick in each}))
        np.save(file, frames_of(timeline, spec)(ticks))
    found = {label: seen[label.item.window] for label in labels}
    return {
        label: Seen(timeline, window, said.get(window, ""), known[window], str(file) if ticks else "", ticks)
        for label, window in found.items()
    }


def job_of(views: Views, spec: RunSpec, folder: Path, *, epochs: int, learning_rate: float) -> Job:
    """What the processes that tune are to do.

    Raises:
        ModelError: the model gave no answer about any window that is to teach something.
    """
    taught = [label for label, seen in views.items() if seen.frames and seen.analysis.answer]
    if not taught:
        why = {seen.analysis.detail for seen in views.values()} or {"no video can be opened"}
        raise ModelError(f"VideoLLaMA3 gave no answer about any labelled window: {why.pop()}")
    lessons = []
    for label, score in zip(taught, wanted_scores(taught), strict=True):
        seen, timeline = views[label], views[label].timeline
        assert seen.analysis.answer
        place = (
            timeline.video.key,
            seen.frames,
            seen.frame_ticks,
            seen.ticks,
            timeline.fps,
            timeline.n_ticks,
        )
        lessons.append(Lesson(*place, seen.said, seen.analysis.answer, score))
    assert isinstance(spec.deep, Checkpoint)
    deep, engine = spec.settings.deep, spec.settings.engine
    return Job(
        checkpoint=spec.deep,
        device=engine.device,
        gpus=engine.gpu_workers,
        prompt=deep.question,
        order=deep.answer_order,
        max_frames=deep.max_frames,
        max_new_tokens=deep.max_new_tokens,
        lessons=tuple(lessons),
        epochs=epochs,
        learning_rate=learning_rate,
        folder=folder,
        output=spec.settings.output,
    )


def judged(before: Views, after: Views) -> Iterator[Judged]:
    """The held-out windows that were answered about both times."""
    for label, seen in after.items():
        first = before[label].analysis.expected_score if label in before else None
        if first is not None and (then := seen.analysis.expected_score) is not None:
            yield Judged(label.video.uri, label.is_published, first, then)


def id_of(adapter: Checkpoint) -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{adapter.revision.removeprefix('sha256:')[:6]}"


def record_of(job: Job, exam: TuningExam, spec: RunSpec) -> dict[str, Any]:
    """What an adapter was made of, and what came of it."""
    numbers = {"auc_before": exam.before, "auc_after": exam.after}
    numbers |= {"gain": exam.gain.value, "gain_at_least": exam.gain.low}
    return {
        "videollama3": job.checkpoint.model,
        "videollama3_revision": job.checkpoint.revision,
        "prompt_hash": spec.stamp.models["prompt_hash"],
        "labels": len(job.lessons),
        "videos": len({lesson.video for lesson in job.lessons}),
        "epochs": job.epochs,
        "learning_rate": job.learning_rate,
        "trained_on": job.digest,
        "held_out": "sha256(etag) % 5 == 0",
        "held_out_labels": exam.windows,
        "held_out_videos": exam.gain.videos,
        **{name: None if value is None else round(value, 6) for name, value in numbers.items()},
        "code_version": spec.stamp.models["code_version"],
    }


def card(about: Mapping[str, Any], exam: TuningExam) -> str:
    """What an adapter is, in sentences."""
    taught = f"{number_of(about['labels'], 'label')} of {number_of(about['videos'], 'video')}"
    return (
        f"# An adapter of {about['videollama3']}\n\n"
        f"It was trained on {taught}, in {number_of(about['epochs'], 'epoch')}, to score what editors "
        "published above what they rejected. Only the overall score was taught.\n\n"
        f"{exam_in_words(exam)}\n\n"
        "Not known: how it does with another question, on videos of another kind, or for other editors. It "
        "belongs to this checkpoint and no other.\n"
    )


def exam_in_words(exam: TuningExam) -> str:
    """What the exam found, in a sentence."""
    better = "better than the model without any adapter"
    if exam.before is None or exam.after is None or exam.gain.value is None:
        return f"Nobody knows whether it is {better}: {exam.verdict}."
    videos = number_of(exam.gain.videos, "held-out video")
    found = (
        f"On {number_of(exam.windows, 'label')} of {videos}, AUC of verdicts {exam.after:.3f}, before "
        f"{exam.before:.3f}: {exam.gain.value:+.3f}"
    )
    return (
        f"{found}. Not shown to be {better}: {exam.verdict}." if exam.verdict else f"{found}. It is {better}."
    )


def keep(store: Store, name: str, adapter: Checkpoint, about: Mapping[str, Any], text: str) -> str:
    """Put an adapter into a folder of its own; its config last, without which it is none. Returns where.

    Raises:
        StorageError: the output cannot be written.
    """
    folder = f"adapters/{name}"
    store.publish(adapter.path / ADAPTER_WEIGHTS, f"{folder}/{ADAPTER_WEIGHTS}")
    store.write_bytes(f"{folder}/tuning.json", json.dumps(about, indent=1).encode())
    store.write_bytes(f"{folder}/card.md", text.encode())
    store.publish(adapter.path / ADAPTER_CONFIG, f"{folder}/{ADAPTER_CONFIG}")
    return f"{store.uri}/{folder}"
