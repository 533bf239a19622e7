"""An adapter is trained on earlier answers with other scores, and goes on where it was ended."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.adapters.models.checkpoints import ADAPTER_WEIGHTS, resolve_adapter
from tasks.adapters.models.tuning import loop
from tasks.adapters.models.tuning.lessons import Job, Lesson, question_of, write_lesson
from tasks.adapters.models.tuning.loop import Learner, tune
from tasks.adapters.models.videollama3.adapter import TARGETS, merge_adapter
from tasks.adapters.models.videollama3.checkpoint import load_model
from tasks.adapters.models.videollama3.model import VideoLlama3
from tasks.adapters.storage import open_store
from tasks.core.errors import ModelError
from tasks.core.records import Answer, Moment, Window
from tests.adapters.models.videollama3.small import analyse, video

WINDOWS = [Window(0, 5), Window(20, 25)]
PROMPT = "How viral?"


class Killed(BaseException):
    """Whatever ends a process."""


@pytest.fixture(scope="module")
def lessons(llama: VideoLlama3, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lesson, ...]:
    """Two segments, and what the model says of them as it is."""
    frames, file = video(), tmp_path_factory.mktemp("frames") / "frames.npy"
    np.save(file, frames)
    found = analyse(llama, WINDOWS, frames=frames, prompt=PROMPT, max_new_tokens=160)
    answers = [found[window].answer for window in WINDOWS]
    assert all(answers)
    return tuple(
        Lesson("v", str(file), tuple(range(60)), window, 1, 60, "", answer, score)
        for window, answer, score in zip(WINDOWS, answers, (7, 88), strict=True)
        if answer
    )


@pytest.fixture
def job(llama: VideoLlama3, lessons: tuple[Lesson, ...], tmp_path: Path) -> Job:
    return Job(
        checkpoint=llama.checkpoint,
        device="cpu",
        prompt=PROMPT,
        order="reasons_first",
        max_frames=128,
        max_new_tokens=160,
        lessons=lessons,
        epochs=3,
        learning_rate=1e-3,
        folder=tmp_path,
        output=str(tmp_path / "output"),
    )


def adapter_of(job: Job) -> bytes:
    return (job.folder / "adapter" / ADAPTER_WEIGHTS).read_bytes()


def test_where_it_was_ended_it_goes_on_to_the_same_bytes(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "EVERY_S", inf)  # or a line comes from within an epoch, before it is kept
    said: list[str] = []
    tune(replace(job, output=str(job.folder / "once")), said.append)
    whole = adapter_of(job)
    assert [line.partition(",")[0] for line in said] == [
        f"epoch {n} of 3: 2 of 2 segments" for n in (1, 2, 3)
    ]
    assert said[0].endswith("left")

    def killed(line: str) -> None:
        if line.startswith("epoch 2"):
            raise Killed

    elsewhere = replace(job, folder=job.folder / "elsewhere")
    elsewhere.folder.mkdir()
    with pytest.raises(Killed):
        tune(elsewhere, killed)
    assert open_store(job.output).names("adapters") == [job.unfinished]
    assert elsewhere.unfinished == job.unfinished, "it is found wherever the next try works"
    said.clear()
    tune(job, said.append)
    assert said[0] == "goes on after epoch 2 of 3"
    assert len(said) == 2
    assert adapter_of(job) == whole


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_only_the_language_model_is_trained_and_merging_is_what_peft_does(
    job: Job, llama: VideoLlama3
) -> None:
    from peft import PeftModel

    tune(job, lambda line: None)
    adapter = resolve_adapter(str(job.folder / "adapter"))
    assert {path.name for path in adapter.path.iterdir()} == {"adapter_config.json", ADAPTER_WEIGHTS}
    ours, theirs = (load_model(llama.checkpoint, dtype=torch.float32) for _ in range(2))
    before = {name: weight.clone() for name, weight in ours.named_parameters()}
    merge_adapter(ours, adapter)
    merged = PeftModel.from_pretrained(theirs, str(adapter.path)).merge_and_unload()
    changed = [name for name, weight in ours.named_parameters() if not torch.equal(weight, before[name])]
    assert len(changed) == 2 * 7
    assert all("language_model.layers" in name for name in changed)
    for name, weight in merged.named_parameters():
        torch.testing.assert_close(dict(ours.named_parameters())[name], weight, atol=1e-6, rtol=0)
    assert TARGETS


def test_checkpointing_gives_the_gradients_that_there_are_without(job: Job) -> None:
    import random

    from accelerate import Accelerator

    learner = Learner(job, Accelerator(cpu=True))
    gradients = []
    for is_on in (True, False):
        if not is_on:
            learner.decoder.activation_checkpointing_disable()
        learner.loss(job.lessons[0], random.Random(0)).backward()
        gradients.append([each.grad.clone() for each in learner.parameters])
        learner.optimizer.zero_grad()
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)
    assert any(each.abs().max() > 0 for each in gradients[0])


ODD = Answer(
    12,
    0,
    100,
    ('"quoted"', "Größe, schön", "🎬 cut"),
    (Moment(1.0, "back\\slash"), Moment(4.0, "")),
    "Two\nlines, and a tab\t.",
    "日本語のテキスト",
)


@pytest.mark.parametrize("score", [0, 7, 10, 35, 100])
@pytest.mark.parametrize("order", ["reasons_first", "scores_first"])
def test_an_answer_is_taught_in_the_tokens_that_the_deep_stage_would_write(
    llama: VideoLlama3, job: Job, lessons: tuple[Lesson, ...], score: int, order: str
) -> None:
    grammar = llama.decoder.grammar
    job = replace(job, order=order)  # type: ignore[arg-type]
    for lesson in (*lessons, replace(lessons[0], answer=ODD)):
        lesson = replace(lesson, score=lesson.answer.virality_score)
        schema = question_of(job, lesson).schema(lesson.window)
        written = write_lesson(lesson, schema, grammar, score=score, order=job.order, room=job.room)
        text = grammar.tokenizer.decode_str(list(written.tokens))
        assert f'"virality_score": {score}, "hook_quality": {lesson.answer.hook_quality}, ' in text
        digits = [written.tokens[place] for place, _ in written.digits]
        said = grammar.tokenizer.decode_str(digits)
        assert said in (str(score), f"{score},"), "all its digits, and its end where another could follow"
        assert [before for _, before in written.digits] == [
            str(score)[:n] for n in range(len(written.digits))
        ]
        assert lesson.answer.reasoning.split()[-1] in grammar.tokenizer.decode_str(
            [written.tokens[place] for place in written.texts]
        )
    moved = replace(lessons[0], answer=ODD, score=80)
    taught = write_lesson(moved, schema, grammar, score=80, order=job.order, room=job.room)
    assert all(place < taught.digits[0][0] for place in taught.texts), (
        "behind another score they argue for the old"
    )
    assert bool(taught.texts) is (order == "reasons_first")


def test_an_answer_that_no_grammar_writes_is_left_out_and_said(job: Job) -> None:
    endless = replace(job.lessons[0], answer=replace(ODD, reasoning="x" * 400))
    said: list[str] = []
    tune(replace(job, lessons=(endless, job.lessons[1]), epochs=1), said.append)
    assert said[0].startswith("1 of 2 answers are left out: the grammar writes")
    with pytest.raises(ModelError, match="None of 1 earlier answers can be written again"):
        tune(replace(job, lessons=(endless,)), said.append)


def test_a_loss_that_is_no_number_ends_it(job: Job) -> None:
    with pytest.raises(ModelError, match="try a lower learning rate"):
        tune(replace(job, learning_rate=1e30), lambda line: None)
