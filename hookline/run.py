"""A run from the command line: embedded Prefect, progress bars, the ranking on the screen, an exit code."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from hookline import ExitCode
from hookline.embedded import prefect_server
from hookline.lingering import lingers_s
from hookline.show import failures_table, print_left_out, print_run
from tasks.adapters.models.gpus import is_without_cuda
from tasks.adapters.storage import open_store
from tasks.core.errors import HooklineError
from tasks.core.manifest import Manifest
from tasks.core.planning.plan import Plan
from tasks.core.planning.words import plan_lines, plan_sentence
from tasks.core.settings import Settings
from tasks.core.settings.select import LIVE

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State


def run_embedded(settings: Settings, *, verbose: bool = False) -> int:
    """Run the flow to its end and print what came of it; returns the exit code.

    Raises:
        StorageError: source or output cannot be reached. That is found before Prefect starts.
    """
    out, err = Console(), Console(stderr=True)
    if settings.select.listing == LIVE:
        open_store(settings.source).check()
    open_store(settings.output).names(".hookline")  # a new folder is none
    with ExitStack() as server:
        with err.status("Starting Prefect ..."):
            imports = ["tasks.adapters.models.videomae"] if needs_models_here(settings) else []
            sent = server.enter_context(prefect_server(imports=imports, lingers_s=lingers_s()))
        # They take seconds to import, in which the server starts.
        from flows.rank_videos import rank_videos
        from hookline.progress import shown_progress

        with shown_progress(err):
            state = rank_videos(settings, return_state=True)
        with err.status("Recording the run ..."):
            recorded = sent(state)
            server.close()  # it ends when it has recorded all
    if not recorded:
        err.print("hookline: Prefect did not record the whole history of this run", soft_wrap=True)
    return report(state, settings, out=out, err=err, verbose=verbose)


def needs_models_here(settings: Settings) -> bool:
    """Whether the models will be needed, and in this process: a first run opens videos, if there are any."""
    engine = settings.engine
    elsewhere = engine.runner == "dask" or engine.device == "cuda" or not is_without_cuda()
    return not (settings.dry_run or elsewhere or open_store(settings.output).exists("latest.json"))


def report(state: State[Any], settings: Settings, *, out: Console, err: Console, verbose: bool) -> int:
    """Print how a run ended; returns its exit code."""
    from tasks.run.outcome import COMPLETED, DRY_RUN

    result = state.result(raise_on_failure=False)
    if not isinstance(result, dict):
        # The state's own message names the type of an error that nobody foresaw.
        why = result if isinstance(result, HooklineError) else state.message
        err.print(f"[bold red]hookline:[/] {escape(str(why))}", soft_wrap=True)
        return ExitCode.NOTHING_DONE
    if state.name == DRY_RUN:
        print_plan(out, Plan.model_validate(result), settings.source, verbose=verbose)
        return ExitCode.COMPLETE
    print_run(out, open_store(settings.output), Manifest.model_validate(result), verbose=verbose)
    if state.is_failed():
        return ExitCode.NOTHING_DONE
    return ExitCode.COMPLETE if state.name == COMPLETED else ExitCode.WITH_FAILURES


def print_plan(out: Console, plan: Plan, source: str, *, verbose: bool) -> None:
    """Print what a run would do, and to which videos."""
    for video in plan.videos:
        out.print(escape(f"{video.why:8}{video.uri}"), soft_wrap=True)
    if more := plan.estimate.videos - len(plan.videos):
        out.print(f"and {more:,} more", soft_wrap=True)
    if plan.refused:
        out.print(failures_table([each.model_dump() for each in plan.refused], open_store(source).uri))
    for what, text in plan_lines(plan):
        out.print(escape(f"{what}: {text}"), soft_wrap=True)
    out.print(escape(plan_sentence(plan)), soft_wrap=True)
    print_left_out(out, plan.left_out, verbose=verbose)
