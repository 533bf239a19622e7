"""What all groups of settings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from tasks.core.secrets import check_no_secret


class Group(BaseModel):
    """Frozen, and strict about names: a misspelt setting is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @field_validator("*", mode="after")
    @classmethod
    def _carries_no_secret(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, str) and info.field_name not in ("cache", "prompt"):  # a cache has its own fix
            check_no_secret(value)
        return value
