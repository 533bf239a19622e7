"""How near FFmpeg's scalers come to PIL's bicubic, with which VideoLLaMA3 was trained, and what each costs.

    python benchmarks/scalers.py VIDEO ...    writes benchmarks/results/scalers.json

Pictures are taken all over each video, and scaled to what segments of 59 frames get. The original scales
them as RGB at full size; FFmpeg scales first.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import av
import numpy as np
from deep_stage_report import machine, provenance, table
from PIL import Image

from tasks.adapters.video.decode_pyav import Scaler
from tasks.adapters.video.shaping import frame_filters
from tasks.core.geometry import FrameBudget, frame_size

RESULTS = Path(__file__).parent / "results" / "scalers.json"
BUDGET = FrameBudget(max_pixels=16384 * 784 // 59, min_pixels=16 * 784, multiple_of=28)
EVERY, PICTURES = 40, 8

EXACT = "accurate_rnd+full_chroma_int"
CATMULL_ROM = {"param0": "0", "param1": "0.5"}
"""PIL's bicubic; FFmpeg's own has 0.6."""
SCALERS: dict[str, dict[str, str]] = {
    "bilinear": {"flags": "bilinear"},
    "area": {"flags": "area"},
    "bicubic": {"flags": "bicubic"},
    "bicubic, exact": {"flags": f"bicubic+{EXACT}"},
    "bicubic, full chroma": {"flags": "bicubic+full_chroma_int"},
    "Catmull-Rom, exact": {"flags": f"bicubic+{EXACT}", **CATMULL_ROM},
    "Catmull-Rom, exact, full chroma input": {"flags": f"bicubic+{EXACT}+full_chroma_inp", **CATMULL_ROM},
    "lanczos, exact": {"flags": f"lanczos+{EXACT}"},
}


def main() -> None:
    """Measure, print, write."""
    found = {path: measure(Path(path)) for path in sys.argv[1:]}
    rows = [[name, *_means(list(found.values()), name)] for name in SCALERS]
    print(table(["scaler", "dB", "mean levels", "ms a picture"], rows))
    report = {**provenance(["python", "benchmarks/scalers.py", "VIDEO ..."]), "machine": machine()}
    report["videos"] = {Path(path).name: of_video for path, of_video in found.items()}
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def measure(path: Path) -> dict[str, dict[str, float]]:
    """PSNR and mean distance to PIL's bicubic, and milliseconds, by scaler."""
    with av.open(str(path)) as container:
        pictures = list(islice(container.decode(video=0), 0, EVERY * PICTURES, EVERY))
        width, height = frame_size(pictures[0].width, pictures[0].height, BUDGET)
        wanted = [_original(picture, width, height) for picture in pictures]
        return {name: _compare(pictures, wanted, width, height, o) for name, o in SCALERS.items()}


def _original(picture: Any, width: int, height: int) -> np.ndarray[Any, Any]:
    whole = _scaled([picture], picture.width, picture.height, SCALERS["bicubic, exact"])[0]
    return np.asarray(Image.fromarray(whole).resize((width, height), Image.Resampling.BICUBIC))


def _compare(
    pictures: list[Any], wanted: list[Any], width: int, height: int, options: dict[str, str]
) -> dict[str, float]:
    _scaled(pictures[:1], width, height, options)
    began = time.thread_time()
    scaled = _scaled(pictures, width, height, options)
    seconds = time.thread_time() - began
    away = np.stack(scaled).astype(np.float64) - np.stack(wanted)
    return {
        "db": float(20 * np.log10(255 / np.sqrt((away**2).mean()))),
        "levels": float(np.abs(away).mean()),
        "ms": 1000 * seconds / len(pictures),
    }


def _scaled(pictures: list[Any], width: int, height: int, options: dict[str, str]) -> list[Any]:
    scale, *others = frame_filters(width, height, quarter_turns=0)
    kept = {name: value for name, value in scale[1].items() if name in ("w", "h")}
    scaler = Scaler([("scale", {**kept, **options, "threads": "1"}), *others])
    return [np.frombuffer(scaler(picture), np.uint8).reshape(height, width, 3) for picture in pictures]


def _means(found: list[dict[str, dict[str, float]]], name: str) -> list[float]:
    return [round(mean(of_video[name][key] for of_video in found), 3) for key in ("db", "levels", "ms")]


if __name__ == "__main__":
    main()
