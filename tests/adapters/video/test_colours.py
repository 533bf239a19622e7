"""Colours are shown as a player shows them: by the tags of the stream, and HDR and wide gamuts as BT.709."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tasks.core.colours import HLG, PQ, Colours, as_bt709
from tasks.core.views.pictures import Cut
from tests.adapters.video.clips.test_clips import cut
from tests.adapters.video.test_timeline import H264, VP9, frames_of, timeline_of
from tests.media import run_ffmpeg

SCENE = "testsrc=size=224x112:rate=5"
"""Bars of all colours, a ramp, black and white."""
TEN_BIT_HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:crf=10")
TEN_BIT_VP9 = ("-c:v", "libvpx-vp9", "-profile:v", "2", "-deadline", "realtime", "-cpu-used", "8")
SATURATION_BOUND, LUMA_BOUND = 0.12, 0.1
"""How far the means of a picture made from HDR may lie from those of the SDR scene."""

SDR = "scale=out_color_matrix=bt709:out_range=tv,format=yuv444p,setparams=color_trc=bt709:color_primaries=1"
LIGHT = "zscale=t=linear:npl=203,format=gbrpf32le"
CODED = {
    "PQ": f"{LIGHT},zscale=p=bt2020:t=smpte2084:m=bt2020nc:r=tv:npl=203",
    # zscale codes HLG channel by channel, which makes colours paler than BT.2100 says.
    "HLG": "scale=out_primaries=bt2020:out_transfer=arib-std-b67:out_color_matrix=bt2020nc",
    "BT.2020": f"{LIGHT},zscale=p=bt2020:t=2020_10:m=bt2020nc:r=tv:npl=203",
    "P3": f"{LIGHT},zscale=p=smpte432:t=bt709:m=bt709:r=tv:npl=203",
}


def scene() -> npt.NDArray[np.uint8]:
    """The last picture of the scene's first second, 224 x 112 RGB."""
    with av.open(SCENE, format="lavfi") as container:
        *_, last = islice(container.decode(video=0), 5)
        return last.to_ndarray(format="rgb24")


def shot(path: Path, filters: str, codec: Sequence[str], pixels: str = "yuv420p10le") -> Path:
    run_ffmpeg("-f", "lavfi", "-t", "1", "-i", SCENE, "-vf", f"{filters},format={pixels}", *codec, path)
    return path


def means(picture: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Saturation and luma."""
    saturation = np.asarray(Image.fromarray(picture).convert("HSV"))[..., 1].mean()
    return float(saturation), float((picture @ [0.2126, 0.7152, 0.0722]).mean())


def assert_looks_like_the_scene(picture: npt.NDArray[np.uint8]) -> None:
    (saturation, luma), (wanted_saturation, wanted_luma) = means(picture), means(scene())
    assert saturation == pytest.approx(wanted_saturation, rel=SATURATION_BOUND)
    assert luma == pytest.approx(wanted_luma, rel=LUMA_BOUND)


@pytest.mark.parametrize("coding", CODED)
def test_hdr_and_wide_gamuts_look_like_the_sdr_scene(tmp_path: Path, coding: str) -> None:
    source = shot(tmp_path / "a.mp4", f"{SDR},{CODED[coding]}", TEN_BIT_HEVC)
    for decoder in ("pyav", "ffmpeg"):
        timeline = timeline_of(source, decoder=decoder)
        assert timeline.decoder == decoder
        assert_looks_like_the_scene(frames_of(timeline)[0])
        assert [file.name for file in Path(timeline.path).parent.iterdir()] == ["frames.rgb"]


def test_decord_is_not_asked_for_hdr(tmp_path: Path) -> None:
    source = shot(tmp_path / "a.webm", f"{SDR},{CODED['PQ']}", TEN_BIT_VP9)
    timeline = timeline_of(source)
    assert timeline.decoder == "ffmpeg"
    assert_looks_like_the_scene(frames_of(timeline)[0])


@pytest.mark.parametrize("coding", ["PQ", "P3"])
def test_a_clip_of_hdr_is_bt709_and_says_so(tmp_path: Path, coding: str) -> None:
    source = shot(tmp_path / "a.mp4", f"{SDR},{CODED[coding]}", TEN_BIT_HEVC)
    clip = cut(source, tmp_path / "out", at=Cut(0, 1, 1))
    with av.open(str(clip.video)) as container:
        said = container.streams.video[0].codec_context
        assert (said.color_primaries, said.color_trc, said.colorspace, said.color_range) == (1, 1, 1, 1)
        assert said.pix_fmt == "yuv420p"
        picture = next(container.decode(video=0))
        assert not {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"} & {
            data.type.name for data in picture.side_data
        }
    assert_looks_like_the_scene(frames_of(timeline_of(clip.video))[0])
    assert_looks_like_the_scene(np.asarray(Image.open(clip.poster)))


TAGGED = {
    "BT.709": ("scale=out_color_matrix=bt709:out_range=tv", "yuv444p"),
    "BT.601": ("scale=out_color_matrix=smpte170m:out_range=tv", "yuv444p"),
    "BT.709, full range": ("scale=out_color_matrix=bt709:out_range=pc", "yuv444p"),
    "BT.601, full range": ("scale=out_color_matrix=smpte170m:out_range=pc", "yuv444p"),
}


@pytest.mark.parametrize("tags", TAGGED)
def test_matrix_and_range_are_those_of_the_tags(tmp_path: Path, tags: str) -> None:
    filters, pixels = TAGGED[tags]
    for file, codec, decoders in (
        ("a.mp4", (*H264, "-pix_fmt", pixels), ("pyav", "ffmpeg")),
        ("a.webm", (*VP9, "-pix_fmt", pixels), ("decord", "ffmpeg")),
    ):
        source = shot(tmp_path / file, filters, codec, pixels)
        for decoder in decoders:
            timeline = timeline_of(source, decoder=decoder)
            assert timeline.decoder == decoder
            assert away(frames_of(timeline)[0]) < 4, (file, decoder)
    clip = cut(source, tmp_path / "out", at=Cut(0, 1, 1))
    with av.open(str(clip.video)) as container:
        said = container.streams.video[0].codec_context
        assert (said.color_range, said.colorspace in (5, 6)) == (1, "601" in tags)
    for picture in (frames_of(timeline_of(clip.video))[0], np.asarray(Image.open(clip.poster))):
        assert away(picture) < 8  # with half the colour


def away(picture: npt.NDArray[np.uint8]) -> float:
    """The mean distance to the scene, in levels."""
    return float(np.abs(picture.astype(np.float64) - scene()).mean())


def test_greys_stay_grey_and_keep_their_order() -> None:
    greys = np.repeat(np.linspace(0, 1, 50)[:, None], 3, axis=1)
    for colours in (Colours(9, PQ), Colours(9, HLG), Colours(9, 14), Colours(12, 1)):
        shown = as_bt709(greys, colours)
        assert shown == pytest.approx(shown[:, :1].repeat(3, axis=1), abs=1e-3)
        assert (np.diff(shown[:, 0]) >= 0).all()
        assert (shown[0, 0], shown[-1, 0]) == (0, pytest.approx(1, abs=1e-3))
    assert as_bt709(greys, Colours(12, 1)) == pytest.approx(greys, abs=1e-3)


@pytest.mark.parametrize(
    ("colours", "beyond"),
    [((1, 1), False), ((6, 6), False), ((2, 2), False), ((9, 16), True), ((2, 18), True), ((12, 13), True)],
)
def test_only_colours_beyond_bt709_are_changed(colours: tuple[int, int], beyond: bool) -> None:
    assert Colours(*colours).beyond_bt709 is beyond
