"""A run as people read it in a terminal: the ranking, what failed, and where the files are."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hookline.videos import last_seen, of_videos
from tasks.adapters.storage import Store
from tasks.adapters.storage.published import read_in_parts, read_table
from tasks.core.amounts import number_of
from tasks.core.errors import SettingsError
from tasks.core.listing import LeftOut
from tasks.core.manifest import Manifest
from tasks.core.tables.schemas import RANKINGS, table_name, upgraded
from tasks.core.uris import name_in
from tasks.core.views.clock import clock, watched
from tasks.core.views.devices import devices
from tasks.core.views.escaping import last_part, printable
from tasks.core.views.speed import speed_line

NAME_WIDTH = 28

MAX_VIDEOS = 20
"""Videos that are printed; of more, those with the best moments."""

MAX_FAILURES = 50
"""Failures that are printed."""

SHOWN = ["video_uri", "rank", "start", "end", "score", "is_viral", "videomae_score"]
SHOWN_SINCE_4 = ["fast_reason", "best_of_moment", "cut_start", "cut_end", "duplicate_of"]
SHOWN_OF_ANSWER = ["virality_score", "hook_quality", "engagement_potential"]
WHY = {
    "%\nvideo": "video_percentile",
    "%\nlibrary": "library_percentile",
    "margin": "margin",
    "before": "previous_rank",
}


def print_run(
    console: Console, store: Store, manifest: Manifest, *, every: bool = False, verbose: bool = False
) -> None:
    """Print the ranking and the failures of a run; of a large library, the best and the first.

    The best segment of each moment stands for it, unless `every` segment is asked for. `verbose` names the
    hidden files that were left out.
    """
    counts, seconds = manifest.counts, manifest.seconds
    audited = counts.get("audited", 0)
    audits = f"and {number_of(audited, 'audited window')} " if audited else ""
    cached = counts.get("cached")  # runs of the first versions had no cache
    source = manifest.source
    columns = [*SHOWN, *(f"videollama3.{name}" for name in SHOWN_OF_ANSWER)]
    rows = read_in_parts(store, "rankings", manifest, columns, optional=SHOWN_SINCE_4)
    best, left_out, copies = best_videos(rows, copies=every)
    if len(best):
        shown = best if every else best_of_moments(best)
        console.print(ranking_table(shown.to_pylist(), source))
        _print_alternatives(console, len(best) - len(shown), "the same moments", store)
        _print_alternatives(console, copies, "what other videos show", store)
        _print_left_out(console, left_out, "more video", store, manifest, "rankings")
    failures = read_table(store, "failures", manifest)
    if len(failures):
        console.print(failures_table(failures.slice(0, MAX_FAILURES).to_pylist(), source))
        left_out = max(len(failures) - MAX_FAILURES, 0)
        _print_left_out(console, left_out, "more failure", store, manifest, "failures")
    console.print(
        f"[bold]{manifest.state}[/]: {manifest.message}; "
        f"{number_of(counts['windows'], 'window')}, {number_of(counts['candidates'], 'candidate')} "
        f"{audits}{f'({cached} analysed before) ' if cached else ''}in {seconds['whole']:.0f} s",
        soft_wrap=True,
    )
    if manifest.left_out:  # earlier versions did not count it
        print_left_out(console, manifest.left_out, verbose=verbose)
    if on := devices(manifest):
        console.print(f"Models on {escape(on)}", soft_wrap=True)
    if speed := speed_line(manifest):
        console.print(f"Speed of a device: {escape(speed)}", soft_wrap=True)
    console.print(f"Run {manifest.run_id} in {escape(store.uri)}", soft_wrap=True)


def print_left_out(console: Console, left_out: LeftOut, *, verbose: bool) -> None:
    """Print how many files of the source were left out, and why; `verbose` names the hidden ones."""
    if left_out.sentence:
        hint = "; -v names the hidden ones" if left_out.passed_over and not verbose else ""
        console.print(escape(left_out.sentence + hint), soft_wrap=True)
    if not verbose:
        return
    for name in left_out.named:
        console.print(f"  {escape(printable(name))}", soft_wrap=True)
    if more := left_out.passed_over - len(left_out.named):
        console.print(f"  ... and {more:,} more")


def print_videos(
    console: Console, store: Store, manifest: Manifest, part: str, *, every: bool = False
) -> None:
    """Print all that a run says of the videos with `part` in their URI: also why each rank is what it is.

    The best segment of each moment stands for it, unless `every` segment is asked for.

    Raises:
        SettingsError: no video is called so.
    """
    found = of_videos(ranking_of(store, manifest), part)
    shown = found if every else best_of_moments(found)
    ranking = shown.to_pylist()
    failures = of_videos(read_table(store, "failures", manifest), part).to_pylist()
    if not ranking and not failures:
        seen = last_seen(store, manifest, part)
        where = f"--video {part}: no video of run {manifest.run_id} has this in its URI"
        raise SettingsError(f"{where}; {seen}" if seen else where)
    if ranking:
        console.print(ranking_table(ranking, manifest.source, why=True))
        _print_alternatives(console, len(found) - len(shown), "the same moments", store)
    for row in ranking:
        if deep := row["videollama3"]:
            why = escape(printable(deep["reasoning"], width=500))
            console.print(f"[bold]#{row['rank']} {clock(watched(row)[0])}[/] {why}", soft_wrap=True)
        if original := row["duplicate_of"]:
            name, at = short_name(original["video_uri"], manifest.source), clock(original["start"])
            similar = f"(cosine {row['duplicate_similarity']:.4f})"
            console.print(
                f"[bold]#{row['rank']}[/] shows what {name} shows at {at} {similar}", soft_wrap=True
            )
    if failures:
        console.print(failures_table(failures, manifest.source))
    console.print(f"Run {manifest.run_id} in {escape(store.uri)}", soft_wrap=True)


def ranking_of(store: Store, manifest: Manifest) -> pa.Table:
    """The ranking of a run of any version, with all columns of this one and its day."""
    ranking = upgraded(read_table(store, "rankings", manifest), RANKINGS)
    return ranking.add_column(1, "run_date", pa.repeat(pa.scalar(manifest.run_date), len(ranking)))


def columns_of(fields: Iterable[pa.Field], prefix: str = "") -> Iterator[str]:
    """The columns of a schema, of structs their fields: `videollama3.hook_quality`."""
    for field in fields:
        if pa.types.is_struct(field.type):
            yield from columns_of(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def best_videos(ranking: Iterable[pa.Table], *, copies: bool = True) -> tuple[pa.Table, int, int]:
    """The rows of the `MAX_VIDEOS` videos with the best moments, and how many videos are left out.

    `ranking` has the best of the run first, some rows at a time. Without `copies`, what another video shows
    is left out, too; the last number says how many rows.
    """
    shown = pa.nulls(0, pa.string())
    rows: list[pa.Table] = []
    videos = left_out = 0
    for table in ranking:
        ranks = table["rank"].value_counts().to_pylist()  # a comparison with 1 would import pandas
        videos += sum(each["counts"] for each in ranks if each["values"] == 1)
        if not copies and "duplicate_of" in table.column_names:
            originals = table.filter(pc.is_null(table["duplicate_of"]))
            left_out += len(table) - len(originals)
            table = originals
        if len(shown) < MAX_VIDEOS:
            shown = pa.chunked_array([shown, table["video_uri"].unique()]).unique()[:MAX_VIDEOS]
        rows.append(table.filter(pc.is_in(table["video_uri"], shown)))
    return pa.concat_tables(rows), videos - len(shown), left_out


def best_of_moments(ranking: pa.Table) -> pa.Table:
    """The rows of the best segment of each moment; of earlier versions, which knew none, all rows."""
    if "best_of_moment" not in ranking.column_names:
        return ranking
    best = ranking["best_of_moment"]
    return ranking.filter(pc.or_kleene(best, pc.is_null(best)))


def ranking_table(ranking: list[dict[str, Any]], source: str, *, why: bool = False) -> Table:
    """The segments of a run by video and rank; what a model did not say, or could not, stays empty.

    `why` adds the percentiles in the video and in the library, the margin, and the rank of the run before.
    """
    table = titled("Moments by viral potential", first_column="video")
    table.columns[0].no_wrap, table.columns[0].overflow = False, "ellipsis"  # it gives way, and no number
    for name in ("#", "from", "to", "score", "deep", "fast", "hook", "engage", *(WHY if why else ())):
        table.add_column(name, justify="right", no_wrap=True)
    rows = sorted(ranking, key=lambda row: (row["video_uri"], row["rank"]))
    for previous, row in zip([None, *rows], rows, strict=False):
        new_video = previous is None or previous["video_uri"] != row["video_uri"]
        deep = row["videollama3"] or {}
        start_s, end_s = watched(row)
        table.add_row(
            short_name(row["video_uri"], source) if new_video else "",
            str(row["rank"]),
            clock(start_s),
            clock(end_s),
            f"[bold]{row['score']}[/]" if row["is_viral"] else str(row["score"]),
            str(deep.get("virality_score", "")),
            "" if row.get("fast_reason") else str(row["videomae_score"]),
            str(deep.get("hook_quality", "")),
            str(deep.get("engagement_potential", "")),
            *(("" if row[name] is None else f"{row[name]:.0f}" for name in WHY.values()) if why else ()),
        )
    return table


def failures_table(failures: list[dict[str, Any]], source: str) -> Table:
    """What could not be used, and why."""
    table = titled("Not ranked, or only in part", first_column="video")
    table.add_column("reason", no_wrap=True)
    table.add_column("detail")
    for row in failures:
        table.add_row(
            short_name(row["video_uri"], source),
            row["reason"],
            escape(printable(row["detail"], width=500)),
        )
    return table


def titled(title: str, *, first_column: str) -> Table:
    """An empty table in the one style there is."""
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.padding = (0, 0)
    table.add_column(first_column, no_wrap=True)
    return table


def _print_alternatives(console: Console, count: int, what: str, store: Store) -> None:
    if count:
        more = number_of(count, "more segment shows", "more segments show")
        command = escape(shlex.join(["hookline", "show", store.uri, "--all"]))
        console.print(f"{more} {what}: {command}\n", soft_wrap=True)


def _print_left_out(
    console: Console, count: int, what: str, store: Store, manifest: Manifest, table: str
) -> None:
    if count:
        name = table_name(table, run_date=manifest.run_date, run_id=manifest.run_id)
        console.print(f"... and {number_of(count, what)}: {escape(f'{store.uri}/{name}')}\n", soft_wrap=True)


def short_name(uri: str, source: str) -> str:
    """A video as the source calls it, as short as a column is, and marked as no markup."""
    return escape(last_part(printable(name_in(uri, source)), width=NAME_WIDTH))
