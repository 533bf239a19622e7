"""Public data sets of moments, as their authors distribute them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hookline.labelling.curves import Curve
from hookline.labelling.given import Given, Videos
from hookline.labelling.tables import Floats, read_rows
from tasks.core.errors import SettingsError

CLIP_S = 2.0
"""How long a clip of QVHighlights is, to which annotators gave a score."""


def mrhisum(file: Path, videos: Videos) -> Given:
    """Mr. HiSum: `mr_hisum.h5`, how often each second is replayed; and `metadata.csv`, which names videos."""
    try:
        import h5py
    except ImportError as error:
        raise SettingsError(f"{file.name} takes h5py to read: pip install 'hookline[hdf5]'") from error
    metadata = file.with_name("metadata.csv")
    if not metadata.is_file():
        raise SettingsError(f"{file}: put metadata.csv of Mr. HiSum beside it, which names the videos")
    ids = {row["video_id"]: row["youtube_id"] for row in read_rows(metadata)}
    curves = []
    with h5py.File(file) as stored:
        for name, group in stored.items():
            scores = np.asarray(group["gtscore"], float).reshape(-1)
            second = np.arange(len(scores) + 1.0)
            curves.append(Curve(videos.uri(ids[name]), second[:-1], second[1:], scores))
    return Given(curves=curves)


def qvhighlights(file: Path, videos: Videos) -> Given:
    """QVHighlights, lines of JSON: the moments that a query is about, and how salient each of their clips is.

    A moment of any query counts as published; of several scores of a clip, the highest. Videos may be the
    annotated parts of 150 s (`<id>_<from>_<to>`), or what these are from.
    """
    moments: set[tuple[str, float, float]] = set()
    scores: dict[str, dict[float, float]] = {}
    for number, line in _lines(file):
        try:
            told = json.loads(line)
            uri, begins = _place(str(told["vid"]), videos)
            moments |= {(uri, begins + float(a), begins + float(b)) for a, b in told["relevant_windows"]}
            of_clips = np.zeros(int(told["duration"] / CLIP_S))
            of_clips[told["relevant_clip_ids"]] = np.mean(told["saliency_scores"], axis=1)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            why = f"no {error} (the test split has none)" if isinstance(error, KeyError) else str(error)
            raise SettingsError(f"{file.name}, line {number}: {why}") from error
        of_video = scores.setdefault(uri, {})
        for clip, score in enumerate(of_clips.tolist()):
            at = begins + CLIP_S * clip
            of_video[at] = max(score, of_video.get(at, 0.0))
    columns = ("video_uri", "start", "end")
    rows = [dict(zip(columns, moment, strict=True)) | {"verdict": "published"} for moment in sorted(moments)]
    return Given(rows, [_of_clips(uri, of_video) for uri, of_video in scores.items()])


def tvsum(file: Path, videos: Videos) -> Given:
    """TVSum, `ydata-tvsum50-anno.tsv`: a video, its category, and an annotator's score of each frame."""
    annotated: dict[str, list[Floats]] = {}
    for number, line in _lines(file):
        if len(parts := line.split("\t")) != 3:
            raise SettingsError(
                f"{file.name}, line {number}: TVSum has three columns with tabs between them (the video, its "
                f"category, the scores), this line has {len(parts)}"
            )
        try:
            name, _, scores = parts
            annotated.setdefault(name, []).append(np.array(scores.split(","), float))
        except ValueError as error:
            raise SettingsError(f"{file.name}, line {number}: {error}") from error
    curves = []
    for name, of_annotators in annotated.items():
        uri, values = videos.uri(name), np.mean(of_annotators, axis=0)
        at = np.linspace(0, videos.duration_s.get(uri, len(values)), len(values) + 1)
        curves.append(Curve(uri, at[:-1], at[1:], values))
    return Given(curves=curves)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
    return ((number, line) for number, line in lines if line.strip())


def _place(vid: str, videos: Videos) -> tuple[str, float]:
    """The video that a part is, or is from, and the second with which the part begins in it."""
    if vid not in videos and vid[:11] in videos:
        return videos.uri(vid[:11]), float(vid[12:].partition("_")[0])
    return videos.uri(vid), 0.0


def _of_clips(uri: str, scores: dict[float, float]) -> Curve:
    start = np.array(sorted(scores))
    end = np.minimum(start + CLIP_S, np.append(start[1:], np.inf))  # parts of a video may overlap
    return Curve(uri, start, end, np.array([scores[at] for at in start.tolist()]))
