"""Whether a machine is ready: each thing that a run needs is tried, and what was found is said in a line."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import asdict, dataclass
from functools import partial

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hookline import CHECK_THREADS, ExitCode, checks
from hookline.export import write_json
from tasks.adapters.models.checkup import check_deep_model, check_fast_model, check_whisper
from tasks.adapters.storage.checkup import check_cache, check_output, check_scratch
from tasks.adapters.storage.sources.source import check_source
from tasks.core.errors import HooklineError
from tasks.core.findings import Finding, Status
from tasks.core.settings import Settings
from tasks.core.views.escaping import printable

Findings = Finding | list[Finding]

LIMIT_S, SLOW_LIMIT_S = 15.0, 45.0
"""How long a check may take; the second of those that start processes or import what is large."""

COLOURS = {"ok": "green", "note": "yellow", "wrong": "bold red"}


@dataclass(frozen=True, slots=True)
class Check:
    """`look` finds out about something; if that takes longer than `limit_s`, `stuck` says what may be."""

    about: str
    look: Callable[[], Findings]
    stuck: str
    limit_s: float = LIMIT_S


def checks_of(settings: Settings, *, source: bool, output: bool) -> Iterator[Check]:
    """What is checked for a run with these settings, whose source and output may not be known yet."""
    engine, deep, limits, publish = settings.engine, settings.deep, settings.limits, settings.publish
    yield Check("Python", checks.check_python, "See whether its disk answers.")
    if engine.runner == "dask":
        yield Check("Dask", partial(checks.check_dask, engine), "See whether the scheduler can be reached.")
    else:
        answers = "See whether nvidia-smi answers."
        yield Check("GPU", partial(checks.check_gpus, engine), answers, SLOW_LIMIT_S)
    yield Check("Scratch", partial(check_scratch, limits), "See whether its disk answers.")
    store = "See whether the store can be reached from here: AWS_ENDPOINT_URL, the network, a mounted disk."
    if source:
        known = settings.output if output else ""
        look = partial(check_source, settings.source, settings.select, output=known)
        yield Check("Source", look, store)
    if output:
        yield Check("Output", partial(check_output, settings.output), store)
    hub = "See whether the hub can be reached from here, or the store, if it is there."
    yield Check("Fast model", partial(check_fast_model, settings.fast, output=settings.output), hub)
    limit_s = LIMIT_S if deep.quantization == "none" else SLOW_LIMIT_S
    yield Check("Deep model", partial(check_deep_model, deep), hub, limit_s)
    yield Check("Whisper", partial(check_whisper, settings.speech), hub)
    if deep.enabled and "://" in deep.cache:
        yield Check("Cache", partial(check_cache, deep.cache), "See whether Redis can be reached from here.")
    if engine.runner != "dask" and (publish.crop_follow or publish.timeline == "otio"):
        yield Check("Clips", partial(checks.check_clips, publish), "See whether the disk of Python answers.")
    yield Check("Prefect", checks.check_prefect, "See whether PREFECT_API_URL answers.", SLOW_LIMIT_S)
    yield Check(
        "Video",
        partial(checks.check_video, limits, settings.speech),
        "See how busy this machine is.",
        SLOW_LIMIT_S,
    )


def run_doctor(settings: Settings, *, source: bool, output: bool, json: bool) -> int:
    """Check one thing after the other, print what was found, and return the exit code."""
    out, err = Console(), Console(stderr=True)
    found = list[Finding]()
    for check in checks_of(settings, source=source, output=output):
        with err.status(f"Checking {check.about} ..."):
            new = findings(check)
        found += new
        for finding in new if not json else ():
            out.print(line(finding) if out.is_terminal else plain(finding), soft_wrap=not out.is_terminal)
    counts = Counter(finding.status for finding in found)
    if json:
        write_json(map(asdict, found), sys.stdout)
    else:
        missing = [name for name, given in (("SOURCE", source), ("OUTPUT", output)) if not given]
        if missing:
            out.print(f"{' and '.join(missing)} not given, and so not checked.", soft_wrap=True)
        out.print(summary(counts), soft_wrap=True)
    return ExitCode.NOTHING_DONE if counts["wrong"] else ExitCode.COMPLETE


def findings(check: Check) -> list[Finding]:
    """What a check found. One that hangs is left behind, in a thread of its own."""
    future = _begun(check)
    try:
        found = future.result(timeout=check.limit_s)
    except TimeoutError as error:
        said = f"no answer within {check.limit_s:g} s. {check.stuck}"
        if future.done():  # something that was tried has a limit of its own
            said = f"{type(error).__name__}: {error}"
        found = Finding(check.about, "wrong", said)
    except HooklineError as error:
        found = Finding(check.about, "wrong", str(error))
    except Exception as error:  # what nobody foresaw is told, and the other checks go on
        found = Finding(check.about, "wrong", f"{type(error).__name__}: {error}")
    return found if isinstance(found, list) else [found]


def _begun(check: Check) -> Future[Findings]:
    future = Future[Findings]()

    def look() -> None:
        try:
            future.set_result(check.look())
        except BaseException as error:
            future.set_exception(error)

    # A daemon thread: nobody waits for it at the end.
    context = copy_context()
    threading.Thread(
        target=context.run, args=(look,), name=f"{CHECK_THREADS} {check.about}", daemon=True
    ).start()
    return future


def line(finding: Finding) -> Table:
    """A finding on a terminal: long text stays in its column."""
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(width=5)
    row.add_column(width=10)
    row.add_column(ratio=1, overflow="fold")
    colour = COLOURS[finding.status]
    row.add_row(
        f"[{colour}]{finding.status}[/]", f"[bold]{finding.about}[/]", escape(printable(finding.text))
    )
    return row


def plain(finding: Finding) -> str:
    """A finding on one line."""
    return f"{finding.status:5} {finding.about:10} {escape(printable(finding.text))}"


def summary(counts: Counter[Status]) -> str:
    """All of it in one line."""
    if counts["wrong"]:
        return f"[bold red]{counts['wrong']} of {counts.total()} checks found something wrong.[/]"
    return f"[bold green]Nothing is wrong[/] ({counts.total()} checks, {counts['note']} with a note)."
