"""Reading back what runs have published: a run, or a clear error, whatever lies there."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.adapters.storage import open_store
from tasks.adapters.storage.published import newest_manifest
from tasks.core.errors import StorageError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CONTENT = st.binary() | JSON.map(lambda value: json.dumps(value).encode())
POINTERS = CONTENT | JSON.map(lambda value: json.dumps({"run_id": "a", "manifest": value}).encode())


MANIFEST = b'{"run_id": "a-1", "run_date": "2026-11-24", "state": "Completed", "written by others": 1}'


def publish(output: Path, latest: bytes, manifest: bytes = b"{}") -> None:
    (output / "runs").mkdir(exist_ok=True)
    (output / "latest.json").write_bytes(latest)
    (output / "runs" / "a-1.json").write_bytes(manifest)


def test_the_manifest_that_latest_names_is_read(tmp_path: Path) -> None:
    publish(tmp_path, b'{"run_id": "a-1", "manifest": "runs/a-1.json"}', MANIFEST)
    assert newest_manifest(open_store(str(tmp_path))).run_id == "a-1"


@pytest.mark.parametrize(
    "named", ["../secret.json", "/etc/hostname", "runs/../../secret.json", "secret.json"]
)
def test_a_pointer_leads_to_no_other_file(tmp_path: Path, named: str) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (tmp_path / "secret.json").write_text('{"run_id": "secret"}')
    (output / "secret.json").write_text('{"run_id": "secret"}')
    publish(output, json.dumps({"run_id": "a", "manifest": named}).encode())
    with pytest.raises(StorageError, match="rank again to replace it"):
        newest_manifest(open_store(str(output)))


@settings(deadline=None)
@given(latest=POINTERS, manifest=CONTENT)
def test_whatever_lies_there_gives_a_manifest_or_a_clear_error(latest: bytes, manifest: bytes) -> None:
    with TemporaryDirectory() as output:
        publish(Path(output), latest, manifest)
        with pytest.raises(StorageError) as caught:
            newest_manifest(open_store(output))
        assert caught.value.reason in {"invalid", "not_found"}
        publish(Path(output), b'{"run_id": "a-1", "manifest": "runs/a-1.json"}', manifest)
        with suppress(StorageError):
            assert newest_manifest(open_store(output)).run_id
