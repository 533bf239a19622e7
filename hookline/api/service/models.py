"""What requests and answers look like; the names of `/analyze_timeline_path` are older than this service."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from hookline.api.contract.problems import ProblemDetails
from hookline.api.jobs.job import Status

PATHS = ["/media/show/episode-12.mp4", "s3://my-bucket/show/episode-12.mp4"]


class Ask(BaseModel):
    """A video to rank. What is left out is as the service is set."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"video_path": PATHS[0], "top_n": 15, "window_seconds": 59}]},
    )

    video_path: Annotated[str, Field(min_length=1, max_length=4096)] = Field(
        description="An absolute path under a source of the service, or an s3:// URI there."
    )
    top_n: Annotated[int, Field(ge=1, le=1000)] | None = Field(None, description="Segments to rank.")
    window_seconds: Annotated[int, Field(ge=1, le=600)] | None = Field(
        None, description="How long a segment is."
    )
    stride_seconds: Annotated[int, Field(ge=1, le=600)] | None = Field(
        None, description="Seconds from one window's start to the next."
    )
    webhook_url: Annotated[str, Field(min_length=1, max_length=2048)] | None = Field(
        None,
        description="Where the job is sent when it is final: https, and a host of serve.webhook_hosts.",
        examples=["https://hooks.example.com/hookline"],
    )


class VideoLlama3(BaseModel):
    """What VideoLLaMA3 says of a segment."""

    virality_score: int
    hook_quality: int
    engagement_potential: int
    viral_elements: list[str]
    reasoning: str
    recommendation: str


class Segment(BaseModel):
    """A ranked segment; times in seconds. `cut_start` and `cut_end` are where to cut it, so that nobody who
    speaks is cut off; they are left out where nobody knows who speaks."""

    start: float
    end: float
    duration: float
    score: int = Field(ge=0, le=100)
    is_viral: bool
    analysis_method: Literal["VideoMAE + VideoLLaMA3", "VideoMAE only"]
    cut_start: float | None = Field(None, description="Up to 3 seconds from start.")
    cut_end: float | None = Field(None, description="Up to 3 seconds from end.")
    cut_clean: bool | None = Field(None, description="Whether nobody is cut off at either end.")
    transcript: str | None = Field(
        None, description="What is said in it: text of strangers. Left out where nobody knows."
    )
    videollama3: VideoLlama3 | None = Field(None, description="Left out of a segment that has none.")


class Parameters(BaseModel):
    """What the answer was made with."""

    top_n: int
    window_seconds: int | list[int]
    stride_seconds: int


class Answer(BaseModel):
    """The ranked segments of a video, best first."""

    success: bool
    video_path: str
    total_duration: float
    total_windows: int
    parameters: Parameters
    top_segments: list[Segment]
    run_id: str = Field("", description="The run that published it.")


class JobView(BaseModel):
    """A job. Once it is final, `status` does not change any more."""

    id: str
    status: Status
    video_path: str
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    queue_position: int | None = Field(None, description="1 is next; null if it does not wait.")
    stage: str | None = Field(None, description="opening, scoring or analysing, while it runs.")
    done: int | None = Field(None, description="Windows or segments of this stage that are done.")
    total: int | None = None
    percent: int = Field(0, ge=0, le=100, description="Never falls.")
    canceling: bool = Field(False, description="It was canceled, and is about to end.")
    joined: bool = Field(False, description="This request got a job that was there already.")
    problem: ProblemDetails | None = Field(None, description="Why it failed.")
    status_url: str
    result_url: str
    cancel_url: str


class JobList(BaseModel):
    """Some jobs, the newest first."""

    jobs: list[JobView]
    next: str | None = Field(None, description="Where the next ones are; null if these are the last.")


class Health(BaseModel):
    """What the service is doing."""

    status: Literal["healthy", "draining", "unavailable"]
    device: str
    videomae_loaded: bool
    videollama3_loaded: bool
    free_memory_bytes: int
    queue_length: int
    versions: dict[str, str]
    whisper_loaded: bool


class Alive(BaseModel):
    """That the process answers, or takes jobs."""

    status: Literal["ok"]
