"""What is heard in videos, and how it is written down."""

from __future__ import annotations

from pydantic import Field, field_validator

from tasks.core.settings.group import Group

_CODES = """
af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi
hr ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn
no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi
yi yo yue zh"""

LANGUAGES = frozenset(_CODES.split())
"""Those that Whisper knows, by its own codes."""

WITHOUT_WHISPER = "To go without it, set speech.transcribe to false."


class Speech(Group):
    """What is heard in the videos."""

    enabled: bool = Field(
        True,
        title="Listen",
        description="Take the sound of every video that is opened: how loud its windows are, and who speaks; "
        "segments are cut in pauses. False leaves these columns null.",
    )
    threshold: float = Field(
        0.4,
        title="Speech from",
        description="How sure voice activity detection must be that somebody speaks.",
        ge=0.05,
        le=0.95,
    )
    transcribe: bool = Field(
        True,
        title="Write down what is said",
        description="Have Whisper write down what is said in the candidates. Without such a model, videos in "
        "which somebody speaks are ranked all the same, and each is a row in failures.",
    )
    model: str = Field(
        "openai/whisper-base",
        title="Whisper checkpoint",
        description="A hub id, a local folder or an s3:// prefix; multilingual, safetensors only.",
        min_length=1,
    )
    revision: str = Field("", title="Revision", description="A commit or tag of the hub; empty = the newest.")
    language: str = Field(
        "",
        title="Language",
        description="What is spoken in all videos; empty = told by the sound of each.",
        examples=["en", "es"],
    )
    in_prompt: bool = Field(
        True,
        title="Let VideoLLaMA3 know what is said",
        description="Quote what is said in a segment where it is asked about; at most 1,500 characters.",
    )

    @field_validator("language")
    @classmethod
    def _is_known(cls, language: str) -> str:
        if language and language not in LANGUAGES:
            raise ValueError(
                f"{language!r} is no language of Whisper's: write one of its codes, such as en, es or pt, or "
                "leave it empty"
            )
        return language
