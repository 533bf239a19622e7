"""Captions that are burned into a clip, as a script for libass: large, and each word lit while it is spoken.

The format: http://www.tcax.org/docs/ass-specs.htm, and libass's own `ass_parse.c`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from tasks.core.speech.heard import Word
from tasks.core.views.captions import Cue, columns, cues

SHORT_SIDE = 1080
"""The script is written for a picture with such a short side; libass scales it to the one there is."""
TALL = 1.5
"""From this ratio of height to width on, a clip is for apps that draw their own over it."""
COLUMN = 0.55
"""Width of a column as a share of the font's size: bold sans-serif letters of text take 0.5 on average."""
BROAD = frozenset("mw%@&—…")
LIT = r"{\1c&H00D7FF&}"
"""Gold, as blue, green, red."""
WHITE = r"{\1c&HFFFFFF&}"
AUTO_DIRECTION = -1
"""An `Encoding` of libass: the first strong character of a line tells whether it is read from the right."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where captions stand in a picture, in units of a script whose short side is `SHORT_SIDE`.

    `line` is how many columns fit between the margins at the sides.
    """

    width: int
    height: int
    font: int
    side: int
    bottom: int

    @property
    def line(self) -> float:
        return (self.width - 2 * self.side) / (self.font * COLUMN)


def layout_of(width: int, height: int) -> Layout:
    """The layout for a clip of this size, or of another of the same shape.

    On tall pictures the lowest quarter and an eighth at the sides belong to the apps: names, texts and
    buttons of TikTok, Reels and Shorts lie there. Others keep 8 % free, as television does for titles.

    >>> layout_of(540, 960).bottom, layout_of(1920, 1080).bottom
    (480, 86)
    """
    scale = SHORT_SIDE / min(width, height)
    wide, high = round(width * scale), round(height * scale)
    if high / wide >= TALL:
        return Layout(wide, high, font=88, side=wide // 8, bottom=high // 4)
    return Layout(wide, high, font=80, side=wide * 8 // 100, bottom=high * 8 // 100)


def letters(text: str) -> float:
    """How wide large text is, in columns: capitals and the broadest letters take more than one.

    >>> letters("so"), letters("SO")
    (2.0, 2.6)
    """
    return columns(text) + 0.3 * sum(char.isupper() or char in BROAD for char in text)


def script(words: Sequence[Word], layout: Layout, *, end_ms: int) -> str:
    """The script for the words of a clip that ends at `end_ms`."""
    style = (
        f"Style: words,sans-serif,{layout.font},&HFFFFFF,&HFFFFFF,&H101010,&H101010,-1,0,0,0,100,100,0,0,1,"
        f"{layout.font // 10},0,2,{layout.side},{layout.side},{layout.bottom},{AUTO_DIRECTION}"
    )
    captions = cues(words, end_ms=end_ms, line=layout.line, width=letters)
    return "\n".join(
        [
            "[Script Info]",
            "ScriptType: v4.00+",
            f"PlayResX: {layout.width}",
            f"PlayResY: {layout.height}",
            "WrapStyle: 2",
            "ScaledBorderAndShadow: yes",
            "[V4+ Styles]",
            "Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, "
            "Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, "
            "Shadow, Alignment, MarginL, MarginR, MarginV, Encoding",
            style,
            "[Events]",
            "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text",
            *chain.from_iterable(_events(cue, layout.line) for cue in captions),
            "",
        ]
    )


def _events(cue: Cue, width: float) -> Iterator[str]:
    """One event for each word: the same lines, another word lit."""
    starts = [word.start_ms for word in cue.words]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], cue.end_ms], strict=True)):
        yield f"Dialogue: 0,{_clock(start)},{_clock(end)},words,,0,0,0,,{_lit(cue, number, width)}"


def _lit(cue: Cue, lit: int, width: float) -> str:
    """The text of an event. A line that is too wide, which is that of a long word, is condensed."""
    lines, number = [], 0
    for line in cue.lines:
        texts = [word.word for word in line]
        texts[0], texts[-1] = texts[0].lstrip(), texts[-1].rstrip()
        marked = [
            f"{LIT}{_escaped(text)}{WHITE}" if at == lit else _escaped(text)
            for at, text in enumerate(texts, start=number)
        ]
        share = min(1, width / letters("".join(texts)))
        lines.append(rf"{{\fscx{100 * share:.0f}}}" + "".join(marked))
        number += len(line)
    return r"\N".join(lines)


def _escaped(text: str) -> str:
    r"""Text that libass shows as it is: an invisible space keeps a backslash from beginning a code.

    >>> _escaped("{a}"), _escaped("\\N") == "\\\u200bN"
    ('\\{a\\}', True)
    """
    return text.replace("\\", "\\\u200b").replace("{", r"\{").replace("}", r"\}")


def _clock(ms: int) -> str:
    hundredths = ms // 10
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes // 60}:{minutes % 60:02}:{rest // 100:02}.{rest % 100:02}"
