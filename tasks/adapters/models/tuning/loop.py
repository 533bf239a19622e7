"""LoRA on the language model of VideoLLaMA3 (Hu et al. 2021), epoch by epoch, on one or several processes."""

from __future__ import annotations

import logging
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional

from tasks.adapters.models.checkpoints import ADAPTER_WEIGHTS, on_this_machine
from tasks.adapters.models.devices import pick_dtype
from tasks.adapters.models.kernels import choose_attention_kernels
from tasks.adapters.models.tuning.lessons import Job, Lesson, question_of, writable, write_lesson
from tasks.adapters.models.usage import Usage
from tasks.adapters.models.videollama3.adapter import TARGETS
from tasks.adapters.models.videollama3.checkpoint import load_model
from tasks.adapters.models.videollama3.config import read_frame_spec
from tasks.adapters.models.videollama3.encoder import EncodedFrames, FrameEncoder
from tasks.adapters.models.videollama3.prompt import PromptLanguage, load_tokenizer
from tasks.adapters.models.videollama3.quantization import NOISY
from tasks.adapters.models.videollama3.questions import prompts_of
from tasks.adapters.storage import open_store
from tasks.core.errors import ModelError
from tasks.core.learning.tuning import TEXT_WEIGHT, chances_of, next_digits

RANK, ALPHA = 16, 32
"""Of the two matrices of a layer: 18.5 million numbers for the 2B."""

BATCH = 8
"""Segments whose gradients are added up before weights change."""

WARM_UP = 0.05
"""Share of all steps in which the learning rate rises; then it falls in a straight line."""

LARGEST_GRADIENT = 1.0

SEED = 0

EVERY_S = 10.0
"""How often progress is told."""

Say = Callable[[str], None]


def tune(job: Job, say: Say) -> None:
    """Train an adapter, from where an earlier try has come to; it is put into `adapter` in the job's folder.

    Raises:
        ModelError: the model cannot be loaded, or the loss is no number.
        StorageError: what is unfinished cannot be kept.
    """
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=job.device == "cpu")
    learner = Learner(job, accelerator)
    say = say if accelerator.is_main_process else lambda line: None
    began_at = learner.resume()
    if began_at:
        say(f"goes on after epoch {began_at} of {job.epochs}")
    count = len(learner.lessons)
    if left_out := len(job.lessons) - count:
        say(f"{left_out} of {len(job.lessons)} answers are left out: {learner.why_not}")
    steps = -(-count // BATCH) * job.epochs
    progress = Progress(say, count, job.epochs, began_at)
    for epoch in range(began_at, job.epochs):
        order = np.random.default_rng([SEED, epoch]).permutation(count).tolist()
        for first in range(0, count, BATCH):
            step = epoch * -(-count // BATCH) + first // BATCH
            rate = job.learning_rate * min((step + 1) / (WARM_UP * steps + 1), 1) * (1 - step / steps)
            progress.loss = learner.step(order[first : first + BATCH], epoch=epoch, rate=rate)
            progress.tell(epoch, min(first + BATCH, count))
        if accelerator.is_main_process:
            learner.keep(epoch + 1)
        accelerator.wait_for_everyone()
        progress.tell(epoch, count, now=True)
    if accelerator.is_main_process:
        learner.save(job.folder / "adapter")
    accelerator.wait_for_everyone()


class Progress:
    """Tells how far it is, and how long it takes at this rate."""

    def __init__(self, say: Say, lessons: int, epochs: int, epoch: int) -> None:
        self.say, self.lessons, self.epochs, self.loss = say, lessons, epochs, 0.0
        self.first, self.began_s = epoch * lessons, time.monotonic()
        self.told_s = self.began_s

    def tell(self, epoch: int, lessons: int, *, now: bool = False) -> None:
        passed_s = time.monotonic() - self.began_s
        if not now and time.monotonic() - self.told_s < EVERY_S:
            return
        self.told_s = time.monotonic()
        done = epoch * self.lessons + lessons
        left_s = passed_s / max(1, done - self.first) * (self.epochs * self.lessons - done)
        self.say(
            f"epoch {epoch + 1} of {self.epochs}: {lessons} of {self.lessons} segments, "
            f"loss {self.loss:.3f}, {timedelta(seconds=round(left_s))} left"
        )


class Learner:
    """VideoLLaMA3 with an adapter beside its weights, which alone are trained."""

    def __init__(self, job: Job, accelerator: Any) -> None:
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
        from peft import LoraConfig, get_peft_model

        choose_attention_kernels()
        checkpoint = on_this_machine(job.checkpoint)
        self.job, self.accelerator, self.device = job, accelerator, accelerator.device
        spec = read_frame_spec(checkpoint)
        tokenizer, self.grammar = load_tokenizer(checkpoint)
        self.lessons, self.why_not = writable(job, self.grammar)
        model = load_model(checkpoint, dtype=pick_dtype(self.device), device=self.device).requires_grad_(
            False
        )
        self.model, self.decoder = model, model.model.language_model
        self.language = PromptLanguage(tokenizer, video_token_id=model.config.video_token_id)
        self.encoder = FrameEncoder(model, spec, Usage(self.device))
        torch.manual_seed(SEED)
        config = LoraConfig(
            r=RANK,
            lora_alpha=ALPHA,
            lora_dropout=0.0,
            bias="none",
            target_modules=TARGETS,
            base_model_name_or_path=checkpoint.model,
            revision=checkpoint.revision,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks by a name that transformers gives up
            self.peft = get_peft_model(model, config)
        # The base is in half precision where it may be; what is trained is not.
        self.weights = {name: each.data for name, each in self.peft.named_parameters() if each.requires_grad}
        assert {each.dtype for each in self.weights.values()} == {torch.float32}
        self.parameters = [each for each in self.peft.parameters() if each.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=job.learning_rate, weight_decay=0.0)
        self.decoder.train()
        self.decoder.activation_checkpointing_enable({"use_reentrant": False})

    def step(self, batch: Sequence[int], *, epoch: int, rate: float) -> float:
        """Change the weights once, by lessons of these numbers; the mean loss.

        Raises:
            ModelError: it is no number.
        """
        accelerator, total = self.accelerator, torch.zeros((), device=self.device)
        for number in batch[accelerator.process_index :: accelerator.num_processes]:
            loss = self.loss(self.lessons[number], random.Random(f"{SEED} {epoch} {number}")) / len(batch)
            accelerator.backward(loss)
            total += loss.detach()
        if accelerator.num_processes > 1:
            for each in self.parameters:
                each.grad = accelerator.reduce(torch.zeros_like(each) if each.grad is None else each.grad)
            total = accelerator.reduce(total)
        if not total.isfinite():
            raise ModelError(f"The loss is {total.item()}: try a lower learning rate.", reason="not_finite")
        torch.nn.utils.clip_grad_norm_(self.parameters, LARGEST_GRADIENT)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(total)

    def loss(self, lesson: Lesson, draw: random.Random) -> torch.Tensor:
        """The mean cross-entropy of what the grammar leaves open, with a score drawn near the wanted one."""
        job, chances = self.job, chances_of(lesson.score)
        (score,) = draw.choices(range(101), list(chances))
        question = question_of(job, lesson)
        places, frames = (
            {tick: i for i, tick in enumerate(lesson.ticks)},
            np.load(lesson.frames, mmap_mode="r"),
        )
        encoded = EncodedFrames(
            self.encoder, lambda ticks: frames[[places[tick] for tick in ticks]], lesson.ticks
        )
        with torch.no_grad():
            (prompt,) = prompts_of(
                [lesson.window], question, encoded, self.language, max_frames=job.max_frames
            )
            video = prompt.video()
        answer = write_lesson(
            lesson, prompt.schema, self.grammar, score=score, order=job.order, room=job.room
        )
        ids = torch.tensor([*prompt.ids, *answer.tokens], device=self.device)
        embeddings = self.decoder.embed_tokens(ids).detach()
        embeddings[ids == self.language.video_token_id] = video.to(embeddings.dtype)
        hidden = self.decoder(
            inputs_embeds=embeddings[None],
            position_ids=torch.arange(len(ids), device=self.device)[None],
            use_cache=False,
        ).last_hidden_state[0, len(prompt.ids) - 1 :]
        parts = [*self._digits(hidden, answer.digits, chances)]
        if answer.texts:
            logits = self.model.lm_head(hidden[list(answer.texts)]).float()
            wanted = torch.tensor([answer.tokens[place] for place in answer.texts], device=self.device)
            loss = functional.cross_entropy(logits, wanted, reduction="sum")
            parts.append((TEXT_WEIGHT * loss, TEXT_WEIGHT * len(answer.texts)))
        return torch.stack([loss for loss, _ in parts]).sum() / sum(weight for _, weight in parts)

    def _digits(
        self, hidden: torch.Tensor, digits: Sequence[tuple[int, str]], chances: Any
    ) -> Iterator[tuple[torch.Tensor, float]]:
        """The loss at each digit of the score, among what may stand there: another digit, or the end."""
        open_ids = torch.tensor([*self.grammar.digits, self.grammar.number_end], device=self.device)
        for place, before in digits:
            wanted = torch.tensor(next_digits(chances, before), dtype=torch.float32, device=self.device)
            logits = hidden[place].float() @ self.model.lm_head.weight[open_ids].float().T
            yield functional.cross_entropy(logits[None], wanted[None]), 1.0

    def keep(self, epochs: int) -> None:
        """Put weights and what the optimizer knows into the store, in one file."""
        state = self.optimizer.state
        tensors = {name: each.cpu().contiguous() for name, each in self.weights.items()}
        for name, each in zip(self.weights, self.parameters, strict=True):
            tensors |= {f"{part}/{name}": value.cpu() for part, value in state[each].items()}
        local = self.job.folder / "unfinished.safetensors"
        save_file(tensors, local, metadata={"epochs": str(epochs)})
        open_store(self.job.output).publish(local, self.job.unfinished)

    def resume(self) -> int:
        """Take up what an earlier try has kept; how many epochs it has finished."""
        store, local = (
            open_store(self.job.output),
            self.job.folder / f"resumed-{self.accelerator.process_index}",
        )
        if not store.exists(self.job.unfinished):
            return 0
        store.fetch(self.job.unfinished, local)
        tensors = load_file(local)
        for name, each in zip(self.weights, self.parameters, strict=True):
            each.data.copy_(tensors[name])
            self.optimizer.state[each] = {
                part: tensors[f"{part}/{name}"].to("cpu" if part == "step" else self.device)
                for part in ("step", "exp_avg", "exp_avg_sq")
            }
        with safe_open(local, framework="pt") as file:
            return int(file.metadata()["epochs"])

    def save(self, folder: Path) -> None:
        """Write the adapter as peft does, less its README."""
        from peft import get_peft_model_state_dict

        self.peft.peft_config["default"].save_pretrained(str(folder))
        weights = {
            name: each.cpu().contiguous() for name, each in get_peft_model_state_dict(self.peft).items()
        }
        save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        with suppress(FileNotFoundError):
            (folder / "README.md").unlink()
