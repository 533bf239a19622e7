"""Where somebody speaks: voice activity detection by Silero's model for whole stretches of sound.

Only the weights of the package are used. Importing it would set the threads of torch to one for this whole
process, and load torch, which the model does without.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tasks.adapters.video.sound.weights import vad_weights

if TYPE_CHECKING:
    import onnxruntime

FRAME_SAMPLES, FRAME_MS = 512, 32
"""At 16 kHz."""
CONTEXT_SAMPLES = 64
"""Each frame is preceded by the end of the one before it (silero_vad/sequence_vad.py)."""
BLOCK_FRAMES = 512
"""16 s: what the model is given at once."""
FULL_SCALE = 32768


def speech_probabilities(sound: Path) -> npt.NDArray[np.float32]:
    """How likely somebody speaks in each `FRAME_SAMPLES` of a sound: raw int16, mono, 16 kHz."""
    model = _load()
    state = [np.zeros((1, 1, 128), np.float32)] * 2
    context = np.zeros(CONTEXT_SAMPLES, np.float32)
    found = [np.zeros(0, np.float32)]
    with sound.open("rb") as file:
        while len(samples := np.fromfile(file, np.int16, FRAME_SAMPLES * BLOCK_FRAMES)):
            padding = -len(samples) % FRAME_SAMPLES
            frames = np.pad(samples, (0, padding)).astype(np.float32).reshape(-1, FRAME_SAMPLES) / FULL_SCALE
            ends = np.concatenate([context[None], frames[:, -CONTEXT_SAMPLES:]])
            context = ends[-1]
            block = np.concatenate([ends[:-1], frames], axis=1)
            probabilities, *state = model.run(
                ["speech_probs", "hn", "cn"], {"input": block, "h": state[0], "c": state[1]}
            )
            found.append(probabilities.reshape(-1))
    return np.concatenate(found)


def _load() -> onnxruntime.InferenceSession:
    import onnxruntime  # starts a thread, which no fork would have

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(vad_weights()), options, providers=["CPUExecutionProvider"])
