"""Whisper through transformers: from the sound of a video to words with times.

Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision". The published weights are
under Apache-2.0 (MIT where OpenAI publishes them itself).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from tasks.adapters.models.checkpoints import Checkpoint
from tasks.adapters.models.devices import on_model_thread, pick_device, sent
from tasks.adapters.models.gpu_errors import is_out_of_memory
from tasks.adapters.models.held import Held, not_loaded
from tasks.adapters.models.kernels import choose_attention_kernels
from tasks.adapters.models.memory import fitting_batch, free_bytes
from tasks.adapters.models.whisper.checkpoint import read_tokens
from tasks.adapters.models.whisper.decoding import Decoder, Written, language_probabilities, why_invented
from tasks.adapters.models.whisper.memory import chunk_bytes
from tasks.core.errors import ModelError
from tasks.core.speech.chunks import RATE, ReadSound, vote
from tasks.core.speech.heard import Word
from tasks.core.speech.spans import Span
from tasks.core.speech.transcripts import plain

T = TypeVar("T")

AUTO_BATCH = {"cuda": 16, "cpu": 4}
"""Chunks that are heard at once at the most."""
SAMPLES_PER_POSITION = 320
"""What one position of the encoder stands for: 20 ms."""

log = logging.getLogger(__name__)

Sound = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeardChunk:
    """What is said in a chunk. `invented` is why what was written of it is not taken for said."""

    words: tuple[Word, ...] = ()
    invented: str | None = None


class Whisper:
    """A loaded Whisper. `load_whisper` gives one a process; threads may share it."""

    def __init__(self, checkpoint: Checkpoint, *, device: torch.device | None = None) -> None:
        from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()  # what is missing is refused below
        choose_attention_kernels()
        # The encoder begins with convolutions. In TF32 what is written could depend on the batch.
        torch.backends.cudnn.allow_tf32 = False
        self.checkpoint = checkpoint
        self.device = device or pick_device()
        self.tokens = read_tokens(checkpoint)
        self.extractor: Any = WhisperFeatureExtractor.from_pretrained(checkpoint.path)
        self.tokenizer: Any = WhisperTokenizer.from_pretrained(checkpoint.path)
        if self.tokenizer.eos_token_id != self.tokens.end:
            raise ModelError(
                f"The tokenizer of {checkpoint.model} is not that of its model. Fetch the checkpoint again, "
                "whole.",
                reason="model_invalid",
            )
        model, report = WhisperForConditionalGeneration.from_pretrained(
            checkpoint.path, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        if report["missing_keys"]:
            missing = ", ".join(sorted(report["missing_keys"])[:3])
            raise ModelError(
                f"{checkpoint.model} is not a whole Whisper: {len(report['missing_keys'])} weights are "
                f"missing ({missing}, ...). Fetch the checkpoint again, whole.",
                reason="model_invalid",
            )
        self.model: Any = model.to(self.device).eval()
        self.decoder = Decoder(self.model, self.tokens)

    def language(self, read: ReadSound, chunks: Sequence[Span]) -> str | None:
        """The language that these chunks of a sound are in, by a vote that counts each by its length.

        None if none has half of it.

        Raises:
            ModelError: not even one chunk fits the memory; or the model gave something that is no number.
        """
        found = list(self._in_batches(read, chunks, self._languages))
        return vote(list(self.tokens.languages), found, chunks)

    def hear(self, read: ReadSound, chunks: Sequence[Span], *, language: str | None) -> Iterator[HeardChunk]:
        """What is said in each chunk of a sound, in order; without a `language` each in its likeliest.

        Raises:
            ModelError: as `language`; or the model does not know this language.
        """
        self.tokens.check_knows(language or "", model=self.checkpoint.model)
        work = partial(self._written, language=language)
        for chunk, (spoken, written) in zip(chunks, self._in_batches(read, chunks, work), strict=True):
            yield self._heard(chunk, spoken, written)

    def _in_batches(
        self, read: ReadSound, chunks: Sequence[Span], work: Callable[[list[Sound]], Sequence[T]]
    ) -> Iterator[T]:
        """What the work gives for each chunk: in batches that fit; half as large, where memory runs out."""
        size = on_model_thread(self._fitting_batch) if chunks else 1
        done = 0
        while done < len(chunks):
            sounds = [read(*chunk) for chunk in chunks[done : done + size]]
            try:
                made = on_model_thread(partial(work, sounds))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                why = f"{type(error).__name__}: {error}"
            else:
                yield from made
                done += len(made)
                continue
            # Here the error is gone, and with it what it held.
            on_model_thread(torch.cuda.empty_cache)
            if size == 1:
                raise ModelError(
                    f"{self.checkpoint.model} has no memory for a single chunk of 28 s ({why}): close what "
                    "else is on the device, or name a smaller Whisper.",
                    reason="out_of_memory",
                )
            size //= 2
            log.warning("Whisper: %d chunks at once instead of twice as many (%s)", size, why)

    def _fitting_batch(self) -> int:
        row = chunk_bytes(self.model.config)
        return fitting_batch(free_bytes(self.device), row=row, reserve=0, most=AUTO_BATCH[self.device.type])

    @torch.inference_mode()
    def _languages(self, sounds: list[Sound]) -> list[list[float]]:
        found = language_probabilities(self.model, self.tokens, self._features(sounds))
        if not np.isfinite(found).all():
            raise self._not_finite()
        shares: list[list[float]] = found.tolist()
        return shares

    @torch.inference_mode()
    def _written(self, sounds: list[Sound], *, language: str | None) -> list[tuple[str, Written]]:
        names, features = list(self.tokens.languages), self._features(sounds)
        spoken = [language] * len(sounds) if language else []
        if not language:
            likeliest = language_probabilities(self.model, self.tokens, features).argmax(-1)
            spoken = [names[each] for each in likeliest]
        written = self.decoder.write(
            features,
            [self.tokens.prompt(each) for each in spoken],
            [max(1, len(sound) // SAMPLES_PER_POSITION) for sound in sounds],
        )
        if not all(math.isfinite(each.logprob) for each in written):
            raise self._not_finite()
        return list(zip(spoken, written, strict=True))

    def _features(self, sounds: list[Sound]) -> torch.Tensor:
        """Spectra, each sound by itself: its loudest moment scales them."""
        made = [
            self.extractor(sound, sampling_rate=RATE, return_tensors="pt").input_features for sound in sounds
        ]
        return sent(torch.cat(made), self.device)

    def _heard(self, chunk: Span, language: str, written: Written) -> HeardChunk:
        from transformers.models.whisper.tokenization_whisper import LANGUAGES, _combine_tokens_into_words

        tokens = list(written.tokens)
        text = self.tokenizer.decode(tokens)
        invented = why_invented(text, logprob=written.logprob, no_speech=written.no_speech)
        if invented or not text.strip():
            return HeardChunk(invented=invented)
        spelled, _, places = _combine_tokens_into_words(self.tokenizer, tokens, LANGUAGES.get(language))
        words = (
            Word(
                chunk[0] + written.starts_ms[place[0]],
                chunk[0] + written.starts_ms[place[-1] + 1],
                plain(word),
                round(float(np.mean([written.probabilities[each] for each in place])), 3),
            )
            for word, place in zip(spelled, places, strict=True)
        )
        return HeardChunk(tuple(word for word in words if word.word.strip()))

    def _not_finite(self) -> ModelError:
        return ModelError(
            f"{self.checkpoint.model} gives values that are no numbers: fetch it again, whole.",
            reason="not_finite",
        )


def load_whisper(checkpoint: Checkpoint, *, device: str = "auto") -> Whisper:
    """The model of a checkpoint. A process holds one, or why there is none (`Held`).

    Raises:
        ModelError: the checkpoint does not hold a multilingual Whisper, or it does not fit, or there is no
            such `device` (`pick_device`).
    """
    return _held.get(checkpoint, pick_device(device))


def is_loaded() -> bool:
    """Whether this process holds one."""
    return _held.model is not None


def _load(checkpoint: Checkpoint, device: torch.device) -> Whisper:
    try:
        # Where the deep model computes: between two of its batches there is room.
        return on_model_thread(partial(Whisper, checkpoint, device=device))
    except ModelError:
        raise
    except Exception as error:
        raise not_loaded(checkpoint, "Whisper", error) from error


_held = Held(_load)
