"""Which videos of the source a run looks at."""

from __future__ import annotations

from pydantic import Field, field_validator

from tasks.core.containers import VIDEO_FILES
from tasks.core.patterns import pattern_regex
from tasks.core.settings import forms
from tasks.core.settings.group import Group
from tasks.core.uris import split_uri

LIVE = "live"
"""The source lists its videos itself."""


class Select(Group):
    """Which videos of the source are looked at."""

    pattern: str = Field(
        VIDEO_FILES,
        title="Pattern",
        description="Which keys are videos: ** any folders, * any name, {a,b} alternatives; "
        "letter case does not matter. Hidden ones are passed over.",
        min_length=1,
        examples=["**/*.mp4", "2026-11/**/*.{mp4,mov}"],
        json_schema_extra=forms.BRACES_PATTERN,
    )
    limit: int = Field(
        0, title="Limit", description="Look at the first so many videos by name; 0 = all.", ge=0
    )
    listing: str = Field(
        LIVE,
        title="Listing",
        description="What names the videos of the source: live = the source itself is asked; a list of them "
        "(.txt, .csv, .parquet), whose names count from the source; or an S3 Inventory of the bucket: a "
        "manifest.json, or the folder that has one for each day, of which the newest is read.",
        min_length=1,
        examples=["s3://my-lists/my-bucket/daily"],
    )
    rescore: bool = Field(
        False,
        title="Score anew",
        description="Open and score all videos again, also those that have not changed since the last run.",
    )
    most_reopened: int = Field(
        100,
        title="Videos opened for a new head",
        description="Another head of the fast score needs no look at a video, but the deep model may have to "
        "see other moments of it. So many such videos are opened in a run; the others keep their ranks.",
        ge=0,
    )

    @field_validator("listing")
    @classmethod
    def _listing_is_a_place(cls, listing: str) -> str:
        if listing != LIVE:
            split_uri(listing)
        return listing

    @field_validator("pattern")
    @classmethod
    def _pattern_reads(cls, pattern: str) -> str:
        pattern_regex(pattern)
        return pattern
