"""Kills a night at random points while it reads and writes its large tables, and looks at what is left.

    python -m tests.integration.publish_chaos [--kills 50] [--seed 1]

Recalling and publishing are the real steps, in a process of their own without Prefect, over a library of two
thousand rows in row groups of 64: some videos are as they were, some changed, new, gone or broken. Killed at
any point, what readers are pointed to is whole; and the same night once more publishes, byte for byte, what
an undisturbed one does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests import ROOT

ROWS = 64
VIDEOS = 300


def night(folder: Path, run_id: str) -> None:
    """One night over the library of a folder; `first` begins it."""
    from prefect.logging import disable_run_logger

    from tasks import publish as publishing
    from tasks.adapters.models.checkpoints import resolve_checkpoint
    from tasks.adapters.storage import parquet_files, previous_tables
    from tasks.core.listing import Listing
    from tasks.core.records import Failure, FailureKind, Stage, VideoRef
    from tasks.core.tables import run_ranking
    from tasks.core.tables.reuse import Reuse
    from tasks.recall import plan_reuse, read_previous_run
    from tasks.run.ledger import Ledger
    from tasks.run.run import Run
    from tests.report import answer, ranked_video
    from tests.spec import make_spec

    for module in (publishing, parquet_files, previous_tables, run_ranking):
        vars(module)["ROW_GROUP_ROWS"] = ROWS
    fast = resolve_checkpoint(str(folder / "models" / "videomae"))
    scratch = Path(tempfile.mkdtemp(dir=folder))
    run = Run(replace(make_spec("s3://b", folder / "output", fast=fast), run_id=run_id), scratch)

    def ref(number: int) -> VideoRef:
        changed = run_id != "first" and number % 17 == 3
        return VideoRef(f"s3://b/{number:04}.mp4", f"{number}{' changed' * changed}", 1)

    listed = [ref(number) for number in range(VIDEOS) if run_id == "first" or number % 13]
    listed += [] if run_id == "first" else [ref(VIDEOS + number) for number in range(5)]
    listing = Listing(listed)
    print("ready", flush=True)
    with disable_run_logger():
        previous = read_previous_run.fn(run)
        known = plan_reuse(listing, previous, run) if previous else Reuse(listed)
        ledger = Ledger(listing, known, run_id=run_id)
        for video in known.to_open:
            if int(video.name[:4]) % 23 == 5:
                ledger.refuse(Failure(video, Stage.PROBE, FailureKind.REJECTED, "empty", "It is empty."))
                continue
            score = int(hashlib.sha256(video.key.encode()).hexdigest(), 16) % 101
            made = ranked_video(video.uri, segments=8, answered=answer(score=score))
            timeline = replace(made.timeline, video=video)
            scored = replace(
                made.scored, timeline=timeline, embeddings=made.scored.embeddings.repeat(12, axis=1)
            )
            ledger.rank(replace(made, scored=scored))
        publishing.publish.fn(ledger, run, "Completed")


def started(folder: Path, run_id: str = "second") -> subprocess.Popen[bytes]:
    """A process with a night, as soon as it begins."""
    command = [sys.executable, "-m", "tests.integration.publish_chaos", "--night", str(folder), run_id]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    return process


def whole_night(folder: Path, run_id: str = "second") -> float:
    """Run a night to its end; returns its seconds."""
    process, began = started(folder, run_id), time.monotonic()
    process.communicate()
    assert process.returncode == 0
    return time.monotonic() - began


def tables(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*.parquet")}


def check_readers(output: Path) -> str:
    """What `latest.json` names is whole; returns the id of the run."""
    run_id = json.loads((output / "latest.json").read_text())["run_id"]
    for entry in json.loads((output / "runs" / f"{run_id}.json").read_text())["files"]:
        content = Path(entry["uri"].removeprefix("file://")).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    return str(run_id)


def chaos(folder: Path, *, kills: int, seed: int) -> Iterator[dict[str, Any]]:
    """So many kills; yields the figures after each. Raises AssertionError where something is lost.

    `folder` has the demo models.
    """
    dice = random.Random(seed)
    whole_night(folder, "first")
    output, before = folder / "output", folder / "before"
    shutil.copytree(output, before)
    seconds = whole_night(folder)
    expected, pointed = tables(output), {"first": 0, "second": 0}
    for number in range(kills):
        shutil.rmtree(output)
        shutil.copytree(before, output)
        process = started(folder)
        time.sleep(dice.uniform(0, seconds))
        process.kill()
        process.communicate()
        newest = check_readers(output)
        pointed[newest] += 1
        assert all(expected[name] == content for name, content in tables(output).items())
        if newest == "first":  # otherwise it was over: once more, it would be the night after itself
            whole_night(folder)
        assert tables(output) == expected
        assert check_readers(output) == "second"
        yield {
            "kills": number + 1,
            "seed": seed,
            "pointer_after_the_kill": pointed,
            "seconds": round(seconds, 2),
        }


def main() -> None:
    """The long form, by hand; or one night."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--night", nargs=2)
    options = parser.parse_args()
    if options.night:
        night(Path(options.night[0]), options.night[1])
        return
    from hookline.demo_models import write_demo_models

    with tempfile.TemporaryDirectory(prefix="hookline-publish-chaos-") as folder:
        write_demo_models(Path(folder, "models"))
        for figures in chaos(Path(folder), kills=options.kills, seed=options.seed):
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
