"""Whatever a file is called and a model answers, a page and a log show it as it is and nothing more."""

from __future__ import annotations

import re

import pytest

from tasks.core.secrets import redacted
from tasks.core.views.escaping import UNKNOWN, in_markdown, link, one_line, quoted

NASTY = {
    "<script>alert(1)</script>": r"\<script\>alert\(1\)\</script\>",
    "a|b": r"a\|b",
    "line\nbreak": r"line\\nbreak",
    "# title": r"\# title",
    "- item": r"\- item",
    "1. item": r"1\. item",
    "[click](javascript:x)": r"\[click\]\(javascript:x\)",
    "![x](http://evil/p.png)": r"\!\[x\]\(http\://evil/p.png\)",
    "see http://evil/p.png": r"see http\://evil/p.png",
    "see www.evil.example": r"see www\.evil.example",
    "_under_ my_clip-2.mp4": r"\_under\_ my_clip-2.mp4",
    "back\\slash `code`": r"back\\slash \`code\`",
    "\u202etxt.exe": r"\\u202etxt.exe",
    "&lt; ~~gone~~": r"\&lt; \~\~gone\~\~",
}


@pytest.mark.parametrize(("text", "shown"), NASTY.items())
def test_markup_in_text_is_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert in_markdown(text) == shown


@pytest.mark.parametrize("text", [*NASTY, "not\udcfftext", "x" * 5000])
def test_text_stays_on_one_line_of_bounded_length_and_can_be_sent(text: str) -> None:
    for shown in (in_markdown(text), one_line(text), quoted(text), link(text, f"s3://b/{text}")):
        assert shown.isprintable()
        assert shown.encode()
    assert len(in_markdown(text, width=100)) <= 200


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:secret@bucket/a.mp4", "s3://***@bucket/a.mp4"),
        ("https://me:p@ss@host/a?X-Amz-Signature=secret is late", "https://***@host/a?*** is late"),
        ("redis://:secret@cache:6379/0", "redis://***@cache:6379/0"),
        ("s3://bucket/is it?.mp4", "s3://bucket/is it?.mp4"),
        ("s3://bucket/me@home.mp4", "s3://bucket/me@home.mp4"),
    ],
)
def test_no_secret_of_a_url_is_shown(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert "secret" not in in_markdown(text) + quoted(text) + link("x", text)


def test_a_link_leads_only_to_where_it_can_be_followed() -> None:
    assert link("a", "https://host/a b).mp4") == "[a](https://host/a%20b%29.mp4)"
    assert link("a", "s3://bucket/x|y\n.mp4") == "[a](s3://bucket/x%7Cy%0A.mp4)"
    for elsewhere in ("javascript:alert(1)", "file:///a.mp4", "data:text/html,x", "", None):
        assert link("a", elsewhere) == "a"


def test_a_quoted_value_ends_where_it_says() -> None:
    assert quoted('a" stage="fake') == r'"a\" stage=\"fake"'
    assert re.fullmatch(r'"(\\.|[^"\\])*"', quoted('\\" run=other\r\n'))


def test_what_is_not_known_is_a_dash() -> None:
    assert in_markdown(None) == UNKNOWN
