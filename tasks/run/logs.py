"""Log lines with run, stage and video, so that `grep` finds all lines about one video."""

from __future__ import annotations

import logging

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from tasks.core.records import VideoRef
from tasks.core.secrets import redacted
from tasks.core.views.escaping import one_line, quoted


def log_event(
    run_id: str,
    stage: str,
    message: str,
    *,
    video: VideoRef | None = None,
    level: int = logging.INFO,
    **facts: float | str | None,
) -> None:
    """Write one line to the log of the run, which the Prefect UI shows too."""
    log = run_log()
    if log.isEnabledFor(level):
        log.log(level, "%s", log_line(run_id, stage, message, video=video, **facts))


def run_log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    """The log of the run; that of this module where a plain function is called outside of one."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger(__name__)


def log_line(
    run_id: str, stage: str, message: str, *, video: VideoRef | None = None, **facts: float | str | None
) -> str:
    r"""One line, even if the name of a file has a line break.

    >>> print(log_line("r1", "decode", "opened", video=VideoRef("s3://b/a\n.mp4", "", 0), seconds=1.25))
    run=r1 stage=decode video="s3://b/a\n.mp4" opened seconds=1.2
    """
    named = [f"run={run_id}", f"stage={stage}"]
    if video:
        named.append(f"video={quoted(video.label)}")
    known = [f"{name}={_value(fact)}" for name, fact in facts.items() if fact is not None]
    return " ".join([*named, one_line(redacted(message)), *known])


def _value(fact: float | str) -> str:
    if isinstance(fact, str):
        return quoted(fact)
    return str(fact) if isinstance(fact, int) else f"{fact:.1f}"
