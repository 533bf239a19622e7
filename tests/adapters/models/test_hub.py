"""Every way in which the hub can fail is an error of the model, and the cache is used where there is one."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from tasks.adapters.models import hub as hub_module
from tasks.adapters.models.checkpoints import FILES_READ, resolve_checkpoint
from tasks.adapters.models.hub import download
from tasks.core.errors import ModelError
from tests.adapters.models.fake_hub import MODEL, NEW, OLD, Hub
from tests.waiting import patience

pytest_plugins = ["tests.adapters.models.fake_hub"]


def fail(hub: Hub, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on."""
    hub.mode = mode
    if mode.startswith("silent"):
        monkeypatch.setattr(hub_module, "HUB_TIMEOUT_S", 0.3)


SAID = {
    "portal": "does not talk like a hub.*HF_ENDPOINT",
    "503": r"answers with an error for 'owner/name' \(.*503.*try again later",
    "500": "answers with an error",
    "429": "answers with an error",
    "401": "answers with an error|has no",
    "silent": "cannot be reached for 'owner/name'.*connect this machine",
    "silent later": "cannot be reached for 'owner/name'",
    "cut": r"download of 'owner/name' broke off .*received 1 bytes, expected 2000.*Run it again",
    "GatedRepo": "only to those it knows .GatedRepoError.*hf auth login",
    "RepoNotFound": "has no 'owner/name' for you .RepositoryNotFoundError",
    "RevisionNotFound": "has no 'owner/name' for you .RevisionNotFoundError",
    "disabled": "has switched 'owner/name' off",
}


@pytest.mark.parametrize("mode", SAID)
def test_each_failure_is_an_error_of_the_model_with_a_fix(
    hub: Hub, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(hub, mode, monkeypatch)
    with pytest.raises(ModelError, match=SAID[mode]) as caught:
        download(MODEL, "", FILES_READ)
    assert caught.value.reason == "model_unavailable"
    assert "\n" not in str(caught.value)


def test_a_name_that_no_hub_has_is_refused_as_one(hub: Hub) -> None:
    with pytest.raises(ModelError, match=r"'owner/na--me' cannot be a name on the hub.*owner/name"):
        resolve_checkpoint("owner/na--me")


@pytest.mark.parametrize("mode", ["portal", "503", "silent", "silent later", "cut"])
def test_what_the_cache_has_is_used_when_the_hub_fails(
    hub: Hub, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = resolve_checkpoint(MODEL)
    assert first.revision == OLD
    hub.commit = NEW
    fail(hub, mode, monkeypatch)
    assert resolve_checkpoint(MODEL) == first
    assert resolve_checkpoint(MODEL) == first  # a download that broke off spoilt nothing


def test_what_the_cache_has_is_not_used_where_the_hub_has_no_such_revision(hub: Hub) -> None:
    resolve_checkpoint(MODEL)
    hub.mode = "RevisionNotFound"
    with pytest.raises(ModelError, match="RevisionNotFoundError"):
        resolve_checkpoint(MODEL)


def test_the_silence_of_the_hub_is_waited_for_no_longer_than_its_limit(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_checkpoint(MODEL)
    fail(hub, "silent", monkeypatch)
    began = time.monotonic()
    resolve_checkpoint(MODEL)
    assert 0.2 < time.monotonic() - began < 30  # the hub is silent for 60


READ_ONLY = """
import ctypes, sys
ctypes.CDLL(None).prctl(24, 1)  # without CAP_DAC_OVERRIDE permissions count for root, too
import os
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
RESOLVE = """
import logging
logging.basicConfig()
from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.core.errors import ModelError
try:
    print(resolve_checkpoint("owner/name").revision)
except ModelError as error:
    print(error.reason, error)
"""


@pytest.mark.parametrize("cached", [True, False])
def test_a_cache_that_cannot_be_written_is_used_or_named(hub: Hub, tmp_path: Path, cached: bool) -> None:
    cache = tmp_path / "hub"
    cache.mkdir()
    if cached:
        resolve_checkpoint(MODEL)
        hub.commit = NEW
    folders = [cache, *(path for path in cache.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    found = subprocess.run(
        [sys.executable, "-c", READ_ONLY, RESOLVE],
        env={"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=patience(120),
    )
    for folder in folders:
        folder.chmod(0o700)
    if cached:
        assert found.stdout.strip() == OLD, found.stderr
        assert "cannot be kept in the local hub cache" in found.stderr
        assert f"Commit {OLD} is used" in found.stderr
    else:
        assert found.stdout.startswith("model_unavailable 'owner/name' cannot be kept in the local hub cache")
        assert str(cache) in found.stdout


@pytest.mark.parametrize(
    "error",
    [httpx2.ReadError("x"), httpx2.InvalidURL("x"), OSError(28, "No space left on device"), KeyError("sha"),
     RuntimeError("from xet"), UnicodeDecodeError("utf-8", b"", 0, 0, "x"), httpx2.DecodingError("x")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_the_library_raises_is_described(
    error: Exception, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(model: str, **options: object) -> str:
        if options.get("local_files_only"):
            raise OSError
        raise error

    monkeypatch.setattr(hub_module, "snapshot_download", raising)
    with pytest.raises(ModelError) as caught:
        download(MODEL, "", FILES_READ)
    assert caught.value.reason == "model_unavailable"
