"""How much a head of the fast score learns, how true the numbers are, and how long it takes.

    PYTHONPATH=. python benchmarks/learning.py [--only recall nightly equal takeover ...] [--output FILE]

A made-up library, whose truth is known, is ranked by salience, night by night, into real tables.

- `recall`: heads of more and more nights, as `hookline train` fits them, on videos of their own: of the
  windows the judge likes best, the share that would have been candidates.
- `nightly`: the recall that `hookline evaluate` tells of each night, beside that of a judge who sees all.
- `equal`: how often a head would be promoted that is no better.
- `takeover`: of the candidates of a head that takes over, the share that the judge has not seen, and what it
  says of the best 15; both with what it has seen standing in, and without.
- `train`, `evaluate`: how long the commands take, and how much memory, on a million windows and on ten
  thousand videos. `seconds` depend on what else the machine does; `cpu_seconds`, which the command takes at
  the most where nothing else runs, hardly do.

What is not run anew stays in the JSON as it was.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import App, Parameter
from deep_stage_report import at_least, at_most, machine, provenance, table

from tasks.adapters.models.head import Head, load_head
from tasks.adapters.storage import open_store
from tasks.adapters.storage.nights import find_nights
from tasks.core.errors import SettingsError
from tasks.core.learning.promotion import exam, is_held_out
from tasks.core.learning.videos import ScoredVideoRows
from tasks.learning.evaluate import evaluate
from tasks.learning.train import collect, score_of, train
from tests.learning_world import (
    STATES,
    World,
    publish_nights,
    publish_plain_night,
    reaching_the_bar,
    recall_of,
    taken_over,
)

RESULTS = Path(__file__).parent / "results" / "learning.json"
PEAK = Path(__file__).with_name("peak.py")

NIGHTS = (3, 5, 10, 20)
"""Nights of 20 new videos after which a head is fitted."""

LIBRARIES = 3
"""Libraries that are learnt from apart: a head of few videos is better by luck, or worse."""

UNSEEN = 200
"""Videos that show how good each head is."""

REPETITIONS, VIDEOS_A_NIGHT = 100, 30
"""Nights of which the recall is told; of 20 cut videos at least, or there is no interval."""

TRIES, HELD_OUT = 1000, 60
"""Exams of heads that are equal, and their videos: as few as there may be."""

MEASURED = """import resource, sys
from hookline.cli import run
code, used = run(sys.argv[1:]), resource.getrusage(resource.RUSAGE_SELF)
print(int(code), used.ru_utime + used.ru_stime)
"""
"""A command, and how long its process computed."""

Found = dict[str, Any]
Part = Literal["recall", "nightly", "equal", "takeover", "train", "evaluate"]

app = App(help=__doc__)


@app.default
def main(
    *, only: Annotated[tuple[Part, ...], Parameter(consume_multiple=True)] = (), output: Path = RESULTS
) -> None:
    """Make libraries, measure, compare with the goals, and keep what was found."""
    parts: dict[str, Callable[[Path], Found]] = {
        "recall": recalls,
        "nightly": nightly,
        "equal": equal,
        "takeover": takeover,
        "train": lambda folder: timed("train", folder, videos=5_000),
        "evaluate": lambda folder: timed("evaluate", folder, videos=10_000, head_revision="sha256:0"),
    }
    found: Found = json.loads(output.read_text()) if output.exists() else {}
    for name in only or parts:
        with tempfile.TemporaryDirectory(prefix="hookline-learning-") as folder:
            found[name] = parts[name](Path(folder))
        print(json.dumps({name: found[name]}), file=sys.stderr, flush=True)
    goals = goals_of(found)
    found |= {
        **provenance(["PYTHONPATH=. python", "benchmarks/learning.py", *sys.argv[1:]]),
        "machine": machine(),
    }
    output.write_text(json.dumps(found | {"goals": goals}, indent=1) + "\n")
    print(table(["goal", "measured", "wanted", "met"], [list(goal.values()) for goal in goals]))


def goals_of(found: Found) -> list[Found]:
    """What was wanted, of what was found."""
    goals = []
    if recall := found.get("recall"):
        few, many = recall["60 videos"]["recall"], recall["400 videos"]["recall"]
        goals += [
            at_least("recall of the judge's best 15, by a head of 400 videos", many, 0.66),
            at_least("the same by a head of 60 videos, less that by salience", few - recall["salience"], 0),
        ]
    if night := found.get("nightly"):
        goals += [
            at_most("error of a night's recall, on average", abs(night["error"]), 0.02),
            at_least("nights of which the interval holds the truth", night["held"], 0.88),
        ]
    for pair, share in found.get("equal", {}).items():
        goals.append(at_most(f"promoted though equal: {pair}", share, 0.02))
    for command, seconds in (("train", 60), ("evaluate", 30)):
        if took := found.get(command):
            goals.append(at_most(f"{command}, seconds of a core", took["cpu_seconds"], seconds))
            goals.append(at_most(f"{command}, GB", took["peak_gb"], 2))
    return goals


def recalls(folder: Path) -> Found:
    """The recall of heads of more and more nights, the mean over libraries, beside salience and chance."""
    world, of_heads = World(), list[dict[int, Found]]()
    unseen = list(world.videos(UNSEEN, first=10_000_000))
    salience, chance = recall_of(None, unseen)
    for library in range(LIBRARIES):
        of_heads.append(dict(learnt(folder / str(library), World(seed=100 + library), unseen)))
        print(of_heads[-1], file=sys.stderr, flush=True)
    found: Found = {"chance": chance, "salience": salience}
    for videos in of_heads[0]:
        each = [heads[videos]["recall"] for heads in of_heads]
        found[f"{videos} videos"] = of_heads[0][videos] | {"recall": float(np.mean(each)), "libraries": each}
    return found


def learnt(folder: Path, world: World, unseen: Sequence[Any]) -> Any:
    """The number of videos after each of `NIGHTS`, and how good the head is that is fitted on them.

    Where `hookline train` refuses, because there is too little to compare a head on, it is fitted all the
    same.
    """
    store, made = open_store(str(folder)), 0
    for upto in NIGHTS:
        publish_nights(folder, world, nights=upto - made, videos=20, first=made)
        made, refused = upto, ""
        try:
            head = load_head(train(store, promote_it="never").uri)
        except SettingsError as error:
            refused, ridge = str(error), collect(find_nights(store)).ridge
            assert ridge
            head = Head("", "ridge-centred", ridge.fit().weight, 0.0)
        yield 20 * upto, {"recall": recall_of(head, unseen)[0], **({"refused": refused} if refused else {})}


def nightly(folder: Path) -> Found:
    """How far the recall told of each night is from the truth, and how often its interval holds that."""
    made = publish_nights(folder, World(dimensions=8), nights=REPETITIONS, videos=VIDEOS_A_NIGHT)
    counts = reaching_the_bar(folder, made)
    measured = evaluate(open_store(str(folder))).measured
    gates = [each for each in measured if (each.metric, each.score) == ("recall_at_own_bar", "fast")]
    told = {each.scope: each.estimate for each in gates}
    pooled, nights = told.pop("all"), [told[run_id] for run_id in counts]
    candidates, every = np.array([*counts.values()], float).T
    truth, of_all = candidates / every, float(candidates.sum() / every.sum())
    value, low, high = (
        np.array([getattr(each, of) for each in nights], float) for of in ("value", "low", "high")
    )
    return {
        "nights": len(nights),
        "videos": VIDEOS_A_NIGHT,
        "recall": of_all,
        "error": float((value - truth).mean()),
        "typical_error": float((value - truth).std()),
        "held": float(((low <= truth) & (truth <= high)).mean()),
        "held_that_of_all": float(((low <= of_all) & (of_all <= high)).mean()),
        "half_width": float((high - low).mean() / 2),
        "all_nights": [pooled.low, pooled.value, pooled.high],
    }


def equal(folder: Path) -> Found:
    """How often a head would be promoted that is no better than what scores now.

    Two scores take turns: which of them is the champion's in a video is a lot's to say. So neither is better,
    and they differ as real ones do.
    """
    world, store, heads = World(dimensions=STATES), open_store(str(folder)), []
    for half in range(2):
        publish_nights(folder, world, nights=4, videos=VIDEOS_A_NIGHT, first=4 * half)
        since = find_nights(store).runs[4 * half].run_id
        heads.append(load_head(train(store, since=since, promote_it="never").uri))
    publish_nights(folder, world, nights=42, videos=VIDEOS_A_NIGHT, first=8)
    rng = np.random.default_rng(0)
    videos = find_nights(store).videos(features=True)
    held_out = [video for video in videos if is_held_out(video.etag)]
    print(f"{len(held_out)} held-out videos", file=sys.stderr, flush=True)
    pairs = {"a head and salience": (heads[0], None), "two heads": (heads[0], heads[1])}
    return {name: promoted(held_out, pair, rng) for name, pair in pairs.items()}


def promoted(
    videos: Sequence[ScoredVideoRows], pair: Sequence[Head | None], rng: np.random.Generator
) -> float:
    """Of exams of equal scores, the share that is passed."""
    scores = {video.etag: [score_of(each)(video) for each in pair] for video in videos}
    passed = 0
    for _ in range(TRIES):
        drawn = [videos[place] for place in rng.choice(len(videos), HELD_OUT, replace=False)]
        turn = {video.etag: int(rng.integers(2)) for video in drawn}
        found = exam(
            drawn,
            champion=lambda video, turn=turn: scores[video.etag][turn[video.etag]],  # type: ignore[misc]
            challenger=lambda video, turn=turn: scores[video.etag][1 - turn[video.etag]],  # type: ignore[misc]
        )
        passed += not found.verdict
    return passed / TRIES


def takeover(folder: Path) -> Found:
    """What a head costs that takes over from salience, and from another head."""
    world, store, heads = World(), open_store(str(folder)), list[Head | None]([None])
    for first in (0, max(NIGHTS)):
        publish_nights(folder, world, nights=max(NIGHTS), videos=20, first=first, head=heads[-1])
        heads.append(load_head(train(store, promote_it="never").uri))
    unseen = list(world.videos(UNSEEN, first=10_000_000))
    before = {"salience": heads[:2], "another head": heads[1:]}
    return {name: asdict(taken_over(some, unseen)) for name, some in before.items()}


def timed(command: str, folder: Path, *, videos: int, **models: str) -> Found:
    """A command on so many videos of 200 windows, with 30 candidates and two audits each, in a process.

    Where a head has scored them, salience has to be made of the embeddings of all.
    """
    output, peak = folder / "output", folder / "peak"
    of_night: Found = {"windows": 200, "judged": 30, "audits": 2, "dimensions": 768, **models}
    for number in range(20):
        publish_plain_night(output, videos=videos // 20, number=number, **of_night)
    words = [sys.executable, str(PEAK), str(peak), sys.executable, "-c", MEASURED, command, str(output)]
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    print(done.stdout, file=sys.stderr)
    code, cpu_seconds = done.stdout.splitlines()[-1].split()
    return {
        "windows": videos * 200,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(float(cpu_seconds), 1),
        "peak_gb": round(int(peak.read_text()) / 1e9, 2),
        "exit_code": int(code),
    }


if __name__ == "__main__":
    app()
