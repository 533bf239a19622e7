"""How options are read, from the command line and from a file, and how help and errors speak of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, ArgumentCollection, Parameter, UnusedCliTokensError
from cyclopts.config import Dict
from cyclopts.help import ColumnSpec, DefaultFormatter, HelpEntry, NameRenderer
from cyclopts.help.specs import get_default_parameter_columns
from pydantic import ValidationError
from rich.console import Console, ConsoleOptions

from hookline.settings_file import read_settings
from tasks.core.errors import SettingsError
from tasks.core.settings import (
    Audit,
    Deep,
    Engine,
    Estimate,
    Fast,
    Limits,
    Publish,
    Ranking,
    Select,
    Speech,
    Windows,
)
from tasks.core.settings.group import Group
from tasks.core.settings.wrong import what_is_wrong


@Parameter(name="*")
class Groups(Group, title="Settings"):  # as errors call them
    """The settings beside source and output: each an option by its path."""

    select: Select = Select()
    windows: Windows = Windows()
    fast: Fast = Fast()
    deep: Deep = Deep()
    speech: Speech = Speech()
    ranking: Ranking = Ranking()
    audit: Audit = Audit()
    publish: Publish = Publish()
    estimate: Estimate = Estimate()
    limits: Limits = Limits()
    engine: Engine = Engine()


LISTS = ("--windows.window_seconds",)
"""Options that take several numbers."""


def joined(arguments: Sequence[str]) -> list[str]:
    """The arguments with each value at its option, where the parser would take it for another argument.

    >>> joined(["--windows.window_seconds", "15", "59", "--deep.enabled", "false", "in", "out"])
    ['--windows.window_seconds=15,59', '--deep.enabled=false', 'in', 'out']
    """
    found: list[str] = []
    for argument in arguments:
        before = found[-1] if found else ""
        name, given, _ = before.partition("=")
        number_of_list = name in LISTS and argument.replace(",", "").isdigit()
        switched = name.startswith("--") and not given and argument.lower() in ("true", "false")
        if number_of_list or switched:
            found[-1] = f"{before}{',' if given else '='}{argument}"
        else:
            found.append(argument)
    return found


def settings_from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """What no option says is taken from the file that `--settings` names.

    Raises:
        SettingsError: the file cannot be read, or says what only the command line says.
    """
    for token in arguments["--settings"].tokens:
        settings = read_settings(Path(token.value))
        if places := [name for name in ("source", "output", "settings") if name in settings]:
            raise SettingsError(f"{token.value}: {places[0]} is given on the command line, not in the file")
        Dict(settings, source=token.value, use_commands_as_keys=False)(app, commands, arguments)


def shown_default(value: object) -> str | None:
    """A default as help shows it and as it is typed; None where an option is empty or off by itself.

    >>> [shown_default(value) for value in (True, (15, 59), 0, False, "")]
    ['true', '15,59', '0', None, None]
    """
    if value is None or value is False or value == "" or value == ():
        return None
    if value is True:
        return "true"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def option_columns(
    console: Console, options: ConsoleOptions, entries: list[HelpEntry]
) -> tuple[ColumnSpec, ...]:
    """The columns of a command's help, of which the first holds the longest option in one piece."""
    longest = max(len(name) for entry in entries for name in entry.display_labels)
    columns = get_default_parameter_columns(console, options, entries)
    return tuple(
        column.copy(renderer=NameRenderer(width), max_width=width)
        if column.max_width and (width := max(longest, column.max_width))
        else column
        for column in columns
    )


WHOLE_NAMES = DefaultFormatter(column_specs=option_columns)
"""Help in which no option's name is broken over two lines."""


def only_one(wanted: str, names: Sequence[str], *, option: str, kind: str, under: str, first: str) -> str:
    """The one of these names that an option says in full, or by as much of its beginning as no other has.

    Without any names, the error says what to do `first`.

    Raises:
        SettingsError: there is none, or there are several.
    """
    if not names:
        raise SettingsError(f"{option} {wanted}: there is no {kind} under {under} yet: {first}")
    found = [name for name in names if name == wanted] or [name for name in names if name.startswith(wanted)]
    if len(found) != 1:
        how_many = f"is no {kind} {wanted!r}" if not found else f"are {len(found)} {kind}s {wanted!r}"
        newest = ", ".join(sorted(names)[-3:])
        raise SettingsError(f"{option}: there {how_many} under {under}; the newest are {newest}")
    return found[0]


def explain(error: Exception) -> str:
    """One line for each wrong setting: its path, what is wrong with it, what was given."""
    if isinstance(error, UnusedCliTokensError):
        extra = " ".join(error.unused_tokens or ())
        return f"{extra!r} is one argument too many: see --help. Values with spaces need quotes."
    wrong = error if isinstance(error, ValidationError) else error.__cause__
    if not isinstance(wrong, ValidationError):
        return str(error)
    return what_is_wrong(wrong)
