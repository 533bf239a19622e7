"""What is made of the figures of benchmarks/deep_stage.py: goals, tables, and where they are from."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from tasks.adapters.models.cpu import cpu_name
from tasks.core.throughput import DeepThroughput, Work, throughput

PHASES = ("decode", "look", "vision", "prefill", "generate", "grammar", "total")
"""In the order in which they come; `grammar` is a part of `generate`, `look` is finding tokens to drop."""

BARE_LOOP = ("look", "vision", "prefill", "generate")

SPEEDS = ("segments_per_minute", "prompt_tokens_per_second", "output_tokens_per_second")

VERSIONS = ("torch", "transformers", "llguidance", "tokenizers", "numpy")

TOLERANCE = 0.15
"""How far the measured gain may fall behind what the operations predict."""


def goals(found: dict[str, Any], *, full_size: bool) -> list[dict[str, Any]]:
    """Each goal with what was measured, what is wanted, and whether it is met."""
    case, ours, speedup = found["case"], found["ours"], found["speedup"]
    wanted = (1 - TOLERANCE) * speedup["predicted"]
    share = ours["seconds"]["grammar"] / ours["seconds"]["generate"]
    lines = [
        at_most("frames encoded by ours", ours["count"]["frames"], case["seconds"]),
        at_least(
            "frames encoded by the naive path",
            found["naive"]["count"]["frames"],
            case["segments"] * case["length"],
        ),
        at_most("share of grammar in generation", share, 0.1),
        at_least(
            "times the naive path, against 85 % of what operations predict", speedup["measured"], wanted
        ),
    ]
    if full_size:
        lines += [
            at_most("seconds for all candidates", ours["seconds"]["total"], 10),
            at_least("times the naive path", speedup["measured"], 15),
        ]
    else:
        rate = {line["batch"]: line["tokens_a_second"] for line in found["sweep"]}
        lines.append(at_least("tokens a second, widest batch by batch 1", rate[max(rate)] / rate[1], 4))
    return lines


def roofline(found: dict[str, Any], path: str) -> dict[str, float]:
    """The share of each phase's seconds that the counted operations and bytes account for."""
    seconds, predicted = found[path]["seconds"], found["predicted"][path]
    return {phase: least / seconds[phase] for phase, least in predicted.items()}


def speed(found: dict[str, Any], path: str) -> DeepThroughput:
    """What a run's manifest says of its deep stage, here of one path: all but decoding against its phases."""
    seconds, count = found[path]["seconds"], found[path]["count"]
    busy_s = sum(seconds[phase] for phase in BARE_LOOP)
    whole_s = seconds["total"] - (seconds["decode"] or 0)
    counts = {**count, "segments": found["case"]["segments"]}
    return throughput([], [Work("", (0, whole_s), (), busy_s, counts)], video_hours=0).deep


def as_markdown(report: dict[str, Any]) -> str:
    """The tables."""
    naive, ours = report["naive"]["seconds"], report["ours"]["seconds"]
    predicted, fractions = report["predicted"], report["roofline"]["ours"]
    phases = []
    for phase in PHASES:
        a, b = naive.get(phase), ours.get(phase)
        p, q = (predicted[path].get(phase) for path in ("naive", "ours"))
        phases.append([phase, a, b, _ratio(a, b), p, q, _ratio(p, q), fractions.get(phase)])
    head = ["seconds", "naive", "ours", "times", "naive predicted", "ours predicted", "times predicted"]
    sweep = [
        [s["batch"], s["tokens_a_second"], s["segments_a_minute"], s["peak_bytes"] / 1e9, s["same_answers"]]
        for s in report["sweep"]
    ]
    speeds = [
        [name.replace("_", " "), *(report["throughput"][path][name] for path in ("naive", "ours"))]
        for name in (*SPEEDS, "device_busy", "efficiency")
    ]
    rates = [[name, rate if name == "decode" else rate / 1e9] for name, rate in report["rates"].items()]
    return "\n\n".join(
        [
            table([*head, "ours of the roofline"], phases),
            table(["whole stage, without decoding", "naive", "ours"], speeds),
            table(["batch", "tokens/s", "segments/min", "peak GB", "same answers"], sweep),
            table(["rate", "10^9 a second (decode: video seconds a second)"], rates),
            table(["goal", "measured", "wanted", "met"], [list(goal.values()) for goal in report["goals"]]),
        ]
    )


def provenance(command: Sequence[str]) -> dict[str, Any]:
    """What was run, when, and of which state of the repository."""
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    return {
        "command": " ".join(command),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "uncommitted_changes": None if changes is None else bool(changes),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
    }


def machine() -> dict[str, Any]:
    """What it ran on; `short` is a name for files."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu": gpu,
        "short": re.sub(r"\W+", "_", gpu).lower() if gpu else "cpu",
    }


def at_least(goal: str, measured: float, wanted: float) -> dict[str, Any]:
    """A goal with what was measured."""
    return {"goal": goal, "measured": measured, "wanted": f"at least {wanted:.4g}", "met": measured >= wanted}


def at_most(goal: str, measured: float, wanted: float) -> dict[str, Any]:
    """A goal with what was measured."""
    return {"goal": goal, "measured": measured, "wanted": f"at most {wanted:.4g}", "met": measured <= wanted}


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a and b else None


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
