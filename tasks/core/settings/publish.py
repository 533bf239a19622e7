"""What is made of a ranking for people to look at."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.core.secrets import check_no_secret
from tasks.core.settings.group import Group

MEDIA_BASE = re.compile(r"(https?://[A-Za-z0-9.-]+(:[0-9]+)?|file://)(/[^?#\s\\]*)?")
"""No query, no credentials: its scheme and host become a part of the policy of the report."""


class Publish(Group):
    """What is made of the ranking for people to look at. None of it decides what is ranked."""

    report: bool = Field(
        True,
        title="Report",
        description="Write reports/RUN_ID/index.html: every video with its timeline and its best moments.",
    )
    media_base: str = Field(
        "",
        title="Where browsers find the videos",
        description="A URL under which the files of the source lie by the same names, such as "
        "https://media.example.org/videos: the report plays moments without a clip from there. "
        "Empty = only clips, and files of this machine, are played.",
        json_schema_extra={"pattern": f"^({MEDIA_BASE.pattern})?$"},
    )
    thumbnails: bool = Field(
        True,
        title="Thumbnails",
        description="Keep the strongest picture of every ranked segment under thumbnails/.",
    )
    clips: bool = Field(
        False,
        title="Clips",
        description="Cut the ranked moments of the videos opened in this run into "
        "clips/RUN_ID/, as mp4 with sound and a poster; select.rescore opens all videos.",
    )
    clips_of: Literal["best", "all"] = Field(
        "best",
        title="Clips of",
        description="best = one clip for each moment, of its best segment; all = of every ranked segment.",
    )
    crop: Literal["none", "9:16", "4:5", "1:1"] = Field(
        "none",
        title="Crop clips to",
        description="Width to height of the clips, cut from the middle of the picture unless crop_follow "
        "moves it; none = as it is.",
    )
    crop_follow: bool = Field(
        False,
        title="Crop follows",
        description="Move the crop in each shot to where faces are, or else to what moves and stands out. "
        "Needs hookline[faces].",
    )
    size: Literal["source", "1080"] = Field(
        "source",
        title="Size of clips",
        description="1080 = the short side has 1080 pixels, as apps want it: 1080x1920 at 9:16; source = as "
        "large as what is shown of the video, and no larger than that.",
    )
    captions: Literal["none", "files", "burned"] = Field(
        "none",
        title="Captions of clips",
        description="What is said in a clip: files = as .srt and .vtt beside it; burned = in large letters "
        "in its pictures, each word lit while it is spoken. By speech.transcribe.",
    )
    loudness: bool = Field(
        False,
        title="Loudness of platforms",
        description="Make clips as loud as platforms play them: -14 LUFS, true peaks below -1 dB.",
    )

    timeline: Literal["none", "otio", "edl", "fcpxml"] = Field(
        "none",
        title="Timeline",
        description="Write a timeline of each video opened in this run for editing programs, into "
        "clips/RUN_ID/: one clip and one marker a moment, cut out of the source. otio needs hookline[otio].",
    )

    @field_validator("media_base")
    @classmethod
    def _is_a_base(cls, base: str) -> str:
        check_no_secret(base)  # before it is repeated
        if base and not MEDIA_BASE.fullmatch(base):
            raise ValueError(
                f"{base!r} is no URL to which names can be added: write it as https://host/folder, or as "
                "file:///folder, without ? and #"
            )
        return base

    @model_validator(mode="after")
    def _is_about_clips(self) -> Self:
        for name, is_wanted in (
            ("captions", self.captions != "none"),
            ("loudness", self.loudness),
            ("crop_follow", self.crop_follow),
        ):
            if is_wanted and not self.clips:
                raise ValueError(f"{name} is about clips: set publish.clips to true as well")
        if self.crop_follow and self.crop == "none":
            raise ValueError("crop_follow moves a crop: set publish.crop as well, such as to 9:16")
        return self
