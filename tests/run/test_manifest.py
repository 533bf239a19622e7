"""`latest.json` names the newest complete run, in whatever order runs end."""

from __future__ import annotations

import json

import pytest

from tasks.run.manifest import newer_pointer

EARLIER, RUN, LATER = "20260301T020000Z-ffffff", "20260302T020000Z-aaaaaa", "20260302T020001Z-000000"


def pointer(run_id: str) -> bytes:
    return json.dumps({"run_id": run_id, "manifest": f"runs/{run_id}.json"}).encode()


@pytest.mark.parametrize("current", [None, b"", b"[]", b"{}", b"\x80", pointer(EARLIER), pointer(RUN)])
def test_a_run_takes_the_place_of_what_is_older_or_no_pointer(current: bytes | None) -> None:
    content = newer_pointer(current, run_id=RUN)
    assert content is not None
    assert json.loads(content) == {"run_id": RUN, "manifest": f"runs/{RUN}.json"}


def test_a_run_that_began_earlier_but_ended_later_changes_nothing() -> None:
    assert newer_pointer(pointer(LATER), run_id=RUN) is None
