"""What judging a video's candidates costs, against the naive path: same weights, same run.

    python benchmarks/deep_stage.py              on a CPU: a mid-size untrained model, a real video
    python benchmarks/deep_stage.py --full-size  on a GPU: the 2B's own size, untrained, drawn frames

Prints tables and writes benchmarks/results/deep_stage_<cpu or GPU>.json: a quarter of an hour on two
cores, eight minutes on an H200 (untried). The naive path follows the
model card: one segment at a time, its frames decoded and encoded for it alone, stock `generate`; it
writes as many tokens for each segment as Hookline did. Where Hookline is not installed: PYTHONPATH=.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from deep_stage_bench import Bench, Case, told
from deep_stage_report import as_markdown, goals, machine, provenance, roofline, speed
from operations import Rates, naive_work, our_work, predict
from untrained import FULL, MID, TINY

from tasks.core.records import Window

RESULTS = Path(__file__).parent / "results"

NOT_DECODED: dict[str, float | None] = {"decode": None}
"""What a run says of decoding where frames are drawn."""

ON_CPU = Case(MID)
ON_GPU = Case(FULL, batch=30, sweep=(1, 4, 8, 16, 30), sweep_segments=30)
QUICK = Case(
    TINY,
    seconds=20,
    length=10,
    segments=3,
    new_tokens=90,
    batch=2,
    sweep=(1, 2),
    sweep_segments=2,
    shot=(320, 180),
)


class Heard(logging.Handler):
    """Keeps the warnings of a run for its report."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one, once."""
        if (line := record.getMessage()) not in self.lines:
            self.lines.append(line)


def measure(case: Case, folder: Path, *, drawn: bool, repeats: int) -> dict[str, Any]:
    """Run everything; all figures, by name."""
    bench = Bench(case, folder, drawn=drawn)
    bench.judge(bench.footage.timeline(bench.budget), [Window(0, 8)], batch=1)  # warms up
    runs = [told("ours", bench.ours())]
    rates = bench.rates(runs[0])
    # Between two of ours, so that a machine that slows down slows both.
    naive = told("naive", bench.naive(runs[0].answers))
    runs += [told("ours", bench.ours()) for _ in range(repeats - 1)]
    return {
        "case": asdict(case) | {"frame_size": bench.size, "dtype": str(bench.dtype).removeprefix("torch.")},
        "naive": {"runs": 1, "seconds": NOT_DECODED | naive.seconds, "count": naive.count},
        "ours": {
            "runs": [run.seconds for run in runs],
            "seconds": NOT_DECODED
            | {name: median(run.seconds[name] for run in runs) for name in runs[0].seconds},
            "count": runs[0].count,
            "repeatable": all(run.answers == runs[0].answers for run in runs),
        },
        "same_lengths": list(map(len, naive.answers)) == list(map(len, runs[0].answers)),
        "rates": rates,
        **predictions(bench, naive.count, runs[0].count, rates),
        "sweep": bench.sweep(runs[0].answers),
        "captured": bench.captured() if bench.device.type == "cuda" else None,
    }


def predictions(
    bench: Bench, naive: dict[str, int], ours: dict[str, int], rates: Rates
) -> dict[str, dict[str, Any]]:
    """The work of both paths, from what they counted, and the seconds that it predicts."""
    case = bench.case
    shown = {"segments": case.segments, "patches": bench.patches}
    tokens = {name: naive[name] for name in ("prompt_tokens", "new_tokens")}
    work = {
        "naive": naive_work(length=case.length, **tokens, **shown),
        "ours": our_work(ours, video_seconds=case.seconds, batches=bench.batches, **shown),
    }
    size = bench.dtype.itemsize
    return {
        "work": {name: asdict(some) for name, some in work.items()},
        "predicted": {name: predict(bench.config, w, rates, itemsize=size) for name, w in work.items()},
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--full-size", action="store_true", help="the 2B's own size, for a GPU; frames are drawn"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that everything runs")
    parser.add_argument("--repeats", type=int, default=2, help="runs of ours; their median counts")
    parser.add_argument("--output", type=Path, help="where the figures go, as JSON")
    options = parser.parse_args()
    if options.full_size and not options.quick and not torch.cuda.is_available():
        parser.error("--full-size needs a GPU: on a CPU it would take days")
    case = QUICK if options.quick else ON_GPU if options.full_size else ON_CPU
    logging.getLogger().addHandler(heard := Heard())
    with tempfile.TemporaryDirectory() as folder:
        found = measure(case, Path(folder), drawn=options.full_size, repeats=options.repeats)
    found["speedup"] = {
        "measured": found["naive"]["seconds"]["total"] / found["ours"]["seconds"]["total"],
        "predicted": found["predicted"]["naive"]["total"] / found["predicted"]["ours"]["total"],
    }
    found["throughput"] = {path: speed(found, path).model_dump() for path in ("naive", "ours")}
    found["roofline"] = {path: roofline(found, path) for path in ("naive", "ours")}
    report = {
        **provenance(["python", "benchmarks/deep_stage.py", *sys.argv[1:]]),
        "machine": machine(),
        **found,
        "goals": goals(found, full_size=options.full_size),
        "warnings": heard.lines,
    }
    print(as_markdown(report))
    output = options.output or (None if options.quick else RESULTS / f"deep_stage_{machine()['short']}.json")
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
