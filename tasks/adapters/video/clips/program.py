"""How the clips' ffmpeg commands are run, and what their failures become."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from tempfile import TemporaryFile
from typing import IO, Any, cast

import ffmpeg
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

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
    _check(done.returncode, done.stderr.strip())
    return done


def pictures_from(command: Sequence[str], shape: tuple[int, ...]) -> Iterator[npt.NDArray[np.uint8]]:
    """The raw pictures of this shape, in bytes, that a command writes. Raises as `run`."""
    with TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
        with process, closing(cast(IO[bytes], process.stdout)) as written:
            try:
                while len(raw := written.read(math.prod(shape))) == math.prod(shape):
                    yield np.frombuffer(raw, np.uint8).reshape(shape)
                process.wait()
            finally:
                process.kill()
        said.seek(0)
        _check(process.returncode, said.read().decode(errors="replace").strip())


def _check(returncode: int, stderr: str) -> None:
    if "Cannot allocate memory" in stderr:
        raise MemoryError(stderr[-STDERR_TAIL_CHARS:])
    if returncode:
        last = stderr.splitlines()[-1][:STDERR_TAIL_CHARS] if stderr else f"ffmpeg ended with {returncode}"
        raise DecodeFailed(last, reason="clip_failed")
