"""Digests of the settings and models that decide about a video: with equal digests, the outcome is equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tasks.core.geometry import FrameBudget
from tasks.core.settings import Settings

SCORES_VERSION = "4"
"""Part of the digest of scores: raise it when decoding or the fast stage changes the scores."""


@dataclass(frozen=True, slots=True)
class Digests:
    """`scoring` covers what decides the scores of a video's windows, `rejecting` what decides a refusal.

    `embedding` covers what decides the embeddings of the windows: all of `scoring` but the head, so that by
    salience both are equal. None in what earlier versions stored. `frame_budget`, the size to which frames
    are decoded, counts for all.
    """

    scoring: str
    rejecting: str
    frame_budget: str
    embedding: str | None = None

    @classmethod
    def of(
        cls,
        settings: Settings,
        budget: FrameBudget,
        *,
        fast_model: Sequence[str],
        head: str | None,
        code_version: str,
    ) -> Digests:
        """`fast_model` tells the weights apart, `head` the contents of score heads.

        Another version of the code may accept what this one refuses; its scores are the same as long
        as `SCORES_VERSION` is.
        """
        windows = settings.windows.model_dump(mode="json")
        limits = settings.limits.model_dump(mode="json", exclude={"scratch_dir", "max_failed_fraction"})
        # Workers share the scratch space: the more there are, the smaller a video must be. So does its sound.
        share = [settings.engine.workers, *(["sound"] if settings.speech.enabled else [])]
        return cls(
            scoring=_digest([SCORES_VERSION, windows, fast_model, head]),
            rejecting=_digest([code_version, windows, limits, *share]),
            frame_budget="{min_pixels}-{max_pixels}/{multiple_of}/{segment_pixels}".format(**asdict(budget)),
            embedding=_digest([SCORES_VERSION, windows, fast_model, None]),
        )


def _digest(deciding: object) -> str:
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:12]
