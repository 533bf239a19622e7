"""How VideoLLaMA3 looks at the best candidates, and where its analyses are kept."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.core.errors import SettingsError
from tasks.core.scoring.answers import AnswerOrder, default_prompt
from tasks.core.settings import forms
from tasks.core.settings.group import Group
from tasks.core.uris import split_uri

_REDIS_URL = re.compile(r"rediss?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[1-9][0-9]{0,4}))?(/[0-9]*)?")
_CREDENTIALS = re.compile(r"@|\b(user(name)?|pass(word)?)=", re.IGNORECASE)


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
    adapter: str = Field(
        "",
        title="Adapter",
        description="Folder or s3:// prefix of a LoRA adapter for this checkpoint, as hookline tune and "
        "peft write it; it is merged into the weights. Empty = none. Not with a quantization.",
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
    answer_order: AnswerOrder = Field(
        "reasons_first",
        title="Order of the answer",
        description="reasons_first = moments, elements and reasoning, then the scores that follow from them; "
        "scores_first = the scores, then the reasons. Whatever the prompt says, answers are written so.",
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
        json_schema_extra=forms.CACHE_PATTERN,
    )

    @field_validator("cache")
    @classmethod
    def _is_a_cache(cls, cache: str) -> str:
        check_cache(cache)
        return cache

    @field_validator("adapter")
    @classmethod
    def _is_a_place(cls, adapter: str) -> str:
        if adapter:
            split_uri(adapter)
        return adapter

    @model_validator(mode="after")
    def _merges_into_whole_weights(self) -> Self:
        if self.adapter and self.quantization != "none":
            raise ValueError(
                f"adapter {self.adapter} cannot be merged into weights of quantization {self.quantization}: "
                "set quantization to none, or as the model name what hookline tune --merge wrote of both"
            )
        return self

    @property
    def question(self) -> str:
        """The prompt in force."""
        return self.prompt or default_prompt(self.answer_order)


def check_cache(setting: str) -> None:
    """Raise SettingsError unless this says where analyses are kept: `output`, `off` or a Redis URL.

    >>> check_cache("redis://cache.internal:6379/0")
    """
    if _CREDENTIALS.search(setting):
        # Not repeated: this is where a password would be.
        raise SettingsError(
            "the analysis cache may not name a user or a password, because settings are published with "
            "every run: write redis://host:port/0, and set HOOKLINE_REDIS_PASSWORD (and "
            "HOOKLINE_REDIS_USERNAME, where there is one) in the environment of the workers."
        )
    url = _REDIS_URL.fullmatch(setting)
    if setting not in ("output", "off") and (url is None or int(url["port"] or 6379) > 65535):
        raise SettingsError(
            f"{setting!r} is no analysis cache: write output, off, or redis://host:port/0 "
            "(rediss:// for TLS)."
        )
