"""What people look at: the page, and the cards on it."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse

from hookline.api.access.callers import identified
from hookline.api.page.page import CARDS_POLICY, render_page
from hookline.api.routes.jobs import JobId, TheService, job_of, problems

SHOWN = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}

router = APIRouter()
for_callers = APIRouter(dependencies=[Depends(identified)], responses=problems(401, 429))


@router.get("/", response_class=HTMLResponse, summary="A page to name a video and watch its job")
async def page(service: TheService) -> HTMLResponse:
    """Has nothing of any job in it: what it shows, it asks for with the key of whoever looks at it."""
    shown, policy = render_page(service.settings, asks_for_key=service.access.asks_for_key)
    return HTMLResponse(shown, headers={**SHOWN, "Content-Security-Policy": policy})


@for_callers.get(
    "/jobs/{job_id}/cards",
    response_class=HTMLResponse,
    responses=problems(403, 404, 409, 410, 413, 415, 422, 503),
    summary="The ranking of a job as HTML",
)
def cards(job_id: JobId, service: TheService) -> HTMLResponse:
    """The cards of the report, with the job's own pictures in them; a part of a page."""
    shown = service.cards(job_of(job_id, service))
    return HTMLResponse(shown, headers={**SHOWN, "Content-Security-Policy": CARDS_POLICY})
