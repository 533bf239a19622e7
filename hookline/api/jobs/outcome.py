"""What came of the flow run of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.adapters.storage import open_store
from tasks.adapters.storage.published import read_table
from tasks.core.errors import HooklineError
from tasks.core.manifest import Manifest

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State


class Outcome(NamedTuple):
    """The run that published the result, and whether it has all answers; or why there is none."""

    run_id: str = ""
    reason: str = ""
    kind: str = ""
    detail: str = ""
    is_whole: bool = True
    manifest: Manifest | None = None

    @classmethod
    def crashed(cls, times: int) -> Outcome:
        """The service died under it too often."""
        return cls("", "crashed", "failed", f"The service ended {times} times while this job was running.")

    @classmethod
    def unexpected(cls, error: BaseException | None) -> Outcome:
        """What nobody foresaw; what it says is for the log alone."""
        return cls("", "unexpected", "failed", f"The job failed ({type(error).__name__}): see the log.")


def outcome_of(state: State[Any] | None, error: BaseException | None, output: str) -> Outcome:
    """What came of a flow that ended in this state, or raised an error instead."""
    result = state.result(raise_on_failure=False) if state else error
    if isinstance(result, HooklineError):
        return Outcome("", getattr(result, "reason", "settings"), "failed", str(result))
    if not isinstance(result, dict):
        if state and state.is_failed() and not isinstance(result, BaseException):
            return Outcome("", "not_a_video", "rejected", state.message or "There is no video to rank.")
        return Outcome.unexpected(result if isinstance(result, BaseException) else None)
    manifest = Manifest.model_validate(result)
    if manifest.counts["ranked"] + manifest.counts["unchanged"]:
        lacking = manifest.counts["unanswered"] + manifest.counts["untranscribed"]
        return Outcome(manifest.run_id, is_whole=not lacking, manifest=manifest)
    failures = read_table(open_store(output), "failures", manifest).to_pylist()
    first = failures[0]
    return Outcome(manifest.run_id, first["reason"], first["kind"], first["detail"], manifest=manifest)
