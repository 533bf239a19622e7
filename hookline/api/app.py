"""The application: its routes, how errors are answered, and what surrounds every request."""

from __future__ import annotations

import asyncio
import logging
import time
from importlib.metadata import version
from typing import Any

from anyio import CapacityLimiter
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hookline.api.contract.problems import MEDIA_TYPE, Problem
from hookline.api.contract.request_id import HEADER, current_request, request_id
from hookline.api.routes import events, health, jobs, pages
from hookline.api.service.service import Service
from tasks.core.errors import HooklineError
from tasks.core.views.escaping import one_line

MAX_BODY_BYTES = 64 * 1024
BODY_WITHIN_S = 10

MAX_SUBMITTING = 40
"""Threads in which jobs are asked for. They wait where the Prefect server is slow, and who looks at a job
does not wait behind them.
"""

log = logging.getLogger("hookline.requests")


def create_app(service: Service) -> FastAPI:
    """The application of a service that is at work."""
    # The pages that FastAPI has for its document load their scripts from other hosts.
    app = FastAPI(
        title="Hookline",
        summary="Ranks the moments of one video by viral potential.",
        version=version("hookline"),
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.state.submitting = CapacityLimiter(MAX_SUBMITTING)
    app.include_router(jobs.router)
    app.include_router(events.router)
    app.include_router(health.router)
    app.include_router(pages.router)
    app.include_router(pages.for_callers)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(HooklineError, _unavailable)
    app.add_exception_handler(Exception, _unexpected)
    app.add_middleware(Surrounding)
    return app


class Surrounding:
    """Bounds the body of each request, gives it an id, and logs a line when it is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        sent = request_id(headers.get(HEADER.lower()))
        current_request.set(sent)
        began, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (HEADER.lower().encode(), sent.encode())]
            await send(message)

        try:
            body = await _body(receive)
            await self._app(scope, _replayed(body, receive), sending)
        except Problem as problem:
            await _response(problem)(scope, receive, sending)
        finally:
            took_ms = (time.perf_counter() - began) * 1000
            log.info("%s %s %d %.1f ms", scope["method"], one_line(scope["path"]), status, took_ms)


async def _body(receive: Receive) -> bytes:
    """The whole body, or what came of it before the caller left.

    Raises:
        Problem: it is too large, or too slow.
    """
    body, more = b"", True
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            while more:
                message = await receive()
                body += bytes(message.get("body", b""))
                if len(body) > MAX_BODY_BYTES:
                    raise Problem(413, "too_large", f"The body has more than {MAX_BODY_BYTES:,} bytes.")
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise Problem(408, "too_slow", f"The body was not there after {BODY_WITHIN_S} s.") from error
    return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def _response(problem: Problem) -> JSONResponse:
    return JSONResponse(problem.body(), problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


async def _problem(_: Request, error: Any) -> JSONResponse:
    return _response(error)


async def _invalid(_: Request, error: Any) -> JSONResponse:
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        return _response(Problem(400, "invalid_json", "The body is no JSON."))
    errors = [{"name": str(each["loc"][-1]), "detail": each["msg"]} for each in found]
    named = ", ".join(dict.fromkeys(each["name"] for each in errors))
    return _response(Problem(422, "invalid_parameter", f"Look at {named}.", errors=errors))


async def _http(request: Request, error: Any) -> JSONResponse:
    if error.status_code == 404:
        return _response(Problem(404, "no_such_page", "There is nothing at this address."))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        # Starlette names the methods of one route only, where several have the same path.
        paths = request.app.openapi()["paths"].items()
        at_path = [each for path, each in paths if compile_path(path)[0].match(request.url.path)]
        headers["Allow"] = ", ".join(sorted({method.upper() for each in at_path for method in each}))
    return _response(Problem(error.status_code, "bad_request", str(error.detail), headers=headers))


async def _unavailable(_: Request, error: Any) -> JSONResponse:
    log.error("a request could not be served: %s", error)
    return _response(Problem(503, "unavailable", "The service cannot do this now.", retry_after_s=10))


async def _unexpected(_: Request, error: Any) -> JSONResponse:
    log.exception("a request failed", exc_info=error)
    return _response(Problem(500, "unexpected", "The service made a mistake: see its log."))
