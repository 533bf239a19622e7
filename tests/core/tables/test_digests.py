"""Which settings cost a library its scores, and which give the refused another chance."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.core.geometry import FrameBudget
from tasks.core.settings import Settings
from tasks.core.tables.digests import Digests

BUDGET = FrameBudget(max_pixels=90_000, min_pixels=50_000, multiple_of=28)
MODEL = ["sha256:0123"]


def digests(*, model: list[str] = MODEL, head: str | None = None, code: str = "1", **groups: Any) -> Digests:
    settings = Settings.model_validate({"source": "videos", "output": "rankings", **groups})
    return Digests.of(settings, BUDGET, fast_model=model, head=head, code_version=code)


@pytest.mark.parametrize(
    ("change", "scores_anew", "refuses_anew", "sees_anew"),
    [
        ({"source": "elsewhere", "output": "elsewhere"}, False, False, False),
        ({"ranking": {"top_n": 3}, "deep": {"prompt": "Is it funny?"}}, False, False, False),
        ({"limits": {"scratch_dir": "/scratch", "max_failed_fraction": 0.1}}, False, False, False),
        ({"fast": {"batch_size": 4}}, False, False, False),
        ({"limits": {"max_file_gb": 20}}, False, True, False),
        ({"engine": {"workers": 5}}, False, True, False),
        (
            {"speech": {"enabled": False}},
            False,
            True,
            False,
        ),  # sound takes a part of a video's share of scratch
        ({"code": "2"}, False, True, False),
        ({"model": ["abc", "owner/name"]}, True, False, True),
        ({"head": "sha256:4567"}, True, False, False),
        ({"windows": {"stride_seconds": 2}}, True, True, True),
    ],
    ids=str,
)
def test_what_decides(change: dict[str, Any], scores_anew: bool, refuses_anew: bool, sees_anew: bool) -> None:
    before, after = digests(), digests(**change)
    assert (after.scoring != before.scoring) is scores_anew
    assert (after.rejecting != before.rejecting) is refuses_anew
    assert (after.embedding != before.embedding) is sees_anew
    assert after.frame_budget == before.frame_budget == "50000-90000/28/0"


def test_by_salience_embeddings_and_scores_have_one_digest() -> None:
    """So that it is known of what versions have stored that had no digest of embeddings."""
    assert digests().embedding == digests().scoring == digests(head="sha256:4567").embedding
