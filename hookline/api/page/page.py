"""The page as HTML. Its cards, style and escaping are those of the report; no other host is asked for any."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from importlib.resources import files

from markupsafe import Markup

from tasks.adapters.report.page import environment, hash_of, part
from tasks.core.settings import Settings

ROOM = "hookline.api.page"

CARDS_POLICY = "default-src 'none'; img-src data:; frame-ancestors 'none'"
"""What a browser may do with cards that are opened alone."""


def render_page(settings: Settings, *, asks_for_key: bool) -> tuple[str, str]:
    """The page, and its policy: its own script and style, this service, and nothing else."""
    style, script = _own()
    policy = (
        f"default-src 'none'; connect-src 'self'; img-src data:; style-src '{hash_of(style)}'; "
        f"script-src '{hash_of(script)}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    page = (
        environment(ROOM)
        .get_template("page.html.j2")
        .render(
            settings=settings,
            asks_for_key=asks_for_key,
            style=Markup(style),
            script=Markup(script),
            version=version("hookline"),
        )
    )
    return page, policy


@cache
def _own() -> tuple[str, str]:
    style = part("report.css") + (files(ROOM) / "page.css").read_text()
    return style, part("cards.js") + (files(ROOM) / "page.js").read_text()
