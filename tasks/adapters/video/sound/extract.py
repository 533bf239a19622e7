"""Writes the sound of a video as 16 kHz mono, on the video's own clock: sample 0 is heard at time 0."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import av

RATE = 16_000
"""What speech models hear."""
SAMPLE_BYTES = 2
UNDECODABLE = (av.FFmpegError, ValueError, OverflowError)
"""What PyAV raises for broken sound; ValueError for channels that it cannot mix."""
MAX_DRIFT_S = 0.015
"""Sound that lies further from its time is placed anew; less is rounding, or a clock that drifts."""
PACKET_S = 0.02
"""The length of a packet that does not tell its own."""
MAX_FRAMES_BEHIND_END = 1000
"""Some 20 s: after so much sound in a row from after the end, the rest of it is not decoded either."""


def sound_bytes(duration_s: float) -> int:
    """How much space the sound of a video takes."""
    return round(duration_s * RATE) * SAMPLE_BYTES


def write_sound(
    packets: Iterable[Any],
    stream: Any,
    path: Path,
    *,
    time_of: Callable[[int, int], int],
    offset_us: int,
    duration_s: float,
) -> tuple[bool, float]:
    """Writes the sound as raw little-endian int16 of `sound_bytes(duration_s)`: 0 where there is none.

    `packets` are those of the `stream`. `time_of` makes one clock of the number and the time of each; with
    `offset_us` added it is the video's. Returns whether any can be decoded, and how many seconds cannot.
    """
    lost_s = 0.0
    with path.open("wb") as file:
        track = _Track(file, sound_bytes(duration_s) // SAMPLE_BYTES, offset_us / 1e6)
        for number, packet in enumerate(packets):
            try:
                if packet.pts is not None:
                    packet.pts = time_of(number, packet.pts)
                track.add(packet.decode())
            except MemoryError:
                raise
            except UNDECODABLE:
                lost_s += float((packet.duration or 0) * packet.time_base) or PACKET_S
            if track.frames_behind_end > MAX_FRAMES_BEHIND_END:
                break
        with suppress(*UNDECODABLE):  # a decoder that never opened holds nothing back
            track.continued(stream.codec_context.decode(None))
        with suppress(*UNDECODABLE):
            track.end_run()
        file.truncate(sound_bytes(duration_s))
    return track.is_heard, lost_s


class _Track:
    """A file of samples, to which decoded sound is added where its time says.

    Sound that follows what was added before continues a run, which is resampled as one.
    """

    def __init__(self, file: IO[bytes], n_samples: int, offset_s: float) -> None:
        self.frames_behind_end = 0
        self.is_heard = False
        self._file = file
        self._n_samples = n_samples
        self._offset_s = offset_s
        self._position = 0
        self._resampler: av.AudioResampler | None = None
        self._shape: tuple[object, ...] = ()

    def add(self, frames: list[Any]) -> None:
        for frame in frames:
            self._add(frame)

    def continued(self, frames: list[Any]) -> None:
        """Adds what a decoder has held back to the end, whatever time it says: PyAV knows no unit of it."""
        for frame in frames:
            frame.pts = None
            self._add(frame)

    def _add(self, frame: Any) -> None:
        self.is_heard = True
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        begin = self._position if frame.pts is None else self._begin(frame)
        self.frames_behind_end = self.frames_behind_end + 1 if begin >= self._n_samples else 0
        jumps = abs(begin - self._position) > MAX_DRIFT_S * RATE
        if self._resampler is None or jumps or shape != self._shape:
            with suppress(*UNDECODABLE):
                self.end_run()
            self._resampler, self._shape = av.AudioResampler(format="s16", layout="mono", rate=RATE), shape
            self._position = begin
            self._file.seek(SAMPLE_BYTES * min(max(0, begin), self._n_samples))
        frame.pts = None
        self._write(self._resampler.resample(frame))

    def end_run(self) -> None:
        """Writes what the resampler holds back."""
        resampler, self._resampler = self._resampler, None
        if resampler:
            self._write(resampler.resample(None))

    def _begin(self, frame: Any) -> int:
        return round((float(frame.pts * frame.time_base) + self._offset_s) * RATE)

    def _write(self, pieces: list[Any]) -> None:
        for piece in pieces:
            samples = piece.to_ndarray().reshape(-1)
            inside = samples[max(0, -self._position) : max(0, self._n_samples - self._position)]
            self._file.write(inside.tobytes())
            self._position += len(samples)
