"""How the clips' ffmpeg commands are run, and what their failures become."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

import ffmpeg
import imageio_ffmpeg

from tasks.core.errors import DecodeFailed

STDERR_TAIL_CHARS = 300


def quiet(output: Any, *, level: str = "error") -> list[str]:
    """The command of an ffmpeg graph that says nothing but errors, or what else has this `level`."""
    asked = output.global_args("-nostdin", "-hide_banner", "-loglevel", level, "-y")
    arguments: list[str] = ffmpeg.compile(asked, cmd=imageio_ffmpeg.get_ffmpeg_exe())
    return arguments


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command and returns what it said. Raises `MemoryError` or `DecodeFailed`."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True, errors="replace"
    )
    stderr = done.stderr.strip()
    if "Cannot allocate memory" in stderr:
        raise MemoryError(stderr[-STDERR_TAIL_CHARS:])
    if done.returncode:
        last = (
            stderr.splitlines()[-1][:STDERR_TAIL_CHARS] if stderr else f"ffmpeg ended with {done.returncode}"
        )
        raise DecodeFailed(last, reason="clip_failed")
    return done
