"""Captions that are burned into a clip."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.core.errors import DecodeFailed
from tasks.core.speech.heard import Word
from tasks.core.views.burned import layout_of, script
from tasks.core.views.captions import words_between
from tasks.core.views.pictures import Cut


def write_script(
    words: Sequence[Mapping[str, Any]], cut: Cut, shape: tuple[int, int], *, folder: Path
) -> Path | None:
    """The script for libass, of the words that are said in the cut; None if there are none.

    `words` hold the fields of each `Word`, `shape` is width to height of the clip.
    """
    span = (round(cut.start_s * 1000), round(cut.end_s * 1000))
    said = words_between([Word(**word) for word in words], span)
    if not said:
        return None
    path = folder / "captions.ass"
    path.write_text(script(said, layout_of(*shape), end_ms=span[1] - span[0]), encoding="utf-8")
    return path


_WITHOUT = re.compile(r"failed to find any fallback with glyph 0x([0-9A-F]+)")
"""What libass says of a character that no font has."""
_NONE = "Failed to load fontconfig fonts"


def check_fonts(said: str) -> None:
    """Raises `DecodeFailed` if no font had a letter that was to be burned in, and is missing from the clip.

    Signs other than letters, such as emoji, may be missing. `said` are ffmpeg's warnings.
    """
    missing = sorted({chr(int(code, 16)) for code in _WITHOUT.findall(said)})
    letters = [sign for sign in missing if sign.isalpha()]
    if letters or _NONE in said:
        lacking = f"no font on this machine has {letters[0]!r}" if letters else "this machine has no fonts"
        raise DecodeFailed(
            f"{lacking}: install some, such as fonts-noto-core and fonts-noto-cjk, "
            "or set publish.captions to files",
            reason="clip_failed",
        )
