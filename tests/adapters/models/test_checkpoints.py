"""Finding checkpoints: what is accepted, and what refusals say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from tasks.adapters.models.checkpoints import FILES_READ, resolve_checkpoint
from tasks.core.errors import ModelError
from tests.waiting import patience

COMMIT = "c0ffee" * 6 + "c0ff"
WEIGHTS, OTHER_WEIGHTS = (save({"w": np.full(9, value, np.float32)}) for value in (1, 2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(WEIGHTS)
    return model


def test_a_local_folder_is_named_by_its_contents(folder: Path, tmp_path: Path) -> None:
    found = resolve_checkpoint(str(folder))
    assert (found.path, found.model) == (folder.resolve(), str(folder))
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert resolve_checkpoint(str(copy)).revision == found.revision
    assert found.revision.startswith("sha256:")
    assert len(found.revision) == len("sha256:") + 12


@pytest.mark.parametrize(
    ("file", "changes"),
    [("config.json", True), ("model.safetensors", True), ("extra.json", True), ("notes.txt", False)],
)
def test_the_revision_follows_what_is_read(folder: Path, file: str, changes: bool) -> None:
    before = resolve_checkpoint(str(folder)).revision
    (folder / file).write_bytes(OTHER_WEIGHTS if file.endswith("safetensors") else b"other")
    assert (resolve_checkpoint(str(folder)).revision != before) is changes


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(ModelError, match="no folder '/no/such/model'") as caught:
        resolve_checkpoint("/no/such/model")
    assert caught.value.reason == "model_unavailable"


def test_a_folder_without_config_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        resolve_checkpoint(str(folder))


def test_pickled_weights_are_refused_with_the_reason(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only pytorch_model\.bin.*must be safetensors") as caught:
        resolve_checkpoint(str(folder))
    assert caught.value.reason == "model_invalid"


def sharded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def test_a_missing_shard_is_named_before_anything_is_loaded(folder: Path) -> None:
    sharded(folder)
    with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors is missing") as caught:
        resolve_checkpoint(str(folder))
    assert caught.value.reason == "model_invalid"
    (folder / "model-00002-of-00002.safetensors").write_bytes(OTHER_WEIGHTS)
    resolve_checkpoint(str(folder))


def test_an_index_counts_only_where_transformers_reads_it(folder: Path) -> None:
    sharded(folder)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    resolve_checkpoint(str(folder))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (WEIGHTS[:-1], "cut short"),
        (b"", "cut short"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    ],
    ids=["cut short", "empty", "a pointer"],
)
def test_weights_that_are_not_whole_are_refused_by_name(folder: Path, content: bytes, said: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=rf"model\.safetensors is .*{said}"):
        resolve_checkpoint(str(folder))


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": 1}'])
def test_a_broken_index_is_refused_by_name(folder: Path, index: str) -> None:
    sharded(folder)
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelError, match=r"index\.json is broken"):
        resolve_checkpoint(str(folder))


def test_a_folder_wins_over_a_hub_id_of_the_same_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent.parent)
    name = f"{folder.parent.name}/{folder.name}"
    assert resolve_checkpoint(name).path == folder.resolve()


def error_with_hub(endpoint: str, home: Path) -> str:
    """Reason and message of the error for a checkpoint of this hub."""
    # A process of its own: the hub library reads its surroundings when it is imported.
    code = (
        "from tasks.adapters.models.checkpoints import resolve_checkpoint\n"
        "from tasks.core.errors import ModelError\n"
        "try:\n    resolve_checkpoint('DAMO-NLP-SG/VideoLLaMA3-2B')\n"
        "except ModelError as error:\n    print(error.reason, error)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=patience(120),
        check=True,
    ).stdout


def test_a_hub_out_of_reach_is_said_soon_and_clearly(tmp_path: Path) -> None:
    answer = error_with_hub("http://127.0.0.1:9", tmp_path)
    assert answer.startswith("model_unavailable The hub cannot be reached for 'DAMO-NLP-SG/VideoLLaMA3-2B'")


def test_a_hub_checkpoint_is_named_by_its_commit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = folder.rename(folder.parent / COMMIT)
    asked: dict[str, object] = {}

    def download(model: str, **options: object) -> str:
        asked.update(options, model=model)
        return str(commit)

    monkeypatch.setattr("tasks.adapters.models.hub.snapshot_download", download)
    found = resolve_checkpoint("owner/name", "v1")
    assert (found.path, found.revision) == (commit, commit.name)
    assert (asked["model"], asked["revision"], asked["allow_patterns"]) == ("owner/name", "v1", FILES_READ)


@pytest.mark.parametrize("suffix", [".bin", ".py", ".pt", ".pkl"])
def test_pickles_and_code_are_never_downloaded(suffix: str) -> None:
    assert not any(Path(f"model{suffix}").match(pattern) for pattern in FILES_READ)


def test_a_prefix_is_fetched_from_the_store_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    class Store:
        def __init__(self, uri: str) -> None:
            self.uri = uri

        def download_folder(self, target: Path) -> None:
            fetched.append(self.uri)
            shutil.copytree(folder, target, dirs_exist_ok=True)

    storage = types.ModuleType("tasks.adapters.storage")
    monkeypatch.setattr(storage, "open_store", Store, raising=False)
    monkeypatch.setitem(sys.modules, "tasks.adapters.storage", storage)
    found = [resolve_checkpoint("s3://models/videollama3") for _ in range(2)]
    assert fetched == ["s3://models/videollama3"]
    assert found[0] == found[1]
    assert found[0].revision == resolve_checkpoint(str(folder)).revision
