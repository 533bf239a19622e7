"""The report as one HTML page that needs nothing else: no request leaves it, and no text in it is code.

Names of files and what models wrote are hostile. The template escapes all of it, and the page's policy
lets the browser run this module's own script and style only, known by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from tasks.core.uris import name_in
from tasks.core.views.clock import clock
from tasks.core.views.escaping import printable
from tasks.core.views.report import Report

PARTS = files("tasks.adapters.report")


def render(report: Report) -> str:
    """The page."""
    style, script = (PARTS / "report.css").read_text(), (PARTS / "report.js").read_text()
    policy = (
        f"default-src 'none'; img-src data:; media-src 'self' file:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    page: str = _template().render(
        report=report,
        run=report.run,
        policy=policy,
        style=Markup(style),
        script=Markup(script),
    )
    return page


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"clock": clock, "shown": printable, "name_in": name_in, "data_uri": _data_uri}
    # What is written in the page, unless it says otherwise, is written without characters nobody sees.
    environment.finalize = lambda value: (
        value if isinstance(value, Markup | int | float) else printable(value)
    )
    return environment.from_string((PARTS / "index.html.j2").read_text())


def _data_uri(webp: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
