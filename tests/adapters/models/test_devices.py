"""Models of a process compute in one thread, whoever asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.adapters.models import gpus, kernels
from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.checkup import check_this_gpu
from tasks.adapters.models.devices import device_record, on_model_thread, pick_device, why_unusable
from tasks.adapters.models.videollama3.model import load_videollama3
from tasks.adapters.models.videomae import load_videomae
from tasks.core.errors import ModelError
from tasks.core.records import Window
from tasks.core.scoring.answers import default_prompt

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
        asked = {
            "fps": 2,
            "n_ticks": len(FRAMES),
            "prompt": default_prompt(),
            "max_frames": 16,
            "max_new_tokens": 300,
        }
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


class Card:
    """Stands for what PyTorch says of CUDA: a build, a driver, and a card. There is none here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.monkeypatch, self.driver = monkeypatch, folder / "version"
        self.install("580.95.05")
        monkeypatch.setattr(gpus, "DRIVER", folder)
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        self.is_seen = True
        self.capability = (8, 6)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: self.is_seen)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA RTX A6000")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: self.capability)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90", "compute_120"])
        monkeypatch.setattr(torch, "ones", lambda *size, device: torch.zeros(*size))

    def install(self, driver: str) -> None:
        self.driver.write_text(f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Thu Oct 19 2023\n")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Card]:
    pick_device.cache_clear()
    yield Card(monkeypatch, tmp_path)
    pick_device.cache_clear()


def test_a_card_is_tried_out_once_a_process(card: Card) -> None:
    tried = list[int]()
    card.monkeypatch.setattr(torch, "ones", lambda *_, **__: tried.append(1) or torch.zeros(1))
    assert {pick_device("cuda") for _ in range(3)} == {torch.device("cuda")}
    assert len(tried) == 1


def test_a_card_that_works_is_used_and_named(card: Card) -> None:
    assert why_unusable() == ""
    assert pick_device() == pick_device("cuda") == torch.device("cuda")
    assert pick_device("cpu") == torch.device("cpu")
    on = device_record(torch.device("cuda"), torch.bfloat16)
    assert (on.kind, on.name, on.dtype, on.driver) == ("cuda", "NVIDIA RTX A6000", "bfloat16", "580.95.05")


def too_old(card: Card) -> None:
    card.is_seen = False
    card.install("535.129.03")


def no_driver(card: Card) -> None:
    card.is_seen = False
    card.driver.unlink()


def no_toolkit(card: Card) -> None:
    card.is_seen = False


def too_old_a_card(card: Card) -> None:
    card.capability = (7, 0)


def defective(card: Card) -> None:
    def ones(*_: object, **__: object) -> None:
        raise torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel ...")

    card.monkeypatch.setattr(torch, "ones", ones)


def built_without(card: Card) -> None:
    card.monkeypatch.setattr(torch.version, "cuda", None)


@pytest.mark.parametrize(
    ("fault", "cause", "fix"),
    [
        (
            too_old,
            "is for CUDA 13.0 and needs NVIDIA's driver 580 or later; here is 535.129.03",
            "install one",
        ),
        (no_driver, "needs NVIDIA's driver 580 or later; here is none", "install one"),
        (no_toolkit, "The driver 580.95.05 gives PyTorch", "--gpus all"),
        (too_old_a_card, "NVIDIA RTX A6000 has compute capability 7.0", "leave this card out"),
        (defective, r"does not work (CUDA error: uncorrectable ECC error encountered)", "nvidia-smi"),
        (built_without, "is built without CUDA", "install a torch without +cpu"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_a_refusal_with_cause_and_fix(
    card: Card, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Card], None], cause: str, fix: str
) -> None:
    fault(card)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for wanted in ("auto", "cuda"):
        with pytest.raises(ModelError) as raised:
            pick_device(wanted)
        assert raised.value.reason == "gpu_unusable"
        assert cause in str(raised.value)
        assert fix in str(raised.value)
        assert "set engine.device to cpu" in str(raised.value)
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert pick_device() == torch.device("cpu")  # none is seen at all


def test_a_check_says_which_card_it_is_and_what_it_works_with(card: Card) -> None:
    card.monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * 2**30, 48 * 2**30))
    card.monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    card.monkeypatch.setattr(kernels, "attention_in_words", lambda device, dtype: "flash attention")
    found = check_this_gpu("auto")
    assert (found.status, found.text) == (
        "ok",
        "NVIDIA RTX A6000, compute capability 8.6, 2.0 of 48.0 GiB free; "
        "driver 580.95.05, CUDA 13.0, bfloat16, flash attention",
    )
    too_old(card)
    pick_device.cache_clear()
    with pytest.raises(ModelError, match=r"needs NVIDIA's driver 580 or later; here is 535\.129\.03"):
        check_this_gpu("cuda")


def test_a_check_without_a_gpu_says_that_the_cpu_computes(card: Card) -> None:
    card.monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    no_driver(card)
    found = check_this_gpu("auto")
    assert found.status == "note"
    assert found.text.startswith("none is seen: models compute on the CPU (")
    assert found.text.endswith(
        "needs NVIDIA's driver 580 or later; here is none: install one (a container has its machine's)."
    )
    assert check_this_gpu("cpu").status == "ok"


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 9), (9, 0), (12, 1), (13, 0)])
def test_cards_run_code_for_their_own_architecture_or_compile_it(
    card: Card, capability: tuple[int, int]
) -> None:
    card.capability = capability
    assert why_unusable() == ""


@pytest.mark.parametrize("capability", [(6, 1), (7, 0), (10, 0), (11, 0)])
def test_no_other_card_does(card: Card, capability: tuple[int, int]) -> None:
    card.capability = capability
    assert "leave this card out" in why_unusable()


def test_on_a_cpu_the_processor_is_named() -> None:
    on = device_record(torch.device("cpu"), torch.float32)
    assert (on.kind, on.dtype, on.driver) == ("cpu", "float32", None)
    assert on.name
