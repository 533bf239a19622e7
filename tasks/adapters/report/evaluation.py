"""An evaluation as one HTML page that needs nothing else: its plots are drawings in it."""

from __future__ import annotations

from markupsafe import Markup

from tasks.adapters.report.page import ROOM, environment, hash_of, part
from tasks.core.views.evaluation.page import SCORES, EvaluationPage
from tasks.core.views.evaluation.plots import HEIGHT, MARGIN


def render_evaluation(page: EvaluationPage) -> str:
    """The page."""
    style = part("report.css") + part("evaluation.css")
    policy = f"default-src 'none'; style-src '{hash_of(style)}'; base-uri 'none'; form-action 'none'"
    template = environment(ROOM).get_template("evaluation.html.j2")
    return template.render(
        page=page, scores=SCORES, height=HEIGHT, margin=MARGIN, policy=policy, style=Markup(style)
    )
