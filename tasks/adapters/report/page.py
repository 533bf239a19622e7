"""The report as one HTML page that needs nothing else: no request leaves it, and no text in it is code.

Names of files and what models wrote are hostile. The template escapes all of it, and the page's policy
lets the browser run this module's own script and style only, known by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from urllib.parse import urlsplit

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from tasks.core.amounts import number_of
from tasks.core.uris import name_in
from tasks.core.views.cards import ShownMoment
from tasks.core.views.clock import clock
from tasks.core.views.escaping import printable
from tasks.core.views.report import Report

ROOM = "tasks.adapters.report"
SCRIPTS = ("cards.js", "player.js", "scrubbing.js", "verdicts.js", "report.js")
JPEG = b"\xff\xd8"


def render(report: Report) -> str:
    """The page."""
    style, script = part("report.css"), "".join(map(part, SCRIPTS))
    policy = (
        f"default-src 'none'; img-src data: 'self' file:; media-src 'self' file:{media_host(report)}; "
        f"style-src '{hash_of(style)}'; script-src '{hash_of(script)}'; base-uri 'none'; form-action 'none'"
    )
    return (
        environment(ROOM)
        .get_template("index.html.j2")
        .render(
            report=report,
            run=report.run,
            policy=policy,
            style=Markup(style),
            script=Markup(script),
        )
    )


def media_host(report: Report) -> str:
    """The host that videos come from, if any, as the last source of a policy."""
    base = urlsplit(report.run.settings["publish"]["media_base"])
    return f" {base.scheme}://{base.netloc}" if base.netloc else ""


def render_cards(moments: Sequence[ShownMoment]) -> str:
    """The cards of one video alone, for a page with the style `report.css` and the script `cards.js`."""
    cards: Markup = environment(ROOM).get_template("cards.html.j2").module.cards(moments)  # type: ignore[attr-defined]
    return str(cards)


def part(name: str) -> str:
    """A script or a style of the page."""
    return (files(ROOM) / name).read_text()


@cache
def environment(room: str) -> Environment:
    """The templates in a room. What they write is escaped, and without characters nobody sees."""
    folder = files(room)
    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda name: (folder / name).read_text()),
    )
    made.filters |= {"clock": clock, "number_of": number_of, "shown": printable}
    made.filters |= {"name_in": name_in, "data_uri": _data_uri}
    made.finalize = lambda value: value if isinstance(value, Markup | int | float) else printable(value)
    return made


def hash_of(text: str) -> str:
    """A script or a style as a policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _data_uri(picture: bytes) -> str:
    kind = "jpeg" if picture.startswith(JPEG) else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
