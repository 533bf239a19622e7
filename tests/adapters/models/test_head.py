"""A score head is read from a folder and checked before it scores anything."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tasks.adapters.models.head import load_head
from tasks.core.errors import ModelError
from tasks.core.records import WindowFeatures


def write_head(folder: Path, *, kind: object = "ridge", weight: list[float] | None = None) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "head.json").write_text(json.dumps({"kind": kind}))
    tensors = {"weight": np.array(weight or [1, 2], np.float32), "bias": np.array([0.5], np.float32)}
    save_file(tensors, folder / "head.safetensors")
    return str(folder)


def features(*rows: list[float]) -> WindowFeatures:
    return WindowFeatures(np.array(rows, np.float32), np.zeros(len(rows), np.float32))


def test_a_head_scores_embeddings(tmp_path: Path) -> None:
    head = load_head(write_head(tmp_path / "head"))
    assert head(features([10, 20], [0, 0])) == [51, 1]


def test_the_revision_of_a_head_is_what_it_is_made_of(tmp_path: Path) -> None:
    head = load_head(write_head(tmp_path / "head"))
    copy = load_head(write_head(tmp_path / "copy"))
    assert head.revision == copy.revision
    assert head.revision != load_head(write_head(tmp_path / "other", weight=[1, 3])).revision
    assert head.revision != load_head(write_head(tmp_path / "other", kind="logistic")).revision


def test_a_missing_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"fast\.head .*nowhere is not a score head"):
        load_head(str(tmp_path / "nowhere"))


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'forest'; known are ridge, logistic"):
        load_head(write_head(tmp_path / "head", kind="forest"))


def test_a_head_of_no_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="values that are no numbers"):
        load_head(write_head(tmp_path / "head", weight=[1, math.nan]))


def test_a_head_of_another_model_is_refused(tmp_path: Path) -> None:
    head = load_head(write_head(tmp_path / "head", weight=[1, 2, 3]))
    with pytest.raises(ModelError, match=r"embeddings of 3 dimensions, but fast\.model gives 2"):
        head(features([1, 2]))
