"""What is found out about models and GPUs before a run needs them; no weights are downloaded or loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tasks.adapters.models import hub as hub_module
from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.checkup import check_deep_model, check_fast_model, check_whisper
from tasks.core.errors import ModelError
from tasks.core.settings import Deep, Fast, Speech
from tests.adapters.models.fake_hub import MODEL, OLD, Hub
from tests.s3 import Bucket

pytest_plugins = ["tests.adapters.models.fake_hub", "tests.s3"]


def upload(folder: Path, hub: Hub) -> None:
    hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_checkpoint_on_the_hub_is_described_but_not_downloaded(
    hub: Hub, demo_models: Path, tmp_path: Path
) -> None:
    upload(demo_models / "videollama3", hub)
    found = check_deep_model(Deep(model=MODEL))
    assert found.status == "ok"
    assert f"{MODEL} is on the hub" in found.text
    assert f"free in {tmp_path / 'hub'}" in found.text
    fetched = {path.rpartition("/")[2] for path in hub.requests if "/resolve/" in path}
    assert "config.json" in fetched
    assert not [name for name in fetched if not name.endswith("config.json")]
    assert not (tmp_path / "hub").exists()


def test_what_the_cache_has_needs_no_hub(hub: Hub, demo_models: Path) -> None:
    upload(demo_models / "videomae", hub)
    resolve_checkpoint(MODEL)
    hub.mode = "500"
    found = check_fast_model(Fast(model=MODEL))
    assert (found.status, found.text) == ("ok", f"{MODEL} is whole in the local hub cache (commit {OLD})")


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("RepoNotFound", "has no 'owner/name' for you .*Check the name"),
        ("GatedRepo", "Ask for access"),
        ("503", "answers with an error"),
        ("portal", "HF_ENDPOINT"),
        ("silent", "cannot be reached"),
    ],
)
def test_a_hub_that_does_not_give_it_says_why(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, mode: str, says: str
) -> None:
    hub.mode = mode
    monkeypatch.setattr(hub_module, "HUB_TIMEOUT_S", 0.3 if mode == "silent" else 60)
    with pytest.raises(ModelError, match=says):
        check_fast_model(Fast(model=MODEL))


def test_there_must_be_room_for_the_download(
    hub: Hub, demo_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is a stub."""
    upload(demo_models / "videomae", hub)
    monkeypatch.setattr(hub_module, "cache_room", lambda: (Path("/cache"), 10))
    with pytest.raises(ModelError, match=r"takes .* but only 10 bytes are free in /cache.*HF_HOME"):
        check_fast_model(Fast(model=MODEL))


def test_weights_that_are_pickles_are_refused_before_a_download(hub: Hub) -> None:
    hub.files = {"config.json": b'{"model_type": "videomae"}', "pytorch_model.bin": b"x"}
    with pytest.raises(ModelError, match=r"no \*\.safetensors file, only pytorch_model\.bin"):
        check_fast_model(Fast(model=MODEL))


def test_a_checkpoint_in_a_bucket_is_described(bucket: Bucket, demo_models: Path) -> None:
    for path in (demo_models / "videollama3").iterdir():
        bucket.put(f"models/deep/{path.name}", path.read_bytes())
    assert check_deep_model(Deep(model=f"{bucket.uri}/models/deep")).status == "ok"
    bucket.delete("models/deep/tokenizer.json")
    with pytest.raises(ModelError, match="has no tokenizer"):
        check_deep_model(Deep(model=f"{bucket.uri}/models/deep"))
    with pytest.raises(ModelError, match=r"has no config\.json"):
        check_deep_model(Deep(model=f"{bucket.uri}/nowhere"))


def test_a_whisper_is_described_by_its_small_files(bucket: Bucket, demo_models: Path) -> None:
    for path in (demo_models / "whisper").iterdir():
        content = b"" if path.suffix == ".safetensors" else path.read_bytes()
        bucket.put(f"models/whisper/{path.name}", content)
    named = {"model": f"{bucket.uri}/models/whisper"}
    assert check_whisper(Speech(**named)).status == "ok"
    assert check_whisper(Speech(**named, language="pt")).status == "ok"
    with pytest.raises(
        ModelError, match=r"does not know the language 'yue'.*set speech\.transcribe to false"
    ):
        check_whisper(Speech(**named, language="yue"))
    assert "not asked for" in check_whisper(Speech(model="nowhere", transcribe=False)).text
    with pytest.raises(ModelError, match="not Whisper"):
        check_whisper(Speech(model=f"{demo_models}/videomae"))


def test_a_checkpoint_of_another_kind_is_refused(demo_models: Path) -> None:
    assert check_fast_model(Fast(model=f"{demo_models}/videomae")).status == "ok"
    with pytest.raises(ModelError, match="not VideoMAE"):
        check_fast_model(Fast(model=f"{demo_models}/videollama3"))
    with pytest.raises(ModelError, match="not VideoLLaMA3"):
        check_deep_model(Deep(model=f"{demo_models}/videomae"))
    with pytest.raises(ModelError, match="There is no folder 'nowhere'"):
        check_deep_model(Deep(model="nowhere"))
    assert check_deep_model(Deep(model="nowhere", enabled=False)).status == "ok"


def test_a_checkpoint_that_was_cut_short_is_refused(demo_models: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(demo_models / "videomae", tmp_path / "videomae")
    (copy / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="is not whole"):
        check_fast_model(Fast(model=str(copy)))


def test_a_head_must_fit_its_model(demo_models: Path, tmp_path: Path) -> None:
    (tmp_path / "head.json").write_text(json.dumps({"kind": "ridge"}))
    values = {"weight": np.zeros(3, np.float32), "bias": np.zeros(1, np.float32)}
    save_file(values, tmp_path / "head.safetensors")
    with pytest.raises(ModelError, match="3 dimensions"):
        check_fast_model(Fast(model=f"{demo_models}/videomae", head=str(tmp_path)))


def test_an_adapter_must_be_there(demo_models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no adapter_config\.json"):
        check_deep_model(Deep(model=f"{demo_models}/videollama3", adapter=str(tmp_path)))
