"""VideoMAE at its true size over the windows of a video, against one transformers call a window."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from deep_stage_report import at_least
from footage import Frames, draw
from transformers import VideoMAEConfig, VideoMAEImageProcessorPil, VideoMAEModel

from tasks.adapters.models.checkpoints import Checkpoint, resolve_checkpoint
from tasks.adapters.models.videomae import load_videomae
from tasks.core.records import Window, WindowFeatures
from tasks.core.scoring.windows import sample_ticks, windows
from tasks.core.throughput import Work, throughput

WINDOWS_AN_HOUR = 3600 / 3
"""Windows of an hour of video, one every 3 s."""

TINY = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "patch_size": 32,
}

SEED = 0


def write_videomae(folder: Path, *, quick: bool) -> Checkpoint:
    """An untrained checkpoint in the size and layout of VideoMAE base."""
    torch.manual_seed(SEED)
    config = VideoMAEConfig(use_mean_pooling=True, **(TINY if quick else {}))
    VideoMAEModel(config).save_pretrained(folder)
    values = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    VideoMAEImageProcessorPil(**values).save_pretrained(folder)
    return resolve_checkpoint(str(folder))


class OneByOne:
    """The model card's way: the processor and one pass in float32 for every window."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self.processor: Any = VideoMAEImageProcessorPil.from_pretrained(checkpoint.path)
        self.model: Any = VideoMAEModel.from_pretrained(checkpoint.path, dtype=torch.float32).eval()
        self.model.to(device)
        self.device = device

    @torch.inference_mode()
    def embedding(self, pictures: Frames) -> Any:
        """The mean of the last layer's tokens: `hidden` float32."""
        inputs = self.processor(list(pictures), return_tensors="pt").to(self.device)
        return self.model(**inputs).last_hidden_state.mean(1)[0].cpu().numpy()


def measure(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Windows a second of both ways on the same frames, and how far their embeddings differ."""
    checkpoint = write_videomae(folder / "videomae", quick=quick)
    model = load_videomae(checkpoint)
    cuda = model.device.type == "cuda"
    film = draw(300 if cuda else 65 if quick else 90, size=(84, 56) if quick else (616, 336))
    frames_of = film.timeline()
    every = windows(len(film.frames), lengths=[59], stride=3)[: None if cuda else 8]
    naive = OneByOne(checkpoint, model.device)
    model.features(frames_of, every[:1])
    naive.embedding(film.frames[:16])  # both are warm
    times: dict[str, list[float]] = {"ours": [], "naive": []}
    works = []
    for _ in range(1 if quick else 2):
        began = time.perf_counter()
        ours = model.features(frames_of, every)
        ended = time.perf_counter()
        times["ours"].append(ended - began)
        works.append(Work("", (began, ended), (), ours.seconds, {"windows": len(every)}))
        began = time.perf_counter()
        alone = [naive.embedding(film.frames[sample_ticks(window, count=16)]) for window in every]
        times["naive"].append(time.perf_counter() - began)
    rates = {name: len(every) / median(seconds) for name, seconds in times.items()}
    speed = throughput(works, [], video_hours=len(works) * len(every) / WINDOWS_AN_HOUR).fast
    goals = [
        at_least("fast stage: times one float32 call a window", rates["ours"] / rates["naive"], 2),
        at_least("fast stage: smallest cosine to those embeddings", _cosine(ours, alone), 0.999),
    ]
    if cuda:
        hours = speed.video_hours_per_hour or 0
        goals.append(at_least("fast stage: hours of video a GPU hour", hours, 400))
    return {
        "windows": len(every),
        "dtype": str(model.dtype).removeprefix("torch."),
        "windows_a_second": rates,
        "throughput": speed.model_dump(),
        "goals": goals,
    }


def _cosine(ours: WindowFeatures, alone: list[Any]) -> float:
    pairs = zip(ours.embeddings, alone, strict=True)
    return min(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs)


def naive_window_seconds(checkpoint: Checkpoint, read: Any, some: list[Window]) -> float:
    """Seconds a window of decoding and embedding each on its own."""
    naive = OneByOne(checkpoint, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    began = time.perf_counter()
    for window in some:
        naive.embedding(read(window))
    return (time.perf_counter() - began) / len(some)
