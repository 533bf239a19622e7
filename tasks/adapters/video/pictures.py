"""Pictures of frames, in formats that browsers show."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

SHEET_HEIGHT = 72
"""Pixels; a sheet of six upright 16:9 pictures is 768 x 72 and takes about 6 KB."""

SHEET_GAP = 2

Frame = npt.NDArray[np.uint8]
"""`height x width x 3` uint8, RGB."""


def jpeg(frame: Frame) -> bytes:
    """One frame at its own size."""
    return _saved(Image.fromarray(frame), "JPEG", quality=85, optimize=True)


def contact_sheet(*frames: Frame) -> bytes:
    """The frames side by side in one small WebP, `SHEET_HEIGHT` pixels high."""
    height, width = frames[0].shape[:2]
    wide = max(1, round(width * SHEET_HEIGHT / height))
    step = wide + SHEET_GAP
    sheet = Image.new("RGB", (step * len(frames) - SHEET_GAP, SHEET_HEIGHT), "white")
    for index, frame in enumerate(frames):
        sheet.paste(Image.fromarray(frame).resize((wide, SHEET_HEIGHT)), (index * step, 0))
    return _saved(sheet, "WEBP", quality=55, method=4)


def _saved(picture: Image.Image, format: str, **options: int | bool) -> bytes:
    target = BytesIO()
    picture.save(target, format, **options)
    return target.getvalue()
