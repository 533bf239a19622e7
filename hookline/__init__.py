"""The command line of Hookline, its embedded Prefect server, and the demo."""

from enum import IntEnum

CHECK_THREADS = "hookline-check"
"""Begins the names of the threads in which `hookline doctor` tries things out."""


class ExitCode(IntEnum):
    """What `hookline` exits with."""

    COMPLETE = 0
    NOTHING_DONE = 1
    BAD_ARGUMENTS = 2
    WITH_FAILURES = 3
    """Finished, but some videos failed: they are listed, the rest is published."""
    INTERRUPTED = 130
    """By Ctrl-C: 128 + SIGINT, as shells have it."""
