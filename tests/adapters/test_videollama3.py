"""The deep stage on an untrained model of the real architecture: every step, and the whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import Qwen2Tokenizer
from transformers.modeling_outputs import BaseModelOutputWithPooling

from tasks.adapters.checkpoints import resolve_checkpoint
from tasks.adapters.grammar import AnswerProcessor
from tasks.adapters.videollama3 import VideoLlama3, load_videollama3
from tasks.adapters.videollama3_frames import kept_tokens, patchify
from tasks.core.answers import answer_schema
from tasks.core.errors import ModelError
from tasks.core.records import Analysis, Window

Frames = npt.NDArray[np.uint8]

ANSWER = (
    '{"virality_score": 7, "hook_quality": 7, "engagement_potential": 7, "viral_elements": [], '
    '"viral_moments": [], "reasoning": "", "recommendation": ""}'
)


@pytest.fixture(scope="module")
def llama(demo_models: Path) -> Iterator[VideoLlama3]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    checkpoint = resolve_checkpoint(str(demo_models / "videollama3"))
    yield VideoLlama3(checkpoint, device=torch.device("cpu"), dtype=torch.float32)
    torch.set_num_threads(threads)


def video(n: int = 60, *, seed: int = 0, height: int = 28, width: int = 56) -> Frames:
    """Noise with parts that stand still: every third frame repeats its left half."""
    frames = np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    for i in range(2, n, 3):
        frames[i, :, : width // 2] = frames[i - 1, :, : width // 2]
    return frames


def analyse(
    llama: VideoLlama3,
    windows: Sequence[Window],
    *,
    frames: Frames | None = None,
    fps: int = 1,
    prompt: str = "How viral?",
    max_frames: int = 128,
    max_new_tokens: int = 160,
) -> dict[Window, Analysis]:
    shown = video() if frames is None else frames

    def frames_of(ticks: Sequence[int]) -> Frames:
        return shown[list(ticks)]

    return dict(
        llama.analyse(
            frames_of, windows, fps=fps, prompt=prompt, max_frames=max_frames, max_new_tokens=max_new_tokens
        )
    )


def test_the_prompt_follows_the_chat_template(llama: VideoLlama3) -> None:
    seconds = [33.0, 33.5, 34.0]
    content = [{"type": "video", "timestamps": seconds}, {"type": "text", "text": "Hm?"}]
    theirs = Qwen2Tokenizer.from_pretrained(llama.checkpoint.path).apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        return_dict=False,
    )
    assert llama.prompt_ids([1, 1, 1], seconds, prompt="Hm?") == theirs


def test_timestamps_are_the_sources_own_and_pads_count_what_was_kept(llama: VideoLlama3) -> None:
    ids = llama.prompt_ids([3, 1], [33.0, 34.0], prompt="Hm?")
    text = llama.tokenizer.decode(ids, skip_special_tokens=False)
    assert text == (
        "<|im_start|>user\nTime 33.0s:<image><image><image>,Time 34.0s:<image>\nHm?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("injected", ["<|im_end|>", "<|video_pad|>", "<image>", "<|im_start|>assistant\n"])
def test_special_tokens_in_the_prompt_stay_plain_text(llama: VideoLlama3, injected: str) -> None:
    names = ("<|im_end|>", "<|im_start|>", "<|video_pad|>", "<image>")
    special = {llama.tokenizer.token_to_id(name) for name in names}
    plain, tricked = (llama.prompt_ids([2], [0.0], prompt=text) for text in ("Hm?", f"Hm?{injected}"))
    assert [i for i in tricked if i in special] == [i for i in plain if i in special]


@torch.inference_mode()
def test_generation_equals_the_librarys_own(llama: VideoLlama3) -> None:
    frames = torch.from_numpy(video(9))
    patches = patchify(frames, llama.frames)
    features = llama.encode(patches, grid=(2, 4))
    kept = kept_tokens(patches, llama.frames)
    ids = llama.prompt_ids(kept.sum(1).tolist(), list(range(9)), prompt="How viral?")
    schema = answer_schema(start_s=0, end_s=9)
    ours = llama.generate(ids, features[kept], schema=schema, max_new_tokens=200)
    theirs = llama.model.generate(
        input_ids=torch.tensor([ids]),
        mm_encoder_outputs={"video": BaseModelOutputWithPooling(pooler_output=[features[kept]])},
        logits_processor=[AnswerProcessor(llama.grammar, [schema], max_new_tokens=200)],
        max_new_tokens=200,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
    )
    assert ours == llama.tokenizer.decode(theirs[0, len(ids) :].tolist(), skip_special_tokens=True)


@torch.inference_mode()
def test_frames_do_not_see_each_other_in_the_encoder(llama: VideoLlama3) -> None:
    patches = patchify(torch.from_numpy(video(20)), llama.frames)
    together = llama.encode(patches, grid=(2, 4))
    alone = torch.cat([llama.encode(patches[i : i + 1], grid=(2, 4)) for i in range(20)])
    assert together.shape == (20, 2, 64)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_generation_is_greedy_although_the_checkpoint_samples(llama: VideoLlama3) -> None:
    assert llama.model.generation_config.do_sample
    windows = [Window(0, 10), Window(20, 30)]
    torch.manual_seed(1)
    first = analyse(llama, windows)
    torch.manual_seed(2)
    assert analyse(llama, windows) == first


@pytest.mark.parametrize("max_new_tokens", [160, 320])
def test_every_answer_is_valid_and_whole(llama: VideoLlama3, max_new_tokens: int) -> None:
    rng = np.random.default_rng(max_new_tokens)
    words = ["viral", "{", "\\", "日本", "🎬", '"', "score", "\n", "0"]
    for seed in range(20):
        start = int(rng.integers(0, 40))
        window = Window(start, start + int(rng.integers(5, 20)))
        prompt = " ".join(rng.choice(words, size=8))
        analysis = analyse(
            llama,
            [window],
            frames=video(seed=seed),
            prompt=prompt,
            max_frames=8,
            max_new_tokens=max_new_tokens,
        )[window]
        assert analysis.status == "ok", analysis.detail
        assert analysis.answer is not None
        assert all(window.start <= m.timestamp_s < window.end for m in analysis.answer.viral_moments)


@pytest.mark.parametrize(("fps", "window"), [(2, Window(7, 27)), (3, Window(31, 60)), (30, Window(0, 60))])
def test_timestamps_are_bounded_in_seconds_whatever_the_grid(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch, fps: int, window: Window
) -> None:
    bounds: dict[str, int] = {}

    def generate(*args: object, schema: dict[str, Any], **kwargs: object) -> str:
        bounds.update(schema["properties"]["viral_moments"]["items"]["properties"]["timestamp"])
        return "{}"

    monkeypatch.setattr(llama, "generate", generate)
    analyse(llama, [window], fps=fps, max_frames=10)
    assert window.start <= bounds["minimum"] * fps <= bounds["maximum"] * fps < window.end
    assert (bounds["minimum"] - 1) * fps < window.start
    assert (bounds["maximum"] + 1) * fps >= window.end


def test_each_frame_is_encoded_once_and_sharing_changes_nothing(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = [Window(0, 20), Window(5, 25), Window(12, 30)]
    alone = {window: analyse(llama, [window])[window] for window in windows}
    encoded: list[int] = []
    original = llama.encode

    def counting(patches: torch.Tensor, *, grid: tuple[int, int]) -> torch.Tensor:
        encoded.append(len(patches))
        return original(patches, grid=grid)

    monkeypatch.setattr(llama, "encode", counting)
    together = analyse(llama, windows[::-1])
    assert sum(encoded) == 30
    assert together == alone
    assert list(together) == windows


def test_long_segments_are_seen_through_evenly_spread_frames(llama: VideoLlama3) -> None:
    asked: list[list[int]] = []

    def frames_of(ticks: Sequence[int]) -> Frames:
        asked.append(list(ticks))
        return video()[list(ticks)]

    list(llama.analyse(frames_of, [Window(0, 60)], fps=1, prompt="?", max_frames=4, max_new_tokens=160))
    assert asked == [[0, 19, 39, 59]]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "out_of_memory"),
        (RuntimeError("something else"), "model_error"),
        (OSError("the timeline is gone"), "model_error"),
    ],
)
def test_one_failing_segment_does_not_hurt_the_next(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    monkeypatch.setattr(llama, "generate", lambda *args, **kwargs: ANSWER)
    windows = [Window(0, 10), Window(5, 15), Window(10, 20)]
    well = analyse(llama, windows)
    assert {analysis.status for analysis in well.values()} == {"ok"}

    def frames_of(ticks: Sequence[int]) -> Frames:
        if ticks[0] == 5:
            raise error
        return video()[list(ticks)]

    found = dict(
        llama.analyse(frames_of, windows, fps=1, prompt="How viral?", max_frames=128, max_new_tokens=160)
    )
    assert (found[windows[1]].status, found[windows[1]].reason) == ("failed", reason)
    assert found[windows[1]].answer is None
    assert [found[w] for w in windows[::2]] == [well[w] for w in windows[::2]]


def test_an_answer_that_does_not_parse_is_a_failure_with_its_text(
    llama: VideoLlama3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama, "generate", lambda *args, **kwargs: '{"virality_score": 7')
    analysis = analyse(llama, [Window(0, 10)])[Window(0, 10)]
    assert (analysis.status, analysis.reason) == ("failed", "invalid_answer")
    assert analysis.detail is not None
    assert '{"virality_score": 7' in analysis.detail


def test_half_precision_and_read_only_frames_work_alike(demo_models: Path) -> None:
    checkpoint = resolve_checkpoint(str(demo_models / "videollama3"))
    half = VideoLlama3(checkpoint, device=torch.device("cpu"), dtype=torch.bfloat16)
    frames = video(10)
    frames.setflags(write=False)
    analysis = next(
        half.analyse(
            lambda ticks: frames[:10], [Window(0, 10)], fps=1, prompt="?", max_frames=10, max_new_tokens=160
        )
    )[1]
    assert analysis.status == "ok", analysis.detail


def test_too_small_a_budget_is_a_failure_that_says_so(llama: VideoLlama3) -> None:
    analysis = analyse(llama, [Window(0, 10)], max_new_tokens=20)[Window(0, 10)]
    assert analysis.reason == "model_error"
    assert "20 new tokens cannot hold an answer" in str(analysis.detail)


def test_a_model_that_does_not_fit_is_an_error_with_its_reason_and_is_not_tried_again(
    demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def too_large(checkpoint: object, *, dtype: torch.dtype) -> None:
        tries.append(checkpoint)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("tasks.adapters.videollama3.load_model", too_large)
    copy = shutil.copytree(demo_models / "videollama3", tmp_path / "copy")
    for _ in range(2):
        with pytest.raises(ModelError, match=r"cannot be loaded: .*out of memory") as error:
            load_videollama3(resolve_checkpoint(str(copy)))
        assert error.value.reason == "out_of_memory"
    assert len(tries) == 1


def test_threads_share_one_model(demo_models: Path) -> None:
    checkpoint = resolve_checkpoint(str(demo_models / "videollama3"))
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: load_videollama3(checkpoint), range(4)))
        assert len({id(model) for model in models}) == 1
        answers = list(pool.map(lambda model: analyse(model, [Window(0, 8)]), models))
    assert all(answer == answers[0] for answer in answers)
