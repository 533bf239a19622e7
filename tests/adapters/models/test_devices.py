"""Models of a process compute in one thread, whoever asks."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.devices import on_model_thread
from tasks.adapters.models.videollama3.model import load_videollama3
from tasks.adapters.models.videomae import load_videomae
from tasks.core.records import Window
from tasks.core.scoring.answers import DEFAULT_PROMPT

FRAMES = np.random.default_rng(0).integers(0, 256, (16, 56, 84, 3), dtype=np.uint8)
WINDOWS = [Window(0, 16)]


def test_one_computes_at_a_time_and_always_in_the_same_thread() -> None:
    inside = []

    def work() -> threading.Thread:
        inside.append(1)
        time.sleep(0.01)
        assert len(inside) == 1
        inside.pop()
        return threading.current_thread()

    with ThreadPoolExecutor(8) as asking:
        threads = set(asking.map(lambda _: on_model_thread(work), range(16)))
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_both_models_compute_in_that_thread(demo_models: Path) -> None:
    fast = load_videomae(resolve_checkpoint(str(demo_models / "videomae")))
    deep = load_videollama3(resolve_checkpoint(str(demo_models / "videollama3")))
    layers = {"fast": fast.model, "deep": deep.model.get_input_embeddings()}
    seen = []
    hooks = [
        layer.register_forward_pre_hook(lambda *_, name=name: seen.append((name, threading.current_thread())))
        for name, layer in layers.items()
    ]
    try:
        fast.features(lambda ticks: FRAMES[list(ticks)], WINDOWS)
        asked = {"fps": 2, "prompt": DEFAULT_PROMPT, "max_frames": 16, "max_new_tokens": 300}
        list(deep.analyse(lambda ticks: FRAMES[list(ticks)], WINDOWS, **asked))
    finally:
        for hook in hooks:
            hook.remove()
    models = on_model_thread(threading.current_thread)
    assert set(seen) == {("fast", models), ("deep", models)}


def test_what_the_work_raises_reaches_whoever_asked_and_the_next_work_is_done() -> None:
    with pytest.raises(ZeroDivisionError):
        on_model_thread(lambda: 1 // 0)
    assert on_model_thread(lambda: 2) == 2
