"""Idempotency keys outlive the service, belong to their caller, and are kept for a day."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from hookline.api.access.keys import OwnKeys
from hookline.api.contract.problems import Problem


def test_a_key_finds_its_job_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "keys.sqlite"
    with closing(OwnKeys(file)) as keys:
        run_key, job = keys.claim("k", caller="a", body=b"1")
        assert job is None
        assert keys.claim("k", caller="a", body=b"1") == (run_key, None)  # died before there was a job
        keys.keep(run_key, "job-1")
    with closing(OwnKeys(file)) as keys:
        assert keys.claim("k", caller="a", body=b"1") == (run_key, "job-1")


def test_a_key_belongs_to_its_caller_and_its_request(tmp_path: Path) -> None:
    with closing(OwnKeys(tmp_path / "keys.sqlite")) as keys:
        first, _ = keys.claim("k", caller="a", body=b"1")
        assert keys.claim("k", caller="b", body=b"2")[0] != first
        with pytest.raises(Problem, match="another request"):
            keys.claim("k", caller="a", body=b"2")


def test_a_key_is_forgotten_in_time(tmp_path: Path) -> None:
    with closing(OwnKeys(tmp_path / "keys.sqlite", kept_s=0)) as keys:
        first, _ = keys.claim("k", caller="a", body=b"1")
        assert keys.claim("k", caller="a", body=b"2")[0] != first
