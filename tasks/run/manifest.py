"""The manifest of a run, `runs/<run_id>.json`, and `latest.json`, the pointer to the newest one."""

from __future__ import annotations

import hashlib
import json
import platform
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tasks.core.manifest import Manifest
from tasks.core.throughput import throughput
from tasks.run.ledger import Ledger
from tasks.work.spec import CODE_VERSION, RunSpec

LIBRARIES = ("prefect", "torch", "transformers", "av", "decord", "pyarrow", "s3fs")


def run_manifest(ledger: Ledger, spec: RunSpec, *, state: str, files: list[dict[str, Any]]) -> Manifest:
    """The content of `runs/<run_id>.json`."""
    ended_at = datetime.now(UTC)
    counts = ledger.counts
    analysed = counts["candidates"] + counts["audited"]
    hours = sum(video.timeline.duration_s for video in ledger.ranked) / 3600
    seconds = {
        "fetch": sum(video.timeline.fetch_seconds or 0 for video in ledger.ranked),
        "decode": sum(video.timeline.decode_seconds or 0 for video in ledger.ranked),
        "speech": sum(video.scored.speech_seconds for video in ledger.ranked),
        "fast": sum(video.scored.seconds for video in ledger.ranked),
        "deep": sum(video.deep_seconds for video in ledger.ranked),
    }
    whole_s = (ended_at - spec.started_at).total_seconds()
    return Manifest(
        run_id=spec.run_id,
        run_date=spec.run_date,
        state=state,
        message=ledger.summary,
        source=spec.source.uri,
        started_at=spec.started_at.isoformat(timespec="seconds"),
        ended_at=ended_at.isoformat(timespec="seconds"),
        seconds={"whole": whole_s, **seconds},
        estimate=ledger.expected and ledger.expected.compared(whole_s),
        counts=counts,
        left_out=ledger.left_out,
        inventory=ledger.inventory,
        windows_per_second=_rate(counts["windows"], seconds["fast"]),
        segments_per_second=_rate(analysed - counts["cached"], seconds["deep"]),
        hours_of_video=hours,
        throughput=throughput(
            [work for video in ledger.ranked for work in video.scored.works],
            [work for video in ledger.ranked for work in video.deep_works],
            video_hours=hours,
        ),
        files=files,
        models=dict(spec.stamp.models),
        devices=_devices(ledger),
        settings=spec.settings.model_dump(mode="json"),
        versions=versions(),
    )


def newer_pointer(current: bytes | None, *, run_id: str) -> bytes | None:
    """The content of `latest.json` after a run; None if it already names a run that began later.

    Runs that overlap may end in any order, and readers must not go back in time. (The ids of runs
    begin with their time.)
    """
    with suppress(ValueError, KeyError, TypeError):  # anything but a pointer is replaced
        if current and str(json.loads(current)["run_id"]) > run_id:
            return None
    return json_bytes({"run_id": run_id, "manifest": f"runs/{run_id}.json"})


def file_entry(uri: str, local: Path, rows: int) -> dict[str, Any]:
    """A published file in the manifest."""
    with local.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"uri": uri, "rows": rows, "bytes": local.stat().st_size, "sha256": digest}


def versions() -> dict[str, str]:
    """Versions of everything whose change could change a row."""
    return {
        "hookline": CODE_VERSION,
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
    }


def _devices(ledger: Ledger) -> list[dict[str, str | None]]:
    found = {device for video in ledger.ranked for device in video.scored.devices}
    return [asdict(device) for device in sorted(found, key=str)]


@cache  # a job reads them six times, each from a file
def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # decord has no wheel for every machine
        return "not installed"


def json_bytes(content: object) -> bytes:
    """JSON as it is published."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if seconds > 0 else None
