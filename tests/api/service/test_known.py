"""When the newest run is known."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hookline.api.service.known import Known
from tasks.adapters.storage import Store
from tasks.core.errors import StorageError
from tests.waiting import wait_for


def test_a_service_knows_when_it_has_looked_for_the_newest_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answered = threading.Event(), threading.Event()

    def read_bytes(*_: Any) -> bytes:
        asked.set()
        assert answered.wait(60)
        raise StorageError("The network is down.")  # jobs are run all the same

    monkeypatch.setattr(Store, "read_bytes", read_bytes)
    with closing(Known(str(tmp_path), tmp_path / "known")) as known:
        known.start()
        assert asked.wait(60)
        assert not known.has_looked
        answered.set()
        wait_for(lambda: known.has_looked)
