"""What a checkpoint says of itself is understood, or it is said what is missing, before it is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.models.checkpoints import Checkpoint, resolve_checkpoint
from tasks.adapters.models.videollama3.config import check_described, native_config, read_frame_spec
from tasks.adapters.models.videollama3.prompt import load_tokenizer
from tasks.core.errors import ModelError
from tasks.core.records import Analysis
from tasks.run.run import find_deep
from tests.library import quick_settings

PREPROCESSOR = "preprocessor_config.json"


@pytest.fixture
def copy(demo_models: Path, tmp_path: Path) -> Checkpoint:
    return resolve_checkpoint(str(shutil.copytree(demo_models / "videollama3", tmp_path / "copy")))


def change(checkpoint: Checkpoint, file: str, **changes: object) -> None:
    """Change fields of a JSON file; those that become None are removed."""
    path = checkpoint.path / file
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))


def test_one_mean_stands_for_all_channels(copy: Checkpoint) -> None:
    change(copy, PREPROCESSOR, image_mean=0.5, image_std=1)
    spec = read_frame_spec(copy)
    assert (spec.mean, spec.std) == ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("value", [[0.5], [0.5] * 4, "0.5", {"r": 1}, ["a", "b", "c"]])
def test_a_mean_that_is_none_is_refused_with_its_value(copy: Checkpoint, value: object) -> None:
    change(copy, PREPROCESSOR, image_mean=value)
    with pytest.raises(ModelError, match=r"image_mean is|could not convert") as caught:
        read_frame_spec(copy)
    assert "missing" not in str(caught.value)


def test_a_vision_encoder_that_is_named_only_is_the_published_one(copy: Checkpoint) -> None:
    config = json.loads((copy.path / "config.json").read_text())
    config |= {"vision_encoder_config": None, "vision_encoder": "DAMO-NLP-SG/SigLIP-NaViT"}
    vision = native_config(config, model="any")["vision_config"]
    assert (vision["hidden_size"], vision["num_hidden_layers"]) == (1152, 27)


def remove(*names: str) -> Callable[[Checkpoint], None]:
    return lambda checkpoint: [(checkpoint.path / name).unlink(missing_ok=True) for name in names] and None


def config(**changes: Any) -> Callable[[Checkpoint], None]:
    return lambda checkpoint: change(checkpoint, "config.json", **changes)


BROKEN = {
    "no tokenizer": (
        remove("tokenizer.json", "vocab.json", "merges.txt"),
        r"no tokenizer.*r\.json is",
    ),
    "no vocabulary": (config(vocab_size=None), "config.json lacks 'vocab_size'"),
    "no encoder": (config(vision_encoder_config=None, vision_encoder=None), "vision_encoder_config"),
    "no preprocessor": (remove(PREPROCESSOR), "no readable preprocessor_config.json"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_missing_is_said_before_anything_is_decoded(copy: Checkpoint, case: str) -> None:
    broken, said = BROKEN[case]
    broken(copy)
    with pytest.raises(ModelError, match=said) as caught:
        check_described(copy)
    assert caught.value.reason == "model_invalid"
    settings = quick_settings("in", "out", copy.path.parent, deep={"model": str(copy.path)})
    found, _ = find_deep(settings)
    assert isinstance(found, Analysis)
    assert found.reason == "model_invalid"


def test_without_its_files_there_is_no_tokenizer(copy: Checkpoint) -> None:
    remove("tokenizer.json", "vocab.json", "merges.txt")(copy)
    with pytest.raises(ModelError, match="has no tokenizer"):
        load_tokenizer(copy)
