"""Every setting of a run: one frozen tree, which is also the form in the Prefect UI.

Each group's fields become command-line options by their path, e.g. `--ranking.top_n 15`. A group with
rules of its own has a file of its own; the others are here.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from tasks.core.settings import forms
from tasks.core.settings.deep import Deep
from tasks.core.settings.engine import Engine
from tasks.core.settings.group import Group
from tasks.core.settings.publish import Publish
from tasks.core.settings.ranking import Ranking
from tasks.core.settings.select import Select
from tasks.core.settings.speech import Speech
from tasks.core.uris import split_uri

Seconds = Annotated[int, Field(ge=1, le=600)]


class Windows(Group):
    """How videos are sampled and cut into windows."""

    window_seconds: tuple[Seconds, ...] = Field(
        (59,),
        title="Window lengths (s)",
        description="How long a moment is, in seconds; several lengths compete with each other.",
        min_length=1,
        examples=[[59], [15, 30, 59]],
    )
    stride_seconds: int = Field(
        3, title="Stride (s)", description="Seconds from one window's start to the next.", ge=1, le=600
    )
    sample_fps: int = Field(
        1, title="Frames a second", description="Pictures taken a second of video.", ge=1, le=30
    )
    min_window_seconds: int = Field(
        5, title="Shortest video (s)", description="Videos shorter than this are rejected.", ge=1, le=600
    )

    @field_validator("window_seconds", mode="before")
    @classmethod
    def _lengths_as_text(cls, lengths: object) -> object:
        """`15,59` on the command line, and a single number in a file, are lists as well."""
        if isinstance(lengths, list | tuple):
            return [length for part in lengths for length in _listed(part)]
        return _listed(lengths)


def _listed(lengths: object) -> list[object]:
    return [*lengths.replace(",", " ").split()] if isinstance(lengths, str) else [lengths]


class Fast(Group):
    """The fast stage: VideoMAE on every window."""

    model: str = Field(
        "MCG-NJU/videomae-base-finetuned-kinetics",
        title="VideoMAE checkpoint",
        description="A hub id, a local folder or an s3:// prefix; safetensors only.",
        min_length=1,
    )
    revision: str = Field("", title="Revision", description="A commit or tag of the hub; empty = the newest.")
    head: str = Field(
        "",
        title="Score head",
        description="Folder or s3:// prefix of a fitted head; latest = the one that hookline train promoted "
        "last under the output, if any; empty = score by salience.",
    )
    batch_size: int = Field(
        0, title="Batch size", description="Windows in one forward pass; 0 = chosen by the device.", ge=0
    )


class Audit(Group):
    """What tells how many good moments the fast score keeps from the deep model. No rank depends on it."""

    windows: int = Field(
        2,
        title="Windows a video",
        description="Windows that are no candidates, drawn at random, which VideoLLaMA3 judges all the same; "
        "they are never ranked. 0 = none.",
        ge=0,
        le=10,
    )
    most: int = Field(
        200,
        title="Windows a night",
        description="Windows that are audited in one run; of more videos, some are drawn at random.",
        ge=0,
    )
    seed: int = Field(
        0,
        title="Seed",
        description="Another number draws other windows; with the same one, a video has the same every time.",
        ge=0,
    )

    @model_validator(mode="after")
    def _is_enough_for_a_video(self) -> Self:
        if self.most < self.windows:
            raise ValueError(
                f"audit.most {self.most} is less than audit.windows {self.windows}, what one video takes: "
                "raise it, or set audit.windows to 0 to audit nothing"
            )
        return self


class Estimate(Group):
    """What a run is expected to cost, before it begins."""

    gpu_hour: float = Field(
        0,
        title="Price of a GPU hour",
        description="What a GPU costs an hour, in any currency: a dry run then says what the run will "
        "cost. 0 = nobody knows.",
        ge=0,
        examples=[2.5],
    )


class Limits(Group):
    """What one video may cost, and how much may go wrong."""

    deadline_seconds: int = Field(
        1800,
        title="Deadline (s)",
        description="Longest a video may take to fetch, and then again to decode, and a GPU worker for one "
        "call.",
        ge=1,
    )
    max_file_gb: float = Field(
        10, title="Largest file (GB)", description="Larger files are rejected unread.", gt=0
    )
    max_video_hours: float = Field(
        6, title="Longest video (h)", description="Longer videos are rejected.", gt=0
    )
    memory_gb: float = Field(
        4, title="Decode memory (GB)", description="Memory the decoding of one video may use.", ge=1
    )
    scratch_gb: float = Field(
        150,
        title="Scratch space (GB)",
        description="Disk that all videos being worked on may take together. Each may have one share for "
        "its file, its frames and its sound: on each machine there are engine.workers + 2 for every GPU.",
        gt=0,
    )
    scratch_dir: str = Field(
        "", title="Scratch folder", description="Where videos are unpacked; empty = the system's own."
    )
    max_failed_fraction: float = Field(
        1.0,
        title="Failures tolerated",
        description="Share of the listed videos that may fail or be rejected before the whole run "
        "counts as failed; 1 = any but all.",
        ge=0,
        le=1,
    )


class Settings(Group):
    """Rank the moments of videos by viral potential.

    Every group has working defaults: only the source and the output must be given.
    """

    source: str = Field(
        title="Source",
        description="Where the videos are: s3://bucket/prefix, a folder on the worker, or a list of videos "
        "in either: .txt with a URI a line, .csv or .parquet with a column uri.",
        min_length=1,
        examples=["s3://my-bucket/videos", "s3://my-bucket/tonight.csv"],
        json_schema_extra=forms.URI_PATTERN,
    )
    output: str = Field(
        title="Output",
        description="Where the rankings go: s3://bucket/prefix, or a folder on the worker.",
        min_length=1,
        examples=["s3://my-bucket/rankings"],
        json_schema_extra=forms.URI_PATTERN,
    )
    dry_run: bool = Field(
        False,
        title="Dry run",
        description="Say what there is to do, how long it will take and what it will cost, and stop: no "
        "video is opened, nothing is written.",
    )
    select: Select = Field(Select(), title="Which videos")
    windows: Windows = Field(Windows(), title="Windows")
    fast: Fast = Field(Fast(), title="Fast stage (VideoMAE)")
    deep: Deep = Field(Deep(), title="Deep stage (VideoLLaMA3)")
    speech: Speech = Field(Speech(), title="Sound and speech")
    ranking: Ranking = Field(Ranking(), title="Ranking", json_schema_extra=forms.default_by_field)
    audit: Audit = Field(Audit(), title="Audit of the fast stage")
    publish: Publish = Field(Publish(), title="Report, pictures and clips")
    estimate: Estimate = Field(Estimate(), title="Estimate of cost")
    limits: Limits = Field(Limits(), title="Limits")
    engine: Engine = Field(Engine(), title="Machines")

    @field_validator("source", "output")
    @classmethod
    def _is_a_uri(cls, uri: str) -> str:
        split_uri(uri)
        return uri

    @model_validator(mode="after")
    def _captions_have_words(self) -> Self:
        if self.publish.captions != "none" and not (self.speech.enabled and self.speech.transcribe):
            raise ValueError(
                "publish.captions are the words of Whisper: set speech.enabled and speech.transcribe to "
                "true, or publish.captions to none"
            )
        return self

    def digest(self) -> str:
        """Twelve hex digits over the settings that decide the rows; head and adapter have revisions."""
        groups = {"windows", "fast", "deep", "ranking", *(["speech"] if self.speech.enabled else [])}
        named = self.model_copy(update={"fast": self.fast.model_copy(update={"head": ""})})
        deciding = named.model_dump_json(include=groups, exclude={"deep": {"cache", "adapter"}})
        return hashlib.sha256(deciding.encode()).hexdigest()[:12]
