"""Two minutes of the HTTP service with callers who wait, a restart and a kill in the middle.

    python benchmarks/service_restarts.py [--known-callers 50] [--new-callers 5] [--seconds 120]

Callers of known videos ask for one after the other, once in two seconds; callers of new ones for a video that
nobody knows, as soon as they have the answer to the last. After a third of the time the service is stopped
and started again, after two thirds it is killed and started again. Whoever gets no answer asks again with the
same Idempotency-Key. An answer is wrong if it is of a video of another length, or, about a new one, of a run
that somebody else got. Lost are jobs that did not succeed, and questions without an answer. Figures go to
benchmarks/results/service_restarts.json.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
from cyclopts import App
from deep_stage_report import at_most, machine, provenance
from service import VIDEOS, draw, quantiles, settings

from hookline.cli import run
from hookline.demo_models import write_demo_models

RESULTS = Path(__file__).parent / "results" / "service_restarts.json"
SHORTEST_S, PAUSE_S, PATIENCE_S = 8, 2.0, 180


@dataclass
class Seen:
    """What callers have seen: how long each answer took with all repeats, and what else they were told."""

    known_ms: list[float] = field(default_factory=list)
    new_ms: list[float] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)
    runs: set[str] = field(default_factory=set)
    wrong: int = 0
    unanswered: int = 0


def main(*, known_callers: int = 50, new_callers: int = 5, seconds: float = 120) -> None:
    """Measure it, and write it down."""
    with tempfile.TemporaryDirectory(prefix="hookline-service-") as name:
        folder = Path(name)
        (folder / "videos").mkdir()
        for number in range(VIDEOS):  # each of its own length
            draw(folder / "videos" / f"{number}.mp4", seconds=SHORTEST_S + number, start=number)
        write_demo_models(folder / "models")
        run(["rank", str(folder / "videos"), str(folder / "output"), *settings(folder / "models")])
        result = asyncio.run(measured(folder, known_callers, new_callers, seconds))
    about = provenance(["python", "benchmarks/service_restarts.py", *sys.argv[1:]]) | {"machine": machine()}
    about["load_average"] = os.getloadavg()[0]  # nothing else should run
    goals = [at_most(what, result[what], 0) for what in ("jobs lost", "answers lost", "answers wrong")]
    RESULTS.write_text(json.dumps(about | result | {"goals": goals}, indent=1) + "\n")
    print(json.dumps(result | {"goals": goals}, indent=1))


async def measured(folder: Path, known_callers: int, new_callers: int, seconds: float) -> dict[str, object]:
    """All callers together, and what became of the jobs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ends_at, seen = time.perf_counter() + seconds, Seen()
    address = f"http://127.0.0.1:{port}"
    process = start(folder, port)
    try:
        async with httpx.AsyncClient(
            base_url=address, timeout=PATIENCE_S, limits=httpx.Limits(max_connections=None), trust_env=False
        ) as client:
            await ready(client, process)
            ends_at = time.perf_counter() + seconds
            callers = [known_caller(client, folder, seen, ends_at) for _ in range(known_callers)]
            callers += [new_caller(client, folder, seen, ends_at, name=n) for n in range(new_callers)]
            asking = asyncio.gather(*callers)
            away_s = []
            for sent in (signal.SIGTERM, signal.SIGKILL):
                await asyncio.sleep(seconds / 3)
                began = time.perf_counter()
                process.send_signal(sent)
                await asyncio.to_thread(process.wait)
                process = start(folder, port)
                await ready(client, process)
                away_s.append(round(time.perf_counter() - began, 1))
            await asking
            jobs = await listed(client)
    finally:
        process.terminate()
        process.wait()
    by_status = Counter(job["status"] for job in jobs)
    twice = [path for path, count in Counter(job["video_path"] for job in jobs).items() if count > 1]
    return {
        "callers": {"known": known_callers, "new": new_callers},
        "seconds": seconds,
        "away_s": {"stopped and started": away_s[0], "killed and started": away_s[1]},
        "answers": {"known": len(seen.known_ms), "new": len(seen.new_ms)},
        "milliseconds": {"known": quantiles(seen.known_ms), "new": quantiles(seen.new_ms)},
        "asked again after": dict(seen.told),
        "jobs": dict(by_status),
        "new videos with several jobs": sum("new-" in path for path in twice),
        "jobs lost": len(jobs) - by_status["succeeded"],
        "answers lost": seen.unanswered,
        "answers wrong": seen.wrong,
    }


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """The service, in a process of its own."""
    command = [sys.executable, "-m", "hookline", "serve", str(folder / "videos"), str(folder / "output")]
    command += [*settings(folder / "models"), f"--serve.port={port}", f"--serve.state_dir={folder / 'state'}"]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen([*command, "--serve.shutdown_seconds=5"], stderr=log)


async def ready(client: httpx.AsyncClient, process: subprocess.Popen[bytes]) -> None:
    """Wait until jobs are taken."""
    while process.poll() is None:
        try:
            if (await client.get("/readyz")).is_success:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.2)
    raise SystemExit("The service has ended: see its log.")


async def known_caller(client: httpx.AsyncClient, folder: Path, seen: Seen, ends_at: float) -> None:
    """Asks for known videos."""
    await asyncio.sleep(random.random() * PAUSE_S)
    while time.perf_counter() < ends_at:
        number = random.randrange(VIDEOS)
        await answered(client, folder / "videos" / f"{number}.mp4", number, seen, seen.known_ms)
        await asyncio.sleep(PAUSE_S)


async def new_caller(
    client: httpx.AsyncClient, folder: Path, seen: Seen, ends_at: float, *, name: int
) -> None:
    """Asks for videos that nobody knows."""
    count = 0
    while time.perf_counter() < ends_at:
        number = (name + count) % VIDEOS
        video = folder / "videos" / f"new-{name}-{count}.mp4"
        shutil.copyfile(folder / "videos" / f"{number}.mp4", video)
        answer = await answered(client, video, number, seen, seen.new_ms)
        if answer in seen.runs:
            seen.wrong += 1
        seen.runs.add(answer)
        count += 1


async def answered(
    client: httpx.AsyncClient, video: Path, number: int, seen: Seen, took_ms: list[float]
) -> str:
    """Ask until there is an answer; which run it is of."""
    began, key = time.perf_counter(), uuid4().hex
    while time.perf_counter() - began < PATIENCE_S:
        try:
            ask = {"video_path": str(video)}
            response = await client.post("/analyze_timeline_path", json=ask, headers={"Idempotency-Key": key})
        except httpx.TransportError as error:
            seen.told[type(error).__name__] += 1
        else:
            if response.status_code == httpx.codes.OK:
                answer = response.json()
                seen.wrong += round(answer["total_duration"]) != SHORTEST_S + number
                took_ms.append((time.perf_counter() - began) * 1000)
                return str(answer["run_id"])
            seen.told[response.json()["type"]] += 1
        await asyncio.sleep(0.5)
    seen.unanswered += 1
    return key


async def listed(client: httpx.AsyncClient) -> list[dict[str, str]]:
    """All jobs, over all pages."""
    jobs, page = [], "/jobs?limit=100"
    while page:
        found = (await client.get(page)).json()
        jobs, page = [*jobs, *found["jobs"]], found["next"]
    return jobs


if __name__ == "__main__":
    app = App(help=__doc__, help_format="plaintext")
    app.default(main)
    app()
