"""Kills whole runs at random points and looks at what the next run makes of it.

    python -m tests.integration.chaos [--kills 50] [--seed 1] [--results FILE]

Every run is the real command in a process of its own, over a mixed library: good, broken and short videos,
in a folder and in a bucket. It gets SIGKILL at a random moment, a third of the time while it
publishes. Then the same flow runs undisturbed (in this process, which spares it its start), and what it
publishes must equal that of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from prefect.settings import PREFECT_API_URL

from flows.rank_videos import rank_videos
from hookline.demo_models import write_demo_models
from hookline.embedded import prefect_server, prepare_environment
from hookline.lingering import VARIABLE
from tasks.core.names import legible
from tasks.core.settings import Settings
from tests import ROOT
from tests.library import ABOUT_THE_RUN_BEFORE, upload, write_broken_videos, write_good_videos
from tests.media import numbered_video
from tests.s3 import Bucket, Server, aws_environment
from tests.waiting import wait_for

TABLES = ("rankings", "windows", "failures", "library")
RUNS = {"run_id", "run_date", "scored_in", "scored_on", "ranked_in"}
TIMES = {"fetch_seconds", "decode_seconds", "fast_seconds", "deep_seconds", "last_modified"}
DIFFERS = {*RUNS, *TIMES, "batch_size", *ABOUT_THE_RUN_BEFORE}
"""What may differ between two runs over the same videos; `batch_size` as some answers are known already."""
GONE_WITHIN_S = 20
RUN_MARK = "HOOKLINE_CHAOS_RUN"
PUBLISHING_SHARE = 1 / 3
SHARED_SERVER_SHARE = 1 / 2
"""So many runs start no server of their own, which takes them half their time."""


class FolderPlace:
    """An output in a folder, seen from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = folder, str(folder)

    def names(self, kind: str = "") -> list[str]:
        return [
            str(path.relative_to(self.folder))
            for path in (self.folder / kind).rglob("*")
            if path.is_file() and path.suffix != ".part"
        ]

    def get(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


class BucketPlace:
    """An output in a bucket, seen from outside."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self.bucket, self.prefix, self.uri = bucket, prefix, f"{bucket.uri}/{prefix}"

    def names(self, kind: str = "") -> list[str]:
        return [name.removeprefix(f"{self.prefix}/") for name in self.bucket.names(f"{self.prefix}/{kind}")]

    def get(self, name: str) -> bytes:
        return self.bucket.get(f"{self.prefix}/{name}")


Place = FolderPlace | BucketPlace


@dataclass
class Chaos:
    """The library, where it lies, and what is known of undisturbed runs over it."""

    root: Path
    server: Server
    dice: random.Random
    uris: dict[str, list[str]] = field(default_factory=dict)
    expected: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    run_s: float = math.inf
    n_runs: int = 0
    rerun_s: list[float] = field(default_factory=list)
    reached: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.bucket = self.server.new_bucket()
        write_demo_models(self.root / "models")
        videos = self.root / "videos"
        write_good_videos(videos)
        write_broken_videos(videos)
        numbered_video(videos / "short.mp4", seconds=2)
        upload(videos, self.bucket, "videos")
        names = [str(path.relative_to(videos)) for path in videos.rglob("*") if path.is_file()]
        self.uris = {
            str(videos): [legible(f"file://{videos}/{name}") for name in names],
            f"{self.bucket.uri}/videos": [legible(f"{self.bucket.uri}/videos/{name}") for name in names],
        }

    def new_place(self, source: str) -> Place:
        name = f"output-{self.n_runs}"
        return BucketPlace(self.bucket, name) if source.startswith("s3://") else FolderPlace(self.root / name)

    def start(self, source: str, output: Place) -> subprocess.Popen[bytes]:
        """`hookline rank`, marked so that whatever it starts can be found."""
        self.n_runs += 1
        environment = os.environ | {
            RUN_MARK: f"{os.getpid()}-{self.n_runs}",
            "PYTHONPATH": str(ROOT),
            "PREFECT_HOME": str(self.root / "prefect"),
            **aws_environment(self.server),
        }
        environment.pop("PREFECT_API_URL", None)
        if self.dice.random() < SHARED_SERVER_SHARE and (url := PREFECT_API_URL.value()):
            environment["PREFECT_API_URL"] = url
        settings = self.root / "settings.json"  # JSON is YAML
        settings.write_text(json.dumps(self.groups))
        program = "from hookline.cli import main; main()"
        command = [sys.executable, "-c", program, "rank", source, output.uri, "--settings", str(settings)]
        with (self.root / "last-run.log").open("wb") as log:
            return subprocess.Popen(command, env=environment, cwd=self.root, stdout=log, stderr=log)

    @property
    def groups(self) -> dict[str, dict[str, Any]]:
        """The settings of all runs: every video is opened and scored in each."""
        models = self.root / "models"
        return {
            "select": {"rescore": True},
            "windows": {"window_seconds": [5], "stride_seconds": 2},
            "fast": {"model": str(models / "videomae")},
            "deep": {"model": str(models / "videollama3"), "max_new_tokens": 160},
            "speech": {"transcribe": False},
            "ranking": {"top_n": 2},
            "limits": {"scratch_dir": str(self.root / "scratch")},
        }

    def finish(self, source: str, output: Place) -> None:
        """A whole run."""
        settings = Settings.model_validate({"source": source, "output": output.uri, **self.groups})
        state = rank_videos(settings, return_state=True)
        assert state.name == "CompletedWithFailures", state  # broken videos are listed

    def remember(self, source: str) -> None:
        """An undisturbed run: what every later one is held against."""
        output, began = self.new_place(source), time.monotonic()
        assert self.start(source, output).wait(600) == 3, (self.root / "last-run.log").read_text()
        self.run_s = min(self.run_s, time.monotonic() - began)
        self.expected[source] = {kind: self.rows(output, kind) for kind in TABLES}
        self.check(source, output)

    def kill_one(self, source: str, output: Place) -> None:
        """A run that is killed at a random moment."""
        known = set(output.names())
        process = self.start(source, output)
        if self.dice.random() < PUBLISHING_SHARE:
            while process.poll() is None and known.issuperset(output.names("windows/")):
                time.sleep(0.1)
            time.sleep(self.dice.uniform(0, 0.05))
        else:
            time.sleep(self.dice.uniform(0, self.run_s))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        self.reached[stage_reached(set(output.names()) - known, process.returncode)] += 1

    def check(self, source: str, output: Place) -> None:
        """What must hold after a run that nobody disturbed, whatever was before it."""
        manifests, tables = complete_runs(output)
        orphans = [name for name in tables if Path(name).stem not in manifests]
        assert not orphans, f"tables of no complete run: {orphans}"
        assert json.loads(output.get(".hookline"))["under_way"] == {}
        newest = json.loads(output.get("latest.json"))["run_id"]
        assert newest == max(manifests)
        for kind in TABLES:
            assert self.rows(output, kind) == self.expected[source][kind], f"{kind} differs"
        self.check_account(source, output, json.loads(output.get(f"runs/{newest}.json"))["counts"])
        scratch = [path.name for path in (self.root / "scratch").glob("hookline-*/*")]
        assert scratch == ["lock"], f"left on scratch: {scratch}"
        self.check_processes()

    def check_account(self, source: str, output: Place, counts: dict[str, int]) -> None:
        ranked = {row["video_uri"] for row in self.rows(output, "rankings")}
        refused = [row["video_uri"] for row in self.rows(output, "failures") if row["start"] is None]
        assert sorted([*ranked, *refused]) == sorted(self.uris[source])
        assert counts["listed"] == sum(counts[k] for k in ("ranked", "unchanged", "rejected", "failed"))
        keys = [(row["video_uri"], row["start"], row["end"]) for row in self.rows(output, "rankings")]
        assert len(keys) == len(set(keys))

    def check_processes(self) -> None:
        """Nothing that any run started is left."""
        wait_for(lambda: not self.processes(), GONE_WITHIN_S, or_say=self.processes)

    def processes(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get(RUN_MARK, "").startswith(f"{os.getpid()}-")
                if ours or Path(process.cwd()).is_relative_to(self.root / "scratch"):
                    found.append(" ".join(process.cmdline()))
            except (psutil.Error, OSError):
                continue
        return found

    def rows(self, output: Place, kind: str) -> list[Any]:
        """The rows of the newest run as `latest.json` names it, less what may differ."""
        run_id = json.loads(output.get("latest.json"))["run_id"]
        (name,) = [n for n in output.names() if n.startswith(f"{kind}/") and Path(n).stem == run_id]
        table = pq.ParquetFile(pa.BufferReader(output.get(name))).read()
        return [comparable(row) for row in table.to_pylist()]


def comparable(value: Any) -> Any:
    """A value without what differs from run to run, floats to six digits."""
    match value:
        case dict():
            return {name: comparable(item) for name, item in value.items() if name not in DIFFERS}
        case list():
            return [comparable(item) for item in value]
        case float():
            return float(f"{value:.5g}")
    return value


def complete_runs(output: Place) -> tuple[set[str], list[str]]:
    """The ids of runs with a manifest, and the names of all tables."""
    names = output.names()
    manifests = {Path(n).stem for n in names if n.startswith("runs/") and n.endswith(".json")}
    return manifests, [n for n in names if n.endswith(".parquet")]


def stage_reached(new: set[str], code: int) -> str:
    """How far a killed run came, by what it left under the output."""
    if code != -signal.SIGKILL:
        return "it had ended"
    if any(name.startswith("runs/") and name.endswith(".json") for name in new):
        return "after its manifest"
    if any(name.endswith(".parquet") for name in new):
        return "between its tables and its manifest"
    return "before its tables"


def chaos(
    root: Path, server: Server, *, kills: int, seed: int, both: bool = True
) -> Iterator[dict[str, Any]]:
    """So many kills, each followed by a run that is looked at; yields the figures after each.

    Raises AssertionError where something is lost, doubled or left behind.
    """
    began = time.monotonic()
    chaos = Chaos(root, server, random.Random(seed))
    sources = list(chaos.uris) if both else list(chaos.uris)[-1:]
    places: dict[str, Place] = {}
    for source in sources:
        chaos.remember(source)
    for number in range(kills):
        source = sources[number % len(sources)]
        # Every other time it is a night like others, with earlier runs under the same output.
        if source not in places or chaos.dice.random() < 0.5:
            places[source] = chaos.new_place(source)
        chaos.kill_one(source, places[source])
        rerun = time.monotonic()
        chaos.finish(source, places[source])
        chaos.rerun_s.append(time.monotonic() - rerun)
        chaos.check(source, places[source])
        yield {
            "seed": seed,
            "kills": number + 1,
            "killed": dict(sorted(chaos.reached.items())),
            "reruns_equal_to_an_undisturbed_run": number + 1,
            "seconds_of_an_undisturbed_run": round(chaos.run_s, 1),
            "seconds_of_a_rerun": round(sum(chaos.rerun_s) / len(chaos.rerun_s), 1),
            "seconds": round(time.monotonic() - began),
        }


def main() -> None:
    """The long form, by hand."""
    from moto.server import ThreadedMotoServer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    prepare_environment()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    server = Server(f"http://{host}:{port}")
    os.environ |= aws_environment(server) | {VARIABLE: "0"}
    try:
        with tempfile.TemporaryDirectory(prefix="hookline-chaos-") as folder, prefect_server():
            for figures in chaos(Path(folder), server, kills=options.kills, seed=options.seed):
                print(json.dumps(figures), flush=True)
                if options.results:
                    options.results.write_text(json.dumps(figures, indent=2) + "\n")
    finally:
        moto.stop()


if __name__ == "__main__":
    main()
