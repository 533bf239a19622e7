"""A score head is read from a folder and checked before it scores anything."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tasks.adapters.models.head import Head, find_head, keep_head, kept_heads, load_head, promote
from tasks.adapters.storage import open_store
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
    with pytest.raises(ModelError, match="'forest'; known are ridge, logistic, ridge-centred"):
        load_head(write_head(tmp_path / "head", kind="forest"))


def test_a_head_of_no_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="values that are no numbers"):
        load_head(write_head(tmp_path / "head", weight=[1, math.nan]))


def test_a_head_of_another_model_is_refused(tmp_path: Path) -> None:
    head = load_head(write_head(tmp_path / "head", weight=[1, 2, 3]))
    with pytest.raises(ModelError, match=r"embeddings of 3 dimensions, but fast\.model gives 2"):
        head(features([1, 2]))


def test_a_centred_head_scores_windows_within_their_video(tmp_path: Path) -> None:
    """What all windows of a video share changes nothing; the score is the percentile in the video."""
    head = load_head(write_head(tmp_path / "head", kind="ridge-centred"))
    rows = [[0.25, 0.0], [0.5, 0.0], [0.0, 0.5], [0.0, 0.0]]
    assert head(features(*rows)) == [37, 62, 87, 12]
    assert head(features(*([a + 500, b - 70] for a, b in rows))) == [37, 62, 87, 12]
    assert head.fast_kind == "head_percentile"


def test_the_latest_head_is_the_one_that_was_promoted_last(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert find_head("", str(tmp_path)) is None
    assert find_head("latest", str(tmp_path)) is None
    for number in (1, 2):
        name = f"2026112{number}T000000Z-abcdef"
        head = Head("", "ridge-centred", np.array([number, 0], np.float32), 0.0)
        keep_head(store, name, head, {"rows": 7}, "# A card\n")
        promote(store, name, head.revision, because="it is better")
    found = find_head("latest", str(tmp_path))
    assert found
    assert (found.uri.rpartition("/")[2], found.weight[0]) == ("20261122T000000Z-abcdef", 2)
    assert kept_heads(store) == ["20261121T000000Z-abcdef", "20261122T000000Z-abcdef"]
    assert store.listing("**", output=store.uri).left_out.own == len(store.names())


@pytest.mark.parametrize("content", ["{}", "[", '{"head": "../../elsewhere"}', "null"])
def test_a_pointer_that_names_no_head_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads" / "latest.json").write_text(content)
    with pytest.raises(ModelError, match="hookline heads OUTPUT --promote ID"):
        find_head("latest", str(tmp_path))
