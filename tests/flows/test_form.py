"""The form in the Prefect UI: its schema, what it refuses, and how a run ends that it lets through."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate
from pydantic import ValidationError

from flows.rank_videos import rank_videos
from tasks.core.settings import Settings
from tests import FIXTURES

PINNED = FIXTURES / "form.json"
"""The schema as it was last seen, less texts and defaults. `python -m tests.flows.test_form` writes it."""

WORDS = ("description", "default", "examples")


def form() -> dict[str, Any]:
    schema: dict[str, Any] = parameter_schema(rank_videos).model_dump()
    return schema


def skeleton(schema: Any) -> Any:
    """What decides the fields of a form, their order, and what they take."""
    if isinstance(schema, dict):
        return {name: skeleton(part) for name, part in schema.items() if name not in WORDS}
    return schema


def pinned() -> str:
    return json.dumps(skeleton(form()), indent=1) + "\n"


def test_the_form_is_the_one_that_was_looked_at() -> None:
    assert pinned() == PINNED.read_text(), "look at the form, then: python -m tests.flows.test_form"


def test_no_text_of_the_form_is_taken_for_a_tag() -> None:
    """Prefect shows descriptions as Markdown, in which `<run_id>` is a tag, and not to be seen."""
    assert "<" not in json.dumps(form())


def test_every_group_has_a_title_to_read() -> None:
    titles = [Settings.model_fields[name].title for name in Settings.model_fields]
    assert all(title and title[0].isupper() for title in titles)
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(
    ("group", "name", "good", "bad"),
    [
        ("", "source", ["videos", "/videos", "s3://b", "S3://b/x", "file:///v"], ["s3://", "/", "ftp://h/v"]),
        ("select", "pattern", ["*", "**/*.{mp4,mov}", "{a,{b,{c}}}"], ["*.{mp4", "a}", "}{", ""]),
        ("deep", "cache", ["output", "off", "redis://h:6379/0"], ["on", "redis://me:x@h", "http://h"]),
        ("windows", "stride_seconds", [1, 600], ["many", 0, 1.5, None]),
        ("windows", "window_seconds", [[15], [15, 59]], [[], [0], ["long"]]),
        ("ranking", "deep_weight", [0.6], ["much", 1.5, -1]),
        ("publish", "crop", ["none", "9:16"], ["16:9"]),
    ],
)
def test_the_form_refuses_what_settings_refuse(
    group: str, name: str, good: list[Any], bad: list[Any]
) -> None:
    schema = form()
    for value in [*good, *bad]:
        settings = {"source": "videos", "output": "rankings"}
        settings |= {group: {name: value}} if group else {name: value}
        assert bool(validate({"settings": settings}, schema)) == (value in bad), value
        try:
            Settings.model_validate(settings)
        except ValidationError:
            assert value in bad, value
        else:
            assert value in good, value


@pytest.mark.usefixtures("prefect")
@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ({"ranking": {"deep_weight": 0.7}}, "ranking: deep_weight 0.7 and fast_weight 0.4 must add up to 1"),
        ({"engine": {"runner": "dask"}}, "engine: runner dask needs dask_address"),
        ({"select": {"pattern": "*.{mp4"}}, "select.pattern: the pattern '*.{mp4' has a brace without"),
        ({"source": "s3://me:secret@host/v"}, "source: a URI here carries credentials"),
    ],
)
def test_wrong_settings_end_a_run_with_words_and_without_a_traceback(
    groups: dict[str, Any], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings: Any = {"source": "videos", "output": "rankings"} | groups
    with caplog.at_level(logging.INFO):
        state = rank_videos(settings, return_state=True)
    assert state.is_failed()
    assert says in str(state.message)
    assert "Traceback" not in caplog.text
    assert "secret" not in caplog.text


if __name__ == "__main__":
    PINNED.write_text(pinned())
