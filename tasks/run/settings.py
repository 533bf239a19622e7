"""The settings that a flow run is given, by the form of the Prefect UI for instance."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Failed
from pydantic import ValidationError

from tasks.core.secrets import redacted
from tasks.core.settings import Settings
from tasks.core.settings.wrong import what_is_wrong


def checking_settings(run: Callable[[Settings], State[Any]]) -> Callable[[Settings], State[Any]]:
    """Let a flow end as `Failed`, with what is to be changed, where its settings cannot work.

    Prefect's own check would end it with a traceback. Forms cannot see all that can be wrong, such as weights
    that do not add up.
    """

    @wraps(run)
    def checked(settings: Settings) -> State[Any]:
        try:
            made = Settings.model_validate(settings)
        except ValidationError as error:
            return Failed(message=f"Wrong settings, nothing was done. {what_is_wrong(error)}")
        return run(made)

    return checked


def run_name() -> str:
    """What a flow run is called: by its source."""
    settings = flow_run.get_parameters()["settings"]
    source = settings.get("source") if isinstance(settings, dict) else settings.source
    return f"rank {redacted(str(source))}"
