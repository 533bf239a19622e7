"""What is no multilingual Whisper is refused by its small files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.whisper.checkpoint import read_tokens
from tasks.core.errors import ModelError


def changed(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    content = {k: v for k, v in (json.loads(path.read_text()) | values).items() if v is not ...}
    path.write_text(json.dumps(content))


def generation(**values: Any) -> Callable[[Path], None]:
    return lambda folder: changed(folder, "generation_config.json", **values)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (generation(lang_to_id=...), "lang_to_id"),  # English only
        (generation(lang_to_id={}), "lang_to_id"),
        (generation(alignment_heads=...), "alignment_heads"),
        (generation(alignment_heads=None), "cannot tell"),
        (generation(alignment_heads=[[2, 0]]), "alignment_heads"),
        (generation(no_timestamps_token_id=...), "no_timestamps_token_id"),
        (generation(no_timestamps_token_id=5), "order of special tokens"),
        (lambda folder: (folder / "generation_config.json").unlink(), "generation_config"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda folder: changed(folder, "config.json", model_type="wav2vec2"), "'wav2vec2' checkpoint"),
    ],
)
def test_what_is_no_multilingual_whisper_is_refused(
    demo_models: Path, tmp_path: Path, harm: Callable[[Path], None], says: str
) -> None:
    folder = Path(shutil.copytree(demo_models / "whisper", tmp_path / "whisper"))
    harm(folder)
    with pytest.raises(ModelError, match=says) as error:
        read_tokens(resolve_checkpoint(str(folder)))
    assert error.value.reason == "model_invalid"


def test_the_special_tokens_are_those_of_the_files(demo_models: Path) -> None:
    tokens = read_tokens(resolve_checkpoint(str(demo_models / "whisper")))
    assert (tokens.end, tokens.start, tokens.languages["en"]) == (256, 257, 258)
    assert len(tokens.languages) == 99
    assert tokens.no_speech == tokens.no_times - 1
    # Text alone can be written, and its end.
    assert {*range(256 + 1)}.isdisjoint(tokens.suppressed)
    assert len({*tokens.suppressed}) == len(tokens.suppressed) == 106 + 1501
