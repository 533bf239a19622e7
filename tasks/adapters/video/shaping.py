"""The filters that make a frame of a decoded picture: the same ones in PyAV and in the ffmpeg program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tasks.core.colours import Colours, as_bt709

Filter = tuple[str, dict[str, str]]
"""An FFmpeg filter and its options."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The frames that a decoder is to make: `n_ticks`, `fps` a second, each `height x width x 3` uint8 RGB.

    It may use so many `threads`. `table` is a `colour_table`.
    """

    width: int
    height: int
    fps: int
    n_ticks: int
    threads: int
    table: Path | None = None


TURNS: dict[int, tuple[Filter, ...]] = {
    1: (("transpose", {"dir": "cclock"}),),
    2: (("hflip", {}), ("vflip", {})),
    3: (("transpose", {"dir": "clock"}),),
}
"""Filters that turn a picture counter-clockwise, by number of quarter turns."""


SCALER = {"flags": "bicubic+accurate_rnd+full_chroma_int", "param0": "0", "param1": "0.5"}
"""PIL's bicubic, with which VideoLLaMA3 was trained, to 53 dB; `bilinear` comes to 39, and takes half the
time (benchmarks/results/scalers.json)."""

TABLE_SIDE = 33
"""Colours along each side of the table; what lies between is interpolated."""


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


@contextmanager
def colour_table(colours: Colours, *, folder: Path) -> Iterator[Path | None]:
    """A file in `folder`, while it is needed, that turns such colours into BT.709; None where they fit.

    It is for `lut3d`, which every FFmpeg has; PyAV's libraries lack `zscale`.
    """
    if not colours.beyond_bt709:
        yield None
        return
    with TemporaryDirectory(dir=folder) as made:
        table = Path(made) / "colours.cube"
        write_table(table, colours)
        yield table


def write_table(path: Path, colours: Colours) -> None:
    """Writes the .cube file that turns R'G'B' coded like this into that of BT.709."""
    axis = np.linspace(0, 1, TABLE_SIDE)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")  # red varies fastest in the file
    coded = np.stack([red, green, blue], axis=-1).reshape(-1, 3)
    with path.open("w") as file:
        file.write(f"LUT_3D_SIZE {TABLE_SIDE}\n")
        np.savetxt(file, as_bt709(coded, colours), fmt="%.6f")
