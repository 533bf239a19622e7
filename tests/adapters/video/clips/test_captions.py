"""Captions that are burned in: large, inside the safe area, each word lit while it is said."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from tasks.core.errors import DecodeFailed
from tasks.core.speech.heard import Word
from tasks.core.views.pictures import Cut
from tests.adapters.video.clips.test_clips import cut_here
from tests.media import H264, run_ffmpeg

WIDTH, HEIGHT = 270, 480
GOLD, WHITE = (255, 215, 0), (255, 255, 255)

Pictures = list[npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grey") / "v.mp4"
    run_ffmpeg("-f", "lavfi", "-t", "3", "-i", f"color=0x607060:s={WIDTH}x{HEIGHT}:r=10", *H264, path)
    return path


def captioned(source: Path, *words: tuple[int, int, str]) -> Pictures:
    """The pictures of a clip from 1 s on, in which these words are said, by the source's clock."""
    said = [Word(start, end, word, 1.0) for start, end, word in words]
    clip = cut_here(source, Cut(1.0, 3.0, 2.0), words=said)
    with av.open(str(clip)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def near(picture: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    return np.abs(picture.astype(int) - colour).max(axis=2) < 60


def rows_and_columns(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The first and last row and column with anything in it."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def test_each_word_is_lit_while_it_is_said(grey: Path) -> None:
    shown = captioned(grey, (1200, 1600, " left"), (1600, 2200, " right"))
    first, second = shown[4], shown[8]
    assert not near(shown[0], WHITE).any()
    assert not near(shown[0], GOLD).any()
    assert rows_and_columns(near(first, GOLD))[3] < rows_and_columns(near(first, WHITE))[2]
    assert rows_and_columns(near(second, GOLD))[2] > rows_and_columns(near(second, WHITE))[3]
    assert not near(shown[-1], WHITE).any()  # 0.3 s after the last word


HOSTILE = (r" {\an8}x", r" \N\N\N\N", r" {\pos(1,1)\fs200}y", " {}", "\n\nStyle: a", " {\\p1}m 0 0{")


@pytest.mark.parametrize("text", [*HOSTILE, " WWWWWWWWWWWWWWWWWW", " مرحبا بكم في هذا العرض الطويل"])
def test_words_stay_on_two_lines_in_the_safe_area_whatever_they_are(text: str, grey: Path) -> None:
    picture = captioned(grey, (1000, 2900, " many"), (1400, 2900, text), (1800, 2900, " more words here"))[5]
    assert near(picture, GOLD).any()
    top, bottom, left, right = rows_and_columns(near(picture, WHITE) | near(picture, GOLD))
    assert HEIGHT / 2 < top < bottom < HEIGHT * 3 / 4
    assert bottom - top < 2 * HEIGHT / 16
    assert WIDTH / 8 <= left < right <= WIDTH * 7 / 8


def test_right_to_left_begins_on_the_right(grey: Path) -> None:
    picture = captioned(grey, (1000, 2000, " مرحبا"), (2000, 2900, " بكم"))[5]
    assert rows_and_columns(near(picture, GOLD))[2] > rows_and_columns(near(picture, WHITE))[3]


def test_letters_that_no_font_has_are_no_clip(grey: Path) -> None:
    with pytest.raises(DecodeFailed, match=r"no font on this machine has '\U0001e900': install some"):
        captioned(grey, (1000, 2000, "\U0001e900"))  # ADLAM CAPITAL LETTER ALIF
    assert captioned(grey, (1000, 2000, " ok \N{DODO}"))


def test_a_machine_without_fonts_is_told(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fonts.conf").write_text("<fontconfig><dir>/nowhere</dir></fontconfig>")
    monkeypatch.setenv("FONTCONFIG_FILE", str(tmp_path / "fonts.conf"))
    with pytest.raises(DecodeFailed, match="this machine has no fonts: install some"):
        captioned(grey, (1000, 2000, " word"))
