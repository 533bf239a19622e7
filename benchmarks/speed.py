"""How fast Hookline is, each part beside its baseline in one run.

    python benchmarks/speed.py            everything (make bench): three quarters of an hour on two cores
    python benchmarks/speed.py fast       some parts: decode, fast, whole, orchestration, growth
    python benchmarks/speed.py --quick    tiny sizes: only to see that everything runs

Prints tables, writes benchmarks/results/speed_<cpu or GPU>.json and draws speed_<...>.svg beside it. On a
bare GPU machine only `fast` can run: PYTHONPATH=. python benchmarks/speed.py fast.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deep_stage_report import machine, provenance, table

RESULTS = Path(__file__).parent / "results"

PARTS = {
    "decode": ("speed_decode", "measure"),
    "fast": ("speed_fast", "measure"),
    "whole": ("speed_whole", "measure"),
    "orchestration": ("speed_flow", "orchestration"),
    "growth": ("speed_flow", "growth"),
}
"""Each part's module and function; imported only when it runs: GPU machines lack what others need."""


def main() -> None:
    """Measure, print, write, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"one of {', '.join(PARTS)}; none = all")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that everything runs")
    parser.add_argument("--output", type=Path, help="where the figures go, as JSON")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    found = {part: run_part(part, quick=options.quick) for part in options.parts or PARTS}
    where = machine()
    report = {
        **provenance(["python", "benchmarks/speed.py", *sys.argv[1:]]),
        "machine": where,
        "parts": found,
    }
    goals = [goal for part in found.values() for goal in part["goals"]]
    print(table(["goal", "measured", "wanted", "met"], [list(goal.values()) for goal in goals]))
    output: Path | None = options.output
    if output is None and not options.quick and not options.parts:
        output = RESULTS / f"speed_{where['short']}.json"
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        output.with_suffix(".svg").write_text(chart(found), encoding="utf-8")


def run_part(part: str, *, quick: bool) -> dict[str, Any]:
    """The figures of one part, after a line about them on stderr."""
    module, name = PARTS[part]
    measure: Callable[..., dict[str, Any]] = getattr(importlib.import_module(module), name)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), quick=quick)
    print(f"{part}: {json.dumps(found)}", file=sys.stderr, flush=True)
    return found


def bars(found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """What is compared, with the seconds of the baseline and of ours, as far as it was measured."""
    lines: list[tuple[str, float, float]] = []
    if "decode" in found:
        for name, seconds in found["decode"]["seconds"].items():
            lines.append((f"decode, {name}: seek every window", seconds["naive"], seconds["ours"]))
            lines.append((f"decode, {name}: ffmpeg's own pass", seconds["floor"], seconds["ours"]))
    if "fast" in found:
        rates = found["fast"]["windows_a_second"]
        lines.append(("VideoMAE base: a call a window, float32", 1 / rates["naive"], 1 / rates["ours"]))
    if "whole" in found:
        seconds = found["whole"]["seconds"]
        lines.append(("whole run: a script a window at a time", seconds["naive"], seconds["ours"]))
    return lines


def chart(found: dict[str, Any]) -> str:
    """An SVG of how many times as fast as each baseline we are; readable on light and dark pages."""
    lines = bars(found)
    most = max([naive / ours for _, naive, ours in lines] or [1.0])
    rows = []
    for number, (name, naive, ours) in enumerate(lines):
        top, times = 16 + 46 * number, naive / ours
        rows.append(
            f'<text x="8" y="{top + 10}">{name}</text>'
            f'<rect x="8" y="{top + 16}" width="{520 * times / most:.0f}" height="14" rx="2" fill="#2f81f7"/>'
            f'<text x="{16 + 520 * times / most:.0f}" y="{top + 28}" font-weight="bold">{times:.1f}x</text>'
        )
    height = 20 + 46 * len(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 {height}" role="img" '
        'aria-label="Times as fast as each baseline" font-family="sans-serif" font-size="12">'
        "<style>text{fill:#57606a}@media(prefers-color-scheme:dark){text{fill:#c9d1d9}}</style>"
        f"{''.join(rows)}</svg>\n"
    )


if __name__ == "__main__":
    main()
