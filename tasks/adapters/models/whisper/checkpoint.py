"""What a Whisper checkpoint says of itself: its special tokens, and the heads that follow the sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.adapters.models.checkpoints import Checkpoint, read_json
from tasks.core.errors import ModelError

TOKENIZERS = ("tokenizer.json", "vocab.json")
FIX = "Name a multilingual one in the layout of openai/whisper-base, such as openai/whisper-small."


@dataclass(frozen=True, slots=True)
class Tokens:
    """The ids that have a meaning of their own, and the attention heads that follow the sound.

    Text has the ids below `end`. From there on lie `start`, the `languages` by their code, the task, the
    probability that nobody speaks, and `no_times`; behind them are times, which are not asked for.
    `suppressed` are never written, `suppressed_first` not as the first. `heads` are pairs of a decoder layer
    and a head of it.
    """

    end: int
    start: int
    languages: dict[str, int]
    transcribe: int
    no_speech: int
    no_times: int
    suppressed: tuple[int, ...]
    suppressed_first: tuple[int, ...]
    heads: tuple[tuple[int, int], ...]

    def prompt(self, language: str) -> list[int]:
        """What comes before the text."""
        return [self.start, self.languages[language], self.transcribe, self.no_times]

    def check_knows(self, language: str, *, model: str) -> None:
        """Nothing, if the model knows this language, or none is named.

        Raises:
            ModelError: it does not.
        """
        if language and language not in self.languages:
            raise ModelError(
                f"{model} does not know the language {language!r}: set speech.language to one of "
                f"{', '.join(sorted(self.languages))}, or leave it empty.",
                reason="model_invalid",
            )


def read_tokens(checkpoint: Checkpoint) -> Tokens:
    """The special tokens of a checkpoint, by its small files alone.

    Raises:
        ModelError: it is no multilingual Whisper, or not all of it is there.
    """
    config = read_json(checkpoint, "config.json")
    if config.get("model_type") != "whisper":
        raise _invalid(checkpoint, f"is a {config.get('model_type')!r} checkpoint, not Whisper")
    if not any((checkpoint.path / name).is_file() for name in TOKENIZERS):
        raise _invalid(checkpoint, f"has no tokenizer ({' or '.join(TOKENIZERS)})")
    generation = read_json(checkpoint, "generation_config.json")
    try:
        tokens = _tokens(config, generation)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        missing = f"its generation_config.json has no usable {error.args[0] if error.args else error}"
        raise _invalid(checkpoint, f"cannot tell languages or times of words: {missing}") from error
    return tokens


def _tokens(config: dict[str, Any], generation: dict[str, Any]) -> Tokens:
    languages = {name.strip("<|>"): int(token) for name, token in generation["lang_to_id"].items()}
    no_times = int(generation["no_timestamps_token_id"])
    end = int(config["eos_token_id"])
    heads = tuple((int(layer), int(head)) for layer, head in generation["alignment_heads"])
    transcribe, start = int(generation["task_to_id"]["transcribe"]), int(config["decoder_start_token_id"])
    if not languages:
        raise ValueError("lang_to_id")
    if not heads or any(
        layer >= config["decoder_layers"] or head >= config["decoder_attention_heads"]
        for layer, head in heads
    ):
        raise ValueError("alignment_heads")
    special = (start, transcribe, no_times, *languages.values())
    if not end < min(special) <= max(special) < config["vocab_size"]:
        raise ValueError("order of special tokens")
    return Tokens(
        end=end,
        start=start,
        languages=languages,
        transcribe=transcribe,
        no_speech=no_times - 1,
        no_times=no_times,
        # Published lists leave out what no model writes as published; others may.
        suppressed=(*(generation.get("suppress_tokens") or ()), *range(end + 1, config["vocab_size"])),
        suppressed_first=tuple(generation.get("begin_suppress_tokens") or ()),
        heads=heads,
    )


def _invalid(checkpoint: Checkpoint, fault: str) -> ModelError:
    return ModelError(f"{checkpoint.model} {fault}. {FIX}", reason="model_invalid")
