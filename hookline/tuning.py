"""Tuning from the command line, and adapters as whole checkpoints."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from hookline import ExitCode
from hookline.options import only_one
from tasks.adapters.models.checkpoints import ADAPTER_CONFIG, resolve_adapter, resolve_checkpoint
from tasks.adapters.storage import Store, open_store
from tasks.core.errors import SettingsError

ADAPTER_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")


def run_tune(output: str, *, epochs: int, learning_rate: float, adapter: str, merge: Path | None) -> int:
    """Train an adapter, or take one that is there, and write a whole checkpoint if wanted; the exit code.

    Raises:
        SettingsError: there are too few labels, or there is no such adapter, or the folder is taken.
    """
    from tasks.learning.tune import exam_in_words, tune

    console, store = Console(), open_store(output)
    if merge and merge.exists():
        raise SettingsError(f"--merge {merge} is there already: name a new folder")
    if adapter and not merge:
        raise SettingsError(f"--adapter {adapter} is for --merge FOLDER: runs use it by --deep.adapter")
    if adapter:
        uri, code = f"{store.uri}/adapters/{adapter_called(store, adapter)}", ExitCode.COMPLETE
    else:
        err = Console(stderr=True)
        tuned = tune(
            store,
            epochs=epochs,
            learning_rate=learning_rate,
            say=lambda line: err.print(line, markup=False, highlight=False, soft_wrap=True),
        )
        uri, code = tuned.uri, ExitCode.WITH_FAILURES if tuned.exam.verdict else ExitCode.COMPLETE
        console.print(exam_in_words(tuned.exam), soft_wrap=True)
        console.print(f"Kept. Use it with --deep.adapter {escape(uri)}", soft_wrap=True)
    if merge:
        write_whole(uri, merge)
        console.print(f"Written as a whole. Use it with --deep.model {escape(str(merge))}", soft_wrap=True)
    return code


def adapter_called(store: Store, name: str) -> str:
    """The id of the one adapter that begins so.

    Raises:
        SettingsError: there is none, or there are several.
    """
    parts = (each.split("/") for each in store.names("adapters"))
    there = [part[1] for part in parts if part[2:] == [ADAPTER_CONFIG] and ADAPTER_ID.fullmatch(part[1])]
    first = "hookline tune trains one"
    return only_one(name, there, option="--adapter", kind="adapter", under=store.uri, first=first)


def write_whole(uri: str, folder: Path) -> None:
    """Write the checkpoint that an adapter was trained on, with the adapter in its weights.

    Raises:
        ModelError: one of both cannot be had.
    """
    from tasks.adapters.models.videollama3.adapter import check_adapter, trained_on, write_merged

    adapter = resolve_adapter(uri)
    base = resolve_checkpoint(*trained_on(adapter))
    check_adapter(adapter, base)
    write_merged(base, adapter, folder)
