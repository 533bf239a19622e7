"""What a check of a machine found, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked.

    `status` is `ok`; `note` where a run works, but less well than it might; `wrong` where it would not
    do what it is asked for. `text` says what was found, and what to do about it unless it is ok.
    """

    about: str
    status: Status
    text: str
