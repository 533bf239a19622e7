"""Every setting of a run: one frozen tree, which is also the form in the Prefect UI.

Each group's fields become command-line options by their path, e.g. `--ranking.top_n 15`.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.config import JsonDict

from tasks.core.patterns import pattern_regex
from tasks.core.scoring.analyses import check_cache
from tasks.core.scoring.answers import DEFAULT_PROMPT
from tasks.core.secrets import check_no_secret
from tasks.core.uris import split_uri

Seconds = Annotated[int, Field(ge=1, le=600)]


def _in_the_form_a_number(schema: dict[str, Any]) -> None:
    """A Decimal's schema is "number or text", for which forms have two fields, and text no bounds."""
    number = schema.pop("anyOf")[0]
    schema.update(number, default=float(schema["default"]))


def _default_by_field(schema: dict[str, Any]) -> None:
    """A group's default holds its Decimals as text: the form is to take each field's own."""
    del schema["default"]


Share = Annotated[Decimal, Field(ge=0, le=1, json_schema_extra=_in_the_form_a_number)]
"""A decimal fraction, exactly as it was written."""


URI_PATTERN: JsonDict = {"pattern": "^((s3|file)://|(?!.*://))"}
"""What forms can check of a place; `split_uri` checks the rest."""


class Group(BaseModel):
    """Frozen, and strict about names: a misspelt setting is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @field_validator("*", mode="after")
    @classmethod
    def _carries_no_secret(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, str) and info.field_name not in ("cache", "prompt"):  # a cache has its own fix
            check_no_secret(value)
        return value


class Select(Group):
    """Which videos of the source are looked at."""

    pattern: str = Field(
        "**/*.{mp4,mov,mkv,webm,avi}",
        title="Pattern",
        description="Which keys are videos: ** any folders, * any name, {a,b} alternatives; "
        "letter case does not matter.",
        min_length=1,
        examples=["**/*.mp4", "2026-11/**/*.{mp4,mov}"],
    )
    limit: int = Field(
        0, title="Limit", description="Look at the first so many videos by name; 0 = all.", ge=0
    )
    rescore: bool = Field(
        False,
        title="Score anew",
        description="Open and score all videos again, also those that have not changed since the last run.",
    )

    @field_validator("pattern")
    @classmethod
    def _pattern_reads(cls, pattern: str) -> str:
        pattern_regex(pattern)
        return pattern


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
        description="Folder or s3:// prefix of a head fitted on labels; empty = score by salience.",
    )
    batch_size: int = Field(
        0, title="Batch size", description="Windows in one forward pass; 0 = chosen by the device.", ge=0
    )


class Deep(Group):
    """The deep stage: VideoLLaMA3 on the best candidates."""

    enabled: bool = Field(True, title="Analyse candidates", description="Off: rank by the fast score alone.")
    model: str = Field(
        "DAMO-NLP-SG/VideoLLaMA3-2B",
        title="VideoLLaMA3 checkpoint",
        description="A hub id, a local folder or an s3:// prefix; safetensors only.",
        min_length=1,
    )
    revision: str = Field("", title="Revision", description="A commit or tag of the hub; empty = the newest.")
    quantization: Literal["none", "int8", "int4"] = Field(
        "none",
        title="Quantization",
        description="Rounds the language model's weights to 8 or 4 bits: the 2B takes 2.6 or 2.0 GB instead "
        "of 3.9, the 7B 9.6 or 6.4 instead of 16.1. Answers change a little, with int4 more than with int8, "
        "and may take longer. Needs hookline[quantization].",
    )
    max_frames: int = Field(
        128, title="Most frames", description="Frames of one segment at the most.", ge=4, le=180
    )
    max_new_tokens: int = Field(
        320,
        title="Longest answer",
        description="Tokens an answer may have; it is closed properly before it reaches them.",
        ge=160,
        le=2048,
    )
    prompt: str = Field(
        "",
        title="Prompt",
        description="What is asked about every segment; empty = the built-in prompt with its seven criteria.",
    )
    batch_size: int = Field(
        0,
        title="Batch size",
        description="Segments of a video answered at once; 0 = as many as the memory allows.",
        ge=0,
        le=64,
    )
    cache: str = Field(
        "output",
        title="Analysis cache",
        description="Where analyses are kept, so that none is made twice: output = under the output, "
        "redis://host:port/0 = in Redis (its password: HOOKLINE_REDIS_PASSWORD), off = nowhere.",
        examples=["output", "redis://cache.internal:6379/0", "off"],
    )

    @field_validator("cache")
    @classmethod
    def _is_a_cache(cls, cache: str) -> str:
        check_cache(cache)
        return cache

    @property
    def question(self) -> str:
        """The prompt in force."""
        return self.prompt or DEFAULT_PROMPT


class Ranking(Group):
    """How both scores become one ranking."""

    top_n: int = Field(15, title="Top N", description="Segments ranked a video.", ge=1, le=1000)
    candidate_multiplier: int = Field(
        2,
        title="Candidates per place",
        description="Candidates analysed for each place in the ranking.",
        ge=1,
        le=20,
    )
    deep_weight: Share = Field(
        Decimal("0.6"),
        title="Weight of VideoLLaMA3",
        description="Share of the deep score; both add up to 1.",
    )
    fast_weight: Share = Field(
        Decimal("0.4"), title="Weight of VideoMAE", description="Share of the fast score."
    )
    viral_threshold: int = Field(
        70, title="Viral from", description="Combined score from which a segment is viral.", ge=0, le=100
    )
    max_overlap: Share = Field(
        Decimal("0.75"),
        title="Largest overlap",
        description="Temporal IoU above which the weaker of two windows is dropped; 1 keeps all.",
    )

    @field_validator("deep_weight", "fast_weight", "max_overlap")
    @classmethod
    def _written_one_way(cls, value: Decimal) -> Decimal:
        return value.normalize()

    @model_validator(mode="after")
    def _weights_add_up(self) -> Self:
        if self.deep_weight + self.fast_weight != 1:
            raise ValueError(
                f"deep_weight {self.deep_weight} and fast_weight {self.fast_weight} must add up to 1: "
                f"with deep_weight {self.deep_weight} set fast_weight to {1 - self.deep_weight}"
            )
        return self

    @property
    def candidates(self) -> int:
        """How many candidates of a video are analysed."""
        return self.top_n * self.candidate_multiplier


class Publish(Group):
    """What is made of the ranking for people to look at. None of it decides what is ranked."""

    report: bool = Field(
        True,
        title="Report",
        description="Write reports/<run_id>/index.html: every video with its timeline and its best moments.",
    )
    thumbnails: bool = Field(
        True,
        title="Thumbnails",
        description="Keep the strongest picture of every ranked segment under thumbnails/.",
    )
    clips: bool = Field(
        False,
        title="Clips",
        description="Cut every ranked segment of the videos opened in this run into "
        "clips/<run_id>/, as mp4 with sound and a poster; select.rescore opens all videos.",
    )
    crop: Literal["none", "9:16", "4:5", "1:1"] = Field(
        "none",
        title="Crop clips to",
        description="Width to height of the clips, cut from the middle of the picture; none = as it is.",
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
        "its file and its frames: on each machine there are engine.workers + 2 for every GPU.",
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


class Engine(Group):
    """How the work is spread: over the GPUs of one machine, or over many machines."""

    runner: Literal["process", "dask"] = Field(
        "process",
        title="Runner",
        description="process: this machine does everything, with a process for each of its GPUs. "
        "dask: a Dask cluster does it, which runs on as many machines as there are.",
    )
    gpu_workers: int = Field(
        0,
        title="GPU workers",
        description="Processes that hold the models; 0 = one for each GPU, and on a machine without any the "
        "models share the flow's own process. Those beyond the number of GPUs work on the CPU.",
        ge=0,
        le=64,
    )
    dask_address: str = Field(
        "",
        title="Dask scheduler",
        description="Where the Dask scheduler is, for runner dask: tcp://host:8786.",
        examples=["tcp://scheduler.internal:8786"],
    )

    workers: int = Field(
        4,
        title="Videos decoded at once",
        description="Videos that a machine fetches and decodes ahead at the most: fewer while the models are "
        "slower.",
        ge=1,
        le=64,
    )

    @model_validator(mode="after")
    def _dask_is_somewhere(self) -> Self:
        if self.runner == "dask" and not self.dask_address:
            raise ValueError("runner dask needs dask_address, e.g. tcp://scheduler.internal:8786")
        return self


class Settings(Group):
    """Rank the moments of videos by viral potential.

    Every group has working defaults: only the source and the output must be given.
    """

    source: str = Field(
        title="Source",
        description="Where the videos are: s3://bucket/prefix, or a folder on the worker.",
        min_length=1,
        examples=["s3://my-bucket/videos"],
        json_schema_extra=URI_PATTERN,
    )
    output: str = Field(
        title="Output",
        description="Where the rankings go: s3://bucket/prefix, or a folder on the worker.",
        min_length=1,
        examples=["s3://my-bucket/rankings"],
        json_schema_extra=URI_PATTERN,
    )
    dry_run: bool = Field(
        False, title="Dry run", description="List the videos and stop: nothing is read or written."
    )
    select: Select = Field(Select(), title="Select")
    windows: Windows = Field(Windows(), title="Windows")
    fast: Fast = Field(Fast(), title="Fast stage (VideoMAE)")
    deep: Deep = Field(Deep(), title="Deep stage (VideoLLaMA3)")
    ranking: Ranking = Field(Ranking(), title="Ranking", json_schema_extra=_default_by_field)
    publish: Publish = Field(Publish(), title="Publish")
    limits: Limits = Field(Limits(), title="Limits")
    engine: Engine = Field(Engine(), title="Engine")

    @field_validator("source", "output")
    @classmethod
    def _is_a_place(cls, uri: str) -> str:
        split_uri(uri)
        return uri

    def digest(self) -> str:
        """Twelve hex digits over the settings that decide what the rows say."""
        deciding = self.model_dump_json(
            include={"windows", "fast", "deep", "ranking"}, exclude={"deep": {"cache"}}
        )
        return hashlib.sha256(deciding.encode()).hexdigest()[:12]
