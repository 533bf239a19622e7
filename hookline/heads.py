"""Heads of the fast score, as people read of them in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from hookline.options import only_one
from hookline.show import titled
from tasks.adapters.models.head import kept_heads, load_head, promote, promoted_head, told_of
from tasks.adapters.storage import Store
from tasks.core.amounts import number_of
from tasks.core.learning.promotion import compared_in_words
from tasks.learning.train import Trained


def print_trained(console: Console, trained: Trained, output: str) -> None:
    """Print what a head was fitted on, how much better it is, and whether it scores from now on."""
    fitted, compared = trained.fitted, trained.exam.candidates
    console.print(
        f"Fitted on {number_of(fitted.rows, 'judged window')} of {number_of(fitted.videos, 'video')} "
        f"(penalty {fitted.alpha:g}, R2 of whole videos {fitted.r2:+.3f})",
        soft_wrap=True,
    )
    if (gain := compared.value) is not None:
        found = compared_in_words(gain, compared.low, videos=compared.videos, champion=trained.champion)
        console.print(found, soft_wrap=True)
    if trained.kept:
        console.print(f"[bold]Not promoted[/]: {escape('; '.join(trained.kept))}", soft_wrap=True)
        console.print(f"hookline heads {escape(output)} --promote {trained.head} does so", soft_wrap=True)
    else:
        console.print("[bold]Promoted[/]: runs with --fast.head latest score by it", soft_wrap=True)
    console.print(f"Kept in {escape(trained.uri)}", soft_wrap=True)


def print_heads(console: Console, store: Store) -> None:
    """Print all heads under an output, the newest first, and which of them scores."""
    names, promoted = kept_heads(store), promoted_head(store)
    if not names:
        why = f"There is no head under {escape(store.uri)} yet: hookline train fits one"
        console.print(why, soft_wrap=True)
        return
    table = titled("Heads of the fast score", first_column="head")
    for name in ("videos", "windows", "better by", "at least", ""):
        table.add_column(name, justify="right", no_wrap=True)
    broken = []
    for name in reversed(names):
        about = told_of(store, name)
        scores = "promoted" if promoted and promoted["head"] == name else ""
        table.add_row(
            name,
            *(escape(str((about or {}).get(key, ""))) for key in ("videos", "rows")),
            *(_signed((about or {}).get(key)) for key in ("gain", "gain_at_least")),
            scores if about is not None else "broken",
        )
        if about is None:
            broken.append(f"heads/{name}/head.json cannot be read: put it back, or remove the folder")
    console.print(table)
    for sentence in broken:
        console.print(sentence, soft_wrap=True)
    if promoted:
        console.print(
            f"{promoted['head']} since {escape(str(promoted.get('promoted_at')))}: "
            f"{escape(str(promoted.get('because')))}",
            soft_wrap=True,
        )
    else:
        console.print("None is promoted: --fast.head latest scores by salience", soft_wrap=True)


def promote_head(store: Store, wanted: str) -> str:
    """Promote a head by its id, or by as much of its beginning as no other has; returns its id.

    Raises:
        SettingsError: there is no such head, or several.
        ModelError: it cannot be read.
    """
    first = "hookline train fits one"
    name = only_one(wanted, kept_heads(store), option="--promote", kind="head", under=store.uri, first=first)
    head = load_head(f"{store.uri}/heads/{name}")
    promote(store, name, head.revision, because="somebody said so")
    return name


def _signed(value: object) -> str:
    return f"{value:+.3f}" if isinstance(value, int | float) else ""
