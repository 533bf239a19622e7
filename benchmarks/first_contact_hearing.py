"""What hears on the machine of a GPU: Whisper on the card, voice activity detection beside it."""

from __future__ import annotations

import gc
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from first_contact_lab import GIB, Lab, Line
from untrained import WHISPER_BASE

from hookline.demo_whisper import SIZES, write_whisper
from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.whisper import decoding
from tasks.adapters.models.whisper.memory import chunk_bytes
from tasks.adapters.models.whisper.model import AUTO_BATCH, Whisper
from tasks.core.speech.chunks import RATE

TOKENS = 100
"""Of a chunk: quick talk has so many."""
CHUNK_MS = 28_000


def whisper(lab: Lab) -> list[Line]:
    """Whisper: whether a batch writes what each chunk gives alone, how fast, and in what memory."""
    folder = lab.folder / "whisper"
    write_whisper(folder, sizes=SIZES if lab.rehearsed else WHISPER_BASE)
    model = Whisper(resolve_checkpoint(str(folder)), device=lab.device)
    most = 2 if lab.rehearsed else AUTO_BATCH[lab.device.type]
    sounds = [_sound(number) for number in range(most)]
    if not lab.rehearsed:  # untrained, it would end at once
        for forbidden in (model.decoder._forbidden, model.decoder._forbidden_first):
            forbidden[model.tokens.end] = -torch.inf
    with patch.object(decoding, "MAX_TOKENS", 20 if lab.rehearsed else TOKENS):
        write = partial(model._written, language="en")
        together, alone = write(sounds), [row for sound in sounds[:3] for row in write([sound])]
        _, seconds = lab.times(lambda: write(sounds), calls=2)
        peak = lab.peak_gib(lambda: write(sounds))
    same = [row.tokens for _, row in together[:3]] == [row.tokens for _, row in alone]
    weights = {parameter.dtype for parameter in model.model.parameters()}
    predicted = most * chunk_bytes(model.model.config) / GIB
    del model
    gc.collect()
    return [
        Line("computes in", "torch.float32", ", ".join(map(str, weights)), weights == {torch.float32}),
        Line("a batch as one by one", "the same tokens", "the same" if same else "others", same),
        lab.at_most(f"{most} chunks", seconds, 3.0),
        lab.only_on_a_gpu(
            f"{most} chunks take",
            f"at most {predicted:.2f} GiB",
            f"{peak:.2f} GiB",
            as_expected=peak <= predicted,
        ),
    ]


def speech(lab: Lab) -> list[Line]:
    """Voice activity detection: on the CPU, and PyTorch keeps its threads."""
    from tasks.adapters.video.sound.vad import speech_probabilities  # asks for onnxruntime and silero-vad

    path, before = lab.folder / "noise.s16", torch.get_num_threads()
    (_sound(0) * 32767).astype(np.int16).tofile(path)
    found = speech_probabilities(path)
    _, seconds = lab.times(lambda: speech_probabilities(path), calls=3)
    after, most = torch.get_num_threads(), float(found.max())
    return [
        Line("speech in noise", "less than 0.4", f"{most:.2f}", most < 0.4),
        Line("threads of PyTorch", str(before), str(after), before == after),
        Line("a minute of sound", "0.5 s", f"{seconds * 60_000 / CHUNK_MS:.2f} s", None),
    ]


def _sound(number: int) -> Any:
    """Noise of a chunk's length, each number its own."""
    noise = np.random.default_rng(number).normal(0, 0.1, CHUNK_MS * RATE // 1000)
    return noise.clip(-1, 1).astype(np.float32)
