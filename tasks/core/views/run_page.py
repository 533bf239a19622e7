"""What the page of a run shows in the Prefect UI, as rows and as Markdown.

Every string in it is Markdown, also the cells of tables: the UI renders them so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.core.amounts import number_of, size_text
from tasks.core.manifest import Manifest
from tasks.core.uris import name_in
from tasks.core.views.clock import clock, watched
from tasks.core.views.devices import devices
from tasks.core.views.escaping import UNKNOWN, in_markdown, link
from tasks.core.views.speed import speed_line, speed_rows

Row = Mapping[str, Any]

STAGES = {"fetch": "fetching", "decode": "decoding", "fast": "VideoMAE", "deep": "VideoLLaMA3"}
SKIPPED = (
    ("unchanged", "Unchanged, and not opened", "video"),
    ("cached", "Analysed before", "segment"),
    ("unanswered", "Without an answer", "candidate"),
)
BAR_WIDTH = 20


def ranking_rows(rows: Iterable[Row], source: str) -> list[dict[str, Any]]:
    """Rows of `rankings` as the table of the page."""
    return [_ranking_row(row, source) for row in rows]


def _ranking_row(row: Row, source: str) -> dict[str, Any]:
    deep = row["videollama3"] or {}
    links = [link(name, row[f"{name}_uri"]) for name in ("clip", "thumbnail") if row[f"{name}_uri"]]
    return {
        "#": row["run_rank"],
        "video": link(name_in(row["video_uri"], source), row["video_uri"]),
        "from - to": " - ".join(map(clock, watched(row))),
        "score": row["score"],
        "viral": "yes" if row["is_viral"] else "no",
        "fast": UNKNOWN if row["fast_reason"] else row["videomae_score"],
        "deep": _or_unknown(deep.get("virality_score")),
        "hook": _or_unknown(deep.get("hook_quality")),
        "engagement": _or_unknown(deep.get("engagement_potential")),
        "elements": in_markdown(", ".join(deep.get("viral_elements") or []) or None, width=120),
        "recommendation": in_markdown(deep.get("recommendation"), width=200)
        if deep
        else in_markdown(f"not analysed: {row['deep_reason'] or row['deep_status']}"),
        "files": " ".join(links) or UNKNOWN,
    }


def failure_rows(rows: Iterable[Row], source: str) -> list[dict[str, Any]]:
    """Rows of `failures` as the table of the page."""
    return [
        {
            "video": in_markdown(name_in(row["video_uri"], source)),
            "stage": in_markdown(row["stage"]),
            "kind": in_markdown(row["kind"]),
            "reason": in_markdown(row["reason"]),
            "detail": in_markdown(row["detail"], width=300),
            "attempts": row["attempts"],
            "from - to": UNKNOWN if row["start"] is None else f"{clock(row['start'])} - {clock(row['end'])}",
        }
        for row in rows
    ]


def summary(manifest: Manifest, failures: Mapping[tuple[str, str, str], int], *, deep: str) -> str:
    """The run in numbers. `failures` counts stage, kind and reason; `deep` says what the deep stage did."""
    counts, seconds = manifest.counts, manifest.seconds
    parts = [
        f"# {in_markdown(manifest.state)}",
        in_markdown(manifest.message) + f", in {clock(round(seconds['whole']))}.",
        _table(
            ["videos", "count"],
            [(name, counts[name]) for name in ("listed", "ranked", "unchanged", "rejected", "failed")],
        ),
    ]
    if failures:
        rows = [(*key, count) for key, count in sorted(failures.items())]
        parts += ["## What went wrong", _table(["stage", "kind", "reason", "count"], rows)]
    if manifest.report:
        parts.append(f"Report: {link(manifest.report, manifest.report)}")
    parts += ["## Work", _table(["what", "how much"], _work(manifest))]
    if speed_line(manifest):
        parts += ["## Speed of one device", _table(["", "VideoMAE", "VideoLLaMA3"], speed_rows(manifest))]
    parts += ["## Skipped", *_skipped(manifest, deep)]
    files = [(entry["rows"], size_text(entry["bytes"]), entry["uri"]) for entry in manifest.files]
    parts += ["## Files", _table(["rows", "size", "file"], files)]
    parts.append(
        f"Run {in_markdown(manifest.run_id)}, from {in_markdown(manifest.source)}, "
        f"started {in_markdown(manifest.started_at)}."
    )
    return "\n\n".join(parts) + "\n"


def _work(manifest: Manifest) -> list[tuple[str, str]]:
    counts, seconds = manifest.counts, manifest.seconds
    asked = counts["candidates"] + counts.get("audited", 0)
    return [
        ("video opened", f"{manifest.hours_of_video:.2f} h"),
        ("windows scored", f"{counts['windows']} ({_rate(manifest.windows_per_second)})"),
        (
            "segments analysed",
            f"{asked - counts['cached']} ({_rate(manifest.segments_per_second)})",
        ),
        ("taken from the cache", f"{counts['cached']} of {asked} segments"),
        ("models on", devices(manifest) or UNKNOWN),
        *((f"seconds {name}", f"{seconds[stage]:.1f}") for stage, name in STAGES.items()),
    ]


def _skipped(manifest: Manifest, deep: str) -> list[str]:
    counts, left_out = manifest.counts, manifest.left_out
    lines = [f"- {what}: {number_of(counts[name], thing)}." for name, what, thing in SKIPPED if counts[name]]
    lines += [f"- The deep stage: {in_markdown(deep)}."] * bool(deep)
    if left_out and left_out.sentence:
        lines.append(f"- {in_markdown(left_out.sentence)}.")
    return ["\n".join(lines) or "Nothing."]


def progress(
    done: Mapping[str, int], expected: Mapping[str, int], steps: Sequence[str] = (), *, elapsed_s: float
) -> str:
    """How far a run is, as Markdown, and what it is busy with. Totals grow as videos are opened."""
    rows = []
    for what, total in expected.items():
        count = min(done[what], total)
        filled = BAR_WIDTH * count // total if total else 0
        rate = count / elapsed_s if elapsed_s > 0 else 0
        left = clock(round((total - count) / rate)) if rate else UNKNOWN
        rows.append((what, f"{count} of {total}", "█" * filled + "░" * (BAR_WIDTH - filled), left))
    now = f" Now {in_markdown(', '.join(steps))}." if steps else ""
    return f"{_table(['', 'done', '', 'left'], rows)}\n\nAfter {clock(round(elapsed_s))}.{now}\n"


def counted(rows: Sequence[Row]) -> Counter[tuple[str, str, str]]:
    """How often each stage, kind and reason of a failure occurs."""
    return Counter((row["stage"], row["kind"], row["reason"]) for row in rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *([in_markdown(str(cell)) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _or_unknown(value: int | None) -> int | str:
    return UNKNOWN if value is None else value


def _rate(per_second: float | None) -> str:
    return UNKNOWN if per_second is None else f"{per_second:.1f} a second"
