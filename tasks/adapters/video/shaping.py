"""The filters that make a frame of a decoded picture: the same ones in PyAV and in the ffmpeg program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Filter = tuple[str, dict[str, str]]
"""An FFmpeg filter and its options."""

TURNS: dict[int, tuple[Filter, ...]] = {
    1: (("transpose", {"dir": "cclock"}),),
    2: (("hflip", {}), ("vflip", {})),
    3: (("transpose", {"dir": "clock"}),),
}
"""Filters that turn a picture counter-clockwise, by number of quarter turns."""


SCALER = {"flags": "bicubic+accurate_rnd+full_chroma_int", "param0": "0", "param1": "0.5"}
"""PIL's bicubic, with which VideoLLaMA3 was trained, to 53 dB; `bilinear` comes to 39, and takes half the
time (benchmarks/results/scalers.json)."""


def frame_filters(width: int, height: int, *, quarter_turns: int, table: Path | None = None) -> list[Filter]:
    """What makes a picture of any size and pixel format an upright RGB frame of `width x height`.

    It is scaled before it is turned: only the scaler takes pictures that change in mid-stream. `table`
    is a `colour_table`.
    """
    wide, high = (height, width) if quarter_turns % 2 else (width, height)
    scale = {"w": str(wide), "h": str(high), **SCALER}
    colours = table_filters(table) if table else []
    return [("scale", scale), *colours, ("format", {"pix_fmts": "rgb24"}), *TURNS.get(quarter_turns, ())]


def table_filters(table: Path) -> list[Filter]:
    """What puts a `colour_table` to use, on pictures of one size."""
    return [("format", {"pix_fmts": "gbrp12le"}), ("lut3d", {"file": str(table), "interp": "tetrahedral"})]


def steady_input(quarter_turns: int | None) -> dict[str, Any]:
    """Options of an ffmpeg input whose filters stay as they are when pictures change in mid-stream.

    ffmpeg would build them anew, and `fps` would then fill the grid with the first picture after the change.
    Filters that ffmpeg adds to show a picture upright do not bear a change: where turning is enough, they
    are left out, and `TURNS` does it.
    """
    return {} if quarter_turns is None else {"reinit_filter": 0, "noautorotate": None}
