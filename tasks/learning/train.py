"""Fit a head of the fast score on what the deep model said in earlier nights; promote it if it is better."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from tasks.adapters.models.head import Head, find_head, keep_head, kept_heads, promote
from tasks.adapters.storage import Store
from tasks.adapters.storage.nights import JUDGE, Nights, find_nights, judge_of
from tasks.core.amounts import number_of
from tasks.core.errors import SettingsError
from tasks.core.learning.promotion import Exam, Score, compared_in_words, exam, is_held_out
from tasks.core.learning.ridge import Fitted, Ridge
from tasks.core.learning.videos import ScoredVideoRows
from tasks.core.manifest import Manifest
from tasks.core.scoring.fast_scores import salience

MIN_JUDGED = 5
"""Judged windows without which a video says too little about what is better in it."""

MIN_FITTED, MIN_HELD_OUT, MIN_WINDOWS = 40, 20, 1000
"""What a head is fitted on at least. Below 40 videos one is worse than salience."""

MIN_SPREAD = 1.0
"""Standard deviation in a video that the judge's scores have at least: a constant one teaches nothing."""

BETWEEN_ATTEMPTS = timedelta(days=6, hours=12)
"""At most one head a week may take over: of ten that are no better, one would pass by luck. (A weekly
schedule does not begin to the second, nor to the hour where the clocks go forward.)"""

Promote = Literal["auto", "never", "always"]


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted head: its id, its place, its card, and why it was not promoted; `kept` is empty if it was."""

    head: str
    uri: str
    card: str
    fitted: Fitted
    exam: Exam
    champion: str
    kept: Sequence[str]


@dataclass(slots=True)
class _Taught:
    """What the nights teach: sums of the videos to fit on, and the held-out videos themselves."""

    ridge: Ridge | None = None
    held_out: list[ScoredVideoRows] | None = None
    windows: int = 0
    spread: float = 0.0
    digest: Any = None


def train(store: Store, *, since: str = "", promote_it: Promote = "auto") -> Trained:
    """Fit a head on the nights under an output, compare it with what scores now, and keep it under heads/.

    Raises:
        SettingsError: the nights teach too little, or of several models; it says how much is missing.
        StorageError: there is no complete run, or the output cannot be read or written.
    """
    nights = find_nights(store, since=since)
    models = same_models(nights)
    asked = [run for run in nights.runs if run.models.get("videollama3")]
    if not asked:
        raise SettingsError(
            "No run had a deep model, whose answers teach a head: rank with --deep.enabled=true"
        )
    nights = replace(nights, runs=asked)
    began = datetime.now(UTC)
    taught = collect(nights)
    ridge, held_out = taught.ridge, taught.held_out or []
    check_enough(taught, nights)
    assert ridge is not None
    fitted = ridge.fit()
    if not np.isfinite(fitted.weight).all() or not fitted.weight.any():
        raise SettingsError("The fit gave no head: the embeddings of the judged windows do not differ")
    head = Head("", "ridge-centred", fitted.weight, 0.0)
    champion = find_head("latest", store.uri)
    if champion and champion.fitted_on not in ("", models["videomae_revision"]):
        champion = None  # of other embeddings: it cannot score these
    compared = exam(held_out, champion=score_of(champion), challenger=score_of(head))
    name = f"{began:%Y%m%dT%H%M%SZ}-{head.revision.removeprefix('sha256:')[:6]}"
    kept = reasons(store, compared, began, promote_it)
    about = {
        **models,
        "runs": [run.run_id for run in nights.runs if run.run_id not in nights.gone],
        "rows": fitted.rows,
        "videos": fitted.videos,
        "held_out_videos": len(held_out),
        "held_out": "sha256(etag) % 5 == 0",
        "alpha": fitted.alpha,
        "r2_by_video": round(fitted.r2, 6),
        "compared_with": champion.revision if champion else "salience",
        **gain_of(compared),
        "training_table": taught.digest.hexdigest(),
        "code_version": version("hookline"),
    }
    text = card(about)
    uri = keep_head(store, name, head, about, text)
    if not kept:
        because = "it was better on held-out videos" if promote_it == "auto" else "somebody said so"
        promote(store, name, head.revision, because=because)
    return Trained(name, uri, text, fitted, compared, str(about["compared_with"]), kept)


def same_models(nights: Nights) -> dict[str, str | None]:
    """The fast model and the judge of all nights.

    Raises:
        SettingsError: no night kept what is needed, or they had several; it names them.
    """
    if not nights.runs:
        raise SettingsError(
            "No run here kept what the deep model said of each candidate: rank with this "
            "version first, the newest at least with --select.rescore=true"
        )
    judging = [run for run in nights.runs if run.models.get("videollama3")] or nights.runs
    told = [{"videomae_revision": run.models.get("videomae_revision"), **judge_of(run)} for run in judging]
    for name in told[0]:
        by_value: dict[object, list[Manifest]] = {}
        for run, of_run in zip(judging, told, strict=True):
            by_value.setdefault(of_run[name], []).append(run)
        if len(by_value) > 1:
            found = "; ".join(f"{value} up to {runs[-1].run_id}" for value, runs in by_value.items())
            raise SettingsError(
                f"The nights have several {name}, which teach different things: {found}. Fit on the newer "
                "ones alone with --since and the first of their run ids"
            )
    return {name: judging[-1].models.get(name) for name in ("videomae", "videomae_revision", *JUDGE)}


def collect(nights: Nights) -> _Taught:
    """Go through the nights once.

    Raises:
        SettingsError: embeddings of several lengths, or with values that are no numbers.
    """
    taught, spreads = _Taught(held_out=[], digest=hashlib.sha256()), []
    for video in nights.videos(features=True):
        which = video.judged
        if video.features is None or which.sum() < MIN_JUDGED:
            continue
        embeddings = video.features.embeddings
        if not np.isfinite(embeddings).all():
            raise SettingsError(
                f"The embeddings of {video.uri} in run {video.run_id} have values that are no numbers: "
                "rank that video again (--select.rescore=true), or leave the run out (--since)"
            )
        taught.ridge = taught.ridge or Ridge(embeddings.shape[1])
        if embeddings.shape[1] != taught.ridge.dimensions:
            raise SettingsError(
                f"Embeddings have {embeddings.shape[1]} numbers in run {video.run_id}, and "
                f"{taught.ridge.dimensions} in later ones: fit on the later ones alone (--since)"
            )
        taught.windows += int(which.sum())
        spreads.append(float(video.deep[which].std()))
        for part in (embeddings[which], video.deep[which], video.probability[which]):
            taught.digest.update(np.ascontiguousarray(part).tobytes())
        if is_held_out(video.etag):
            half = replace(video.features, embeddings=embeddings.astype(np.float16))
            taught.held_out.append(replace(video, features=half))  # type: ignore[union-attr]
        else:
            taught.ridge.add(video)
    taught.spread = float(np.mean(spreads)) if spreads else 0.0
    return taught


def check_enough(taught: _Taught, nights: Nights) -> None:
    """Check that the nights teach enough.

    Raises:
        SettingsError: they do not; it says what there is, and what is needed.
    """
    fitted, held_out = taught.ridge.videos if taught.ridge else 0, len(taught.held_out or [])
    counted = (
        (fitted, MIN_FITTED, "video", f" to fit on, with {MIN_JUDGED} judged windows or more"),
        (held_out, MIN_HELD_OUT, "video", " to compare it on (every fifth is held out)"),
        (taught.windows, MIN_WINDOWS, "judged window", ""),
    )
    missing = [
        f"{number_of(there, what)}{which}, {least:,} are needed"
        for there, least, what, which in counted
        if there < least
    ]
    if missing:
        runs = number_of(len(nights.runs), "run")
        few = fitted < MIN_FITTED or held_out < MIN_HELD_OUT
        in_all = ", about 130 videos in all, and 350 before a head is promoted" if few else ""
        raise SettingsError(
            f"Too little to learn from in {runs}: {'; '.join(missing)}. Rank more videos with the deep "
            f"stage{in_all}; until then salience is the better score"
        )
    if taught.spread < MIN_SPREAD:
        raise SettingsError(
            f"The judge's scores of a video spread by {taught.spread:.2f} points, {MIN_SPREAD:g} are needed: "
            "it says nearly the same of everything, as an untrained model does"
        )


def score_of(head: Head | None) -> Score:
    """The fast score that a head gives the windows of a video; without one, salience."""

    def score(video: ScoredVideoRows) -> np.ndarray[Any, np.dtype[np.float64]]:
        if head is None and video.salience is not None:
            return video.salience
        assert video.features is not None
        features = replace(video.features, embeddings=video.features.embeddings.astype(np.float32))
        return np.array(head(features) if head else salience(features), float)

    return score


def reasons(store: Store, compared: Exam, now: datetime, wanted: Promote) -> list[str]:
    """Why a head is not promoted; empty if it is."""
    if wanted == "always":
        return []
    if wanted == "never":
        return ["it was not to be promoted (--promote never)"]
    why = list(compared.verdict)
    last = max(kept_heads(store), default="")
    if last and (tried := datetime.strptime(last[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)) > (
        now - BETWEEN_ATTEMPTS
    ):
        why.append(
            f"a head was tried on {tried:%Y-%m-%d}, and one a week may take over: of many that are no "
            "better, one would pass by luck"
        )
    return why


def gain_of(compared: Exam) -> dict[str, float | int | None]:
    """What the exam found, for the record of a head."""
    found, audits = compared.candidates, compared.audits
    numbers = {"gain": found.value, "gain_at_least": found.low, "gain_with_audits": audits.value}
    rounded = {name: None if value is None else round(value, 6) for name, value in numbers.items()}
    return {**rounded, "compared_on_videos": found.videos}


def card(about: dict[str, Any]) -> str:
    """What a head is, in sentences."""
    return "\n".join(_card(about)) + "\n"


def _card(about: dict[str, Any]) -> Iterator[str]:
    yield "# A head of the fast score\n"
    yield (
        f"It orders the windows of a video as {about['videollama3']} would, as far as embeddings of "
        f"{about['videomae']} show it: ridge regression within videos on the expected scores of "
        f"{number_of(about['rows'], 'judged window')} of {number_of(about['videos'], 'video')}, penalty "
        f"{about['alpha']:g}. The score is the percentile within the video."
    )
    if (gain := about["gain"]) is not None:
        videos, champion = about["compared_on_videos"], about["compared_with"]
        found = compared_in_words(gain, about["gain_at_least"], videos=videos, champion=champion)
        yield f"\n{found}."
    yield (
        "\nNot known: whether the judge is right; how the head does on videos of another kind, with another "
        "VideoMAE, or with another question to the judge."
    )
