"""Whisper on the demo's checkpoint: what it writes depends on nothing but the chunk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.whisper import decoding
from tasks.adapters.models.whisper.decoding import Written, why_invented
from tasks.adapters.models.whisper.model import HeardChunk, Whisper, load_whisper
from tasks.core.errors import ModelError
from tasks.core.speech.chunks import RATE
from tasks.core.speech.spans import Span
from tests.adapters.video.sound.voice import voice

CHUNKS = [(0, 6_000), (8_000, 19_000), (20_000, 20_400)]


@pytest.fixture(scope="module")
def whisper(demo_models: Path) -> Whisper:
    return load_whisper(resolve_checkpoint(str(demo_models / "whisper")), device="cpu")


@pytest.fixture(scope="module")
def sound() -> npt.NDArray[np.float32]:
    return voice(25).astype(np.float32) / 32768


@pytest.fixture(scope="module")
def read(sound: npt.NDArray[np.float32]) -> Callable[[int, int], npt.NDArray[np.float32]]:
    return lambda start_ms, end_ms: sound[start_ms * RATE // 1000 : end_ms * RATE // 1000]


@pytest.fixture(scope="module")
def english(whisper: Whisper, read: Any) -> list[HeardChunk]:
    """What is heard in all chunks, taken for English."""
    return list(whisper.hear(read, CHUNKS, language="en"))


@pytest.fixture
def written(whisper: Whisper, monkeypatch: pytest.MonkeyPatch) -> list[list[Written]]:
    """What is written from here on, by batch."""
    batches: list[list[Written]] = []
    write = whisper.decoder.write

    def watched(*given: Any) -> list[Written]:
        batches.append(write(*given))
        return batches[-1]

    monkeypatch.setattr(whisper.decoder, "write", watched)
    return batches


def in_batches_of(size: int, whisper: Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper, "_fitting_batch", lambda: size)


@pytest.mark.parametrize("language", ["en", None])
def test_a_batch_writes_what_each_chunk_gives_alone(
    whisper: Whisper, read: Any, written: list[list[Written]], monkeypatch: pytest.MonkeyPatch, language: Any
) -> None:
    in_batches_of(len(CHUNKS), whisper, monkeypatch)
    together = list(whisper.hear(read, CHUNKS, language=language))
    in_batches_of(1, whisper, monkeypatch)
    alone = list(whisper.hear(read, CHUNKS, language=language))
    assert [len(batch) for batch in written] == [len(CHUNKS), *[1] * len(CHUNKS)]
    rows = [row for batch in written[1:] for row in batch]
    assert [row.tokens for row in written[0]] == [row.tokens for row in rows]
    assert len({row.tokens for row in rows}) > 1
    assert together == alone


def test_it_writes_what_transformers_itself_would(
    whisper: Whisper, read: Any, written: list[list[Written]]
) -> None:
    list(whisper.hear(read, CHUNKS, language="es"))
    features = whisper._features([read(*chunk) for chunk in CHUNKS])
    how: dict[str, Any] = {"language": "es", "task": "transcribe", "do_sample": False, "num_beams": 1}
    how |= {"suppress_tokens": list(whisper.tokens.suppressed)}  # published models have them in their files
    theirs = whisper.model.generate(features, attention_mask=torch.ones(3, 3000), **how)
    for row, made in zip(theirs.tolist(), (row for batch in written for row in batch), strict=True):
        text = [token for token in row if token < whisper.tokens.end]
        # transformers goes on where this decoder has a limit.
        assert list(made.tokens) == text[: decoding.MAX_TOKENS]


def test_words_lie_in_their_chunk_in_order(english: list[HeardChunk]) -> None:
    assert any(chunk.words for chunk in english)
    for (start_ms, end_ms), chunk in zip(CHUNKS, english, strict=True):
        times = [(word.start_ms, word.end_ms) for word in chunk.words]
        assert all(start_ms <= start <= end <= end_ms for start, end in times)
        assert all(before[1] <= after[0] for before, after in pairwise(times))
        assert all(0 <= word.probability <= 1 for word in chunk.words)


def test_text_is_bounded(
    whisper: Whisper, read: Any, written: list[list[Written]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "MAX_TOKENS", 5)
    list(whisper.hear(read, CHUNKS, language="en"))
    assert max(len(row.tokens) for batch in written for row in batch) <= 5


@pytest.mark.parametrize(
    ("text", "logprob", "no_speech", "why"),
    [
        ("And so, my fellow Americans: ask not what your country can do for you.", -0.3, 0.01, None),
        ("Music " * 30, -0.2, 0.1, "repeats"),
        ("you", -1.5, 0.9, "no_speech"),
        ("you", -1.5, 0.5, None),
        ("you", -0.9, 0.9, None),
        ("", -0.1, 0.9, None),
    ],
)
def test_text_that_nobody_said_is_dropped(
    text: str, logprob: float, no_speech: float, why: str | None
) -> None:
    assert why_invented(text, logprob=logprob, no_speech=no_speech) == why


def test_a_dropped_chunk_has_no_words_and_says_why(
    whisper: Whisper, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Written(tuple(b"la" * 60), (0.9,) * 120, tuple(range(0, 2_420, 20)), -0.1, 0.0)
    monkeypatch.setattr(whisper.decoder, "write", lambda *_: [loop])
    assert list(whisper.hear(read, CHUNKS[:1], language="en")) == [HeardChunk(invented="repeats")]


def test_a_language_is_told_and_can_be_forced(
    whisper: Whisper, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Span] = []
    prompts: list[list[int]] = []

    def watched(start_ms: int, end_ms: int) -> Any:
        asked.append((start_ms, end_ms))
        return read(start_ms, end_ms)

    def write(_features: Any, given: list[list[int]], _frames: Any) -> list[Written]:
        prompts.extend(given)
        return [Written((), (), (0,), -0.1, 0.0)] * len(given)

    assert whisper.language(watched, CHUNKS) in {None, *whisper.tokens.languages}
    assert asked == CHUNKS
    monkeypatch.setattr(whisper.decoder, "write", write)
    assert list(whisper.hear(read, CHUNKS, language="pt")) == [HeardChunk()] * len(CHUNKS)
    assert prompts == [whisper.tokens.prompt("pt")] * len(CHUNKS)
    with pytest.raises(ModelError, match=r"does not know the language 'tlh'.*speech\.language") as error:
        list(whisper.hear(read, CHUNKS, language="tlh"))
    assert error.value.reason == "model_invalid"


@pytest.mark.parametrize(("fits", "sizes"), [(4, [3]), (1, [3, 2, 1, 1, 1])])
def test_with_less_memory_fewer_chunks_are_heard_at_once(
    whisper: Whisper,
    read: Any,
    english: list[HeardChunk],
    monkeypatch: pytest.MonkeyPatch,
    fits: int,
    sizes: list[int],
) -> None:
    in_batches_of(4, whisper, monkeypatch)
    write, tried = whisper.decoder.write, list[int]()

    def in_little_memory(features: torch.Tensor, *more: Any) -> list[Written]:
        tried.append(len(features))
        if len(features) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return write(features, *more)

    monkeypatch.setattr(whisper.decoder, "write", in_little_memory)
    assert list(whisper.hear(read, CHUNKS, language="en")) == english
    assert tried == sizes


def test_without_memory_for_one_chunk_it_says_so(
    whisper: Whisper, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_fits(*_: Any) -> list[Written]:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(whisper.decoder, "write", nothing_fits)
    with pytest.raises(ModelError, match="no memory for a single chunk") as error:
        list(whisper.hear(read, CHUNKS, language="en"))
    assert error.value.reason == "out_of_memory"


def without_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.encoder.conv1.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def of_no_numbers(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.decoder.layer_norm.weight"][:] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("harm", "reason", "says"),
    [
        (without_a_weight, "model_invalid", "1 weights are missing"),
        (of_no_numbers, "not_finite", "no numbers"),
        (
            lambda folder: (folder / "tokenizer.json").write_text("{}"),
            "model_invalid",
            "cannot be loaded",
        ),
        (
            lambda folder: (folder / "preprocessor_config.json").unlink(),
            "model_invalid",
            "cannot be loaded",
        ),
    ],
)
def test_a_broken_checkpoint_is_refused(
    demo_models: Path, tmp_path: Path, read: Any, harm: Callable[[Path], None], reason: str, says: str
) -> None:
    folder = Path(shutil.copytree(demo_models / "whisper", tmp_path / "whisper"))
    harm(folder)
    with pytest.raises(ModelError, match=says) as error:
        list(
            load_whisper(resolve_checkpoint(str(folder)), device="cpu").hear(read, CHUNKS[:1], language=None)
        )
    assert error.value.reason == reason
