"""How quickly the HTTP service answers: known videos, `/health` while a job runs, and what a warm job costs.

    python benchmarks/service.py [--callers 50] [--seconds 20] [--copies 1000]

The service is a process of its own, with demo models; the newest ranking under its output has ten videos and
so many copies. Callers keep their connections and ask for one known video after the other: without a pause
(`busy`), and each once in two seconds (`paced`). A warm job is a video that nobody knows. `beside the models`
is its time from request to answer less the seconds that fetching, decoding and the models took by its
manifest; `beside the run` less those of its whole run, from its start to its manifest. Milliseconds go to
benchmarks/results/service.json.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
from cyclopts import App
from deep_stage_report import at_most, machine, provenance
from footage import ffmpeg
from library import multiply

from hookline.cli import run
from hookline.demo_models import write_demo_models

RESULTS = Path(__file__).parent / "results" / "service.json"
VIDEOS, JOBS, JOB_SECONDS = 10, 12, 10


def main(*, callers: int = 50, seconds: float = 20, copies: int = 1000) -> None:
    """Measure all of it, and write it down."""
    with tempfile.TemporaryDirectory(prefix="hookline-service-") as name:
        folder = Path(name)
        videos, output = folder / "videos", folder / "output"
        videos.mkdir()
        for number in range(VIDEOS):
            draw(videos / f"{number}.mp4", seconds=JOB_SECONDS, start=number)
        write_demo_models(folder / "models")
        options = settings(folder / "models")
        run(["rank", str(videos), str(output), *options])
        multiply(videos, output, times=copies)
        known = sorted(map(str, videos.iterdir()))
        with serving(videos, output, folder / "state", options) as address:
            parts = asyncio.run(measured(address, known, output, callers=callers, seconds=seconds))
    goals = [
        at_most("overhead of a warm job, p50", parts["warm job beside the models"]["p50"], 500),
        at_most("known video, paced callers, p50", parts["known, paced"]["p50"], 30),
        at_most("known video, paced callers, p99", parts["known, paced"]["p99"], 150),
        at_most("/health while a job runs, p99", parts["health while a job runs"]["p99"], 20),
    ]
    about = provenance(["python", "benchmarks/service.py", *sys.argv[1:]]) | {"machine": machine()}
    about["load_average"] = os.getloadavg()[0]  # nothing else should run
    result = about | {"known videos": len(known), "callers": callers, "milliseconds": parts, "goals": goals}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(parts | {"goals": goals}, indent=1))


def settings(models: Path) -> list[str]:
    """Short windows, few candidates, demo models."""
    return [
        *(f"--fast.model={models}/videomae", f"--deep.model={models}/videollama3", "--engine.device=cpu"),
        *(
            "--speech.transcribe=false",
            "--deep.max_new_tokens=160",
            "--windows.window_seconds=5",
            "--ranking.top_n=2",
        ),
    ]


def draw(path: Path, *, seconds: float, start: float) -> None:
    """A short video that no other is like."""
    picture = f"testsrc2=size=320x180:rate=25,trim=start={start},setpts=PTS-STARTPTS"
    ffmpeg(*("-f", "lavfi", "-i", picture, "-t", str(seconds)), *("-pix_fmt", "yuv420p", "-y", str(path)))


@contextmanager
def serving(videos: Path, output: Path, state: Path, options: Sequence[str]) -> Iterator[str]:
    """The service in a process of its own; yields its address."""
    command = [sys.executable, "-m", "hookline", "serve", str(videos), str(output), *options]
    command += ["--serve.port=0", f"--serve.state_dir={state}"]
    log = state.parent / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env=os.environ | {"COLUMNS": "200"})
    try:
        while b"Listening at " not in log.read_bytes():
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
        yield log.read_text().partition("Listening at ")[2].split()[0]
    finally:
        process.terminate()
        process.wait()


async def measured(
    address: str, known: Sequence[str], output: Path, *, callers: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Everything in turn, in milliseconds."""
    async with httpx.AsyncClient(base_url=address, timeout=120, trust_env=False) as client:
        while not await is_known(client, known[0]):
            await asyncio.sleep(1)
        parts = {
            f"known, {name}": quantiles(await asked(client, known, callers, seconds, pause_s=pause_s))
            for name, pause_s in {"busy": 0.0, "paced": 2.0}.items()
        }
        models, whole = await warm_jobs(client, Path(known[0]), output)
        parts |= {
            "warm job beside the models": quantiles(models),
            "warm job beside the run": quantiles(whole),
        }
        async with at_work(client, Path(known[0])):
            health = [await timed(client.get("/health")) for _ in range(300)]
        parts["health while a job runs"] = quantiles(health)
    return parts


async def is_known(client: httpx.AsyncClient, video: str) -> bool:
    """Whether the ranking is known by now: before, asking makes a job."""
    await client.post("/analyze_timeline_path", json={"video_path": video})
    return "hookline_known_answers_total 0.0" not in (await client.get("/metrics")).text


async def asked(
    client: httpx.AsyncClient, known: Sequence[str], callers: int, seconds: float, *, pause_s: float
) -> list[float]:
    """How long each answer took, of all callers together."""
    ends_at, took = time.perf_counter() + seconds, list[float]()

    async def caller() -> None:
        await asyncio.sleep(random.random() * pause_s)
        while time.perf_counter() < ends_at:
            ask = {"video_path": random.choice(known)}
            took.append(await timed(client.post("/analyze_timeline_path", json=ask)))
            await asyncio.sleep(pause_s)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return took


async def warm_jobs(client: httpx.AsyncClient, video: Path, output: Path) -> tuple[list[float], list[float]]:
    """What jobs took beside decoding and models, and beside their whole run; the first is cold."""
    beside_models, beside_run = [], []
    for number in range(JOBS + 1):
        new = shutil.copyfile(video, video.with_name(f"new-{number}.mp4"))
        began = time.perf_counter()
        answer = await client.post("/analyze_timeline_path", json={"video_path": str(new)})
        took_s = time.perf_counter() - began
        manifest = json.loads((output / "jobs" / "runs" / f"{answer.json()['run_id']}.json").read_text())
        whole_s = manifest["seconds"].pop("whole")
        if number:
            beside_models.append((took_s - sum(manifest["seconds"].values())) * 1000)
            beside_run.append((took_s - whole_s) * 1000)
    return beside_models, beside_run


@asynccontextmanager
async def at_work(client: httpx.AsyncClient, video: Path) -> AsyncIterator[None]:
    """A job that runs for the block: a minute of video, and many candidates."""
    draw(long := video.with_name("long.mp4"), seconds=120, start=0)
    job = (
        await client.post("/jobs", json={"video_path": str(long), "top_n": 200, "stride_seconds": 1})
    ).json()
    while (await client.get(f"/jobs/{job['id']}")).json()["status"] != "running":
        await asyncio.sleep(0.05)
    yield
    ended = (await client.delete(f"/jobs/{job['id']}")).json()["status"]
    assert ended == "running", f"the job was {ended} before the measurement was over"


async def timed(asking: Awaitable[httpx.Response]) -> float:
    """Milliseconds until an answer is there."""
    began = time.perf_counter()
    (await asking).raise_for_status()
    return (time.perf_counter() - began) * 1000


def quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """The middle, the worst of a hundred, and of how many."""
    ordered = sorted(milliseconds)
    at = {"p50": len(ordered) // 2, "p99": len(ordered) * 99 // 100}
    return {name: round(ordered[place], 1) for name, place in at.items()} | {"requests": len(ordered)}


if __name__ == "__main__":
    app = App(help=__doc__, help_format="plaintext")
    app.default(main)
    app()
