"""How both scores become one ranking."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.core.settings import forms
from tasks.core.settings.group import Group

Share = Annotated[Decimal, Field(ge=0, le=1, json_schema_extra=forms.number)]
"""A decimal fraction, exactly as it was written."""


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

    same_moment: Share = Field(
        Decimal("0.5"),
        title="Same moment from",
        description="Ranked segments of a video that share more than this part of the shorter one are one "
        "moment: its best is shown, the others are alternatives. 1 = each is a moment of its own.",
    )

    duplicates: Literal["mark", "drop", "keep"] = Field(
        "mark",
        title="Copies in other videos",
        description="Segments that show what one of another video shows: mark = they say of which, and lists "
        "leave them out; drop = only the best of each video is kept, marked; keep = nobody looks.",
    )
    duplicate_from: Share = Field(
        Decimal("0.999"),
        title="Copy from",
        description="Cosine of their embeddings from which two segments show the same.",
    )

    @field_validator("deep_weight", "fast_weight", "max_overlap", "same_moment", "duplicate_from")
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
