"""The command line: `hookline rank | demo | demo-models | show`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Yaml
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from hookline import ExitCode
from hookline.embedded import prepare_environment
from tasks.core.errors import HooklineError, SettingsError
from tasks.core.settings import Deep, Engine, Fast, Limits, Publish, Ranking, Select, Settings, Windows

app = App(
    name="hookline",
    help="Rank the moments of videos by viral potential.",
    # Options are the settings' own paths: --ranking.top_n, not --ranking.top-n; --deep.enabled=false.
    result_action="return_value",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=(), name_transform=lambda name: name),
)
app.meta.suppress_keyboard_interrupt = False
app["--help"].group = app["--version"].group = "Options"


@app.command
def rank(
    source: str,
    output: str,
    /,
    *,
    dry_run: bool = False,
    select: Select = Select(),
    windows: Windows = Windows(),
    fast: Fast = Fast(),
    deep: Deep = Deep(),
    ranking: Ranking = Ranking(),
    publish: Publish = Publish(),
    limits: Limits = Limits(),
    engine: Engine = Engine(),
) -> int:
    """Rank the videos of SOURCE and write the rankings under OUTPUT.

    Every setting is an option by its path. `--settings FILE` reads them from YAML; options win.

    Parameters
    ----------
    source
        Where the videos are: s3://bucket/prefix, or a folder.
    output
        Where the rankings go: s3://bucket/prefix, or a folder.
    dry_run
        List the videos and stop: nothing is read or written.
    """
    from hookline.run import run_embedded

    return run_embedded(
        Settings(
            source=source,
            output=output,
            dry_run=dry_run,
            select=select,
            windows=windows,
            fast=fast,
            deep=deep,
            ranking=ranking,
            publish=publish,
            limits=limits,
            engine=engine,
        )
    )


@app.command
def show(output: str, /) -> int:
    """Print the newest ranking under OUTPUT as a table."""
    from hookline.show import print_run
    from tasks.adapters.published import newest_manifest
    from tasks.adapters.storage import open_store

    store = open_store(output)
    print_run(Console(), store, newest_manifest(store))
    return ExitCode.COMPLETE


@app.command
def demo(folder: Path = Path("demo"), /) -> int:
    """Make sample videos and untrained demo models in FOLDER, and rank the videos with them."""
    from hookline.demo import run_demo

    return run_demo(folder)


@app.command
def demo_models(folder: Path, /) -> int:
    """Write small untrained checkpoints of the real architectures: FOLDER/videomae, FOLDER/videollama3."""
    from hookline.demo_models import write_demo_models

    write_demo_models(folder)
    Console().print(
        f"Written. Use them with --fast.model {folder}/videomae --deep.model {folder}/videollama3 "
        "(untrained: they rank at random).",
        soft_wrap=True,
    )
    return ExitCode.COMPLETE


@app.meta.default
def with_settings_file(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)], settings: Path | None = None
) -> int:
    """Rank the moments of videos by viral potential.

    Parameters
    ----------
    settings
        A YAML file with settings for `rank`; options given on the command line win over it.
    """
    if settings and not settings.is_file():
        raise SettingsError(f"--settings {settings}: there is no such file")
    app.config = (Yaml(settings, use_commands_as_keys=False),) if settings else ()
    result = app(tokens, exit_on_error=False, print_error=False)
    return result if isinstance(result, int) else ExitCode.COMPLETE


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script: the only place that exits."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns its exit code."""
    errors = Console(stderr=True)
    prepare_environment()
    try:
        return int(app.meta(arguments, exit_on_error=False, print_error=False) or ExitCode.COMPLETE)
    except (CycloptsError, SettingsError, ValidationError) as error:
        errors.print(f"[bold red]hookline:[/] {escape(explain(error))}", soft_wrap=True)
        return ExitCode.BAD_ARGUMENTS
    except (HooklineError, OSError) as error:
        errors.print(f"[bold red]hookline:[/] {escape(str(error))}", soft_wrap=True)
        return ExitCode.NOTHING_DONE
    except KeyboardInterrupt:
        errors.print("[bold red]hookline:[/] interrupted")
        return ExitCode.INTERRUPTED


def explain(error: Exception) -> str:
    """One line for each wrong setting: its path, what is wrong with it, what was given."""
    wrong = error if isinstance(error, ValidationError) else error.__cause__
    if not isinstance(wrong, ValidationError):
        return str(error)
    group = [] if wrong.title == "Settings" else [wrong.title.lower()]
    return "\n".join(
        f"{'.'.join([*group, *map(str, item['loc'])])}: {item['msg'].removeprefix('Value error, ')}"
        + (f", not {item['input']!r}" if item["type"] != "value_error" else "")
        for item in wrong.errors()
    )
