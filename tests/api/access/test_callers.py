"""Keys of callers, and how often they may ask."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hookline.api.access.callers import VARIABLE, Access, read_keys
from hookline.api.contract.problems import Problem
from tasks.core.errors import SettingsError

HASHES = {
    name: hashlib.sha256(key.encode()).hexdigest() for name, key in {"shop": "k-1", "tv": "k-2"}.items()
}


@pytest.mark.parametrize(("sent", "name"), [("Bearer k-1", "shop"), ("bearer k-2", "tv")])
def test_a_key_tells_its_owner(sent: str, name: str) -> None:
    assert Access(HASHES).caller(sent, address="10.0.0.1") == name


@pytest.mark.parametrize(
    "sent", [None, "", "k-1", "Bearer", "Bearer k-3", "Basic k-1", f"Bearer {HASHES['shop']}"]
)
def test_without_a_key_nobody_is_let_in(sent: str | None) -> None:
    with pytest.raises(Problem) as refused:
        Access(HASHES).caller(sent, address="10.0.0.1")
    assert (refused.value.status, refused.value.headers) == (401, {"WWW-Authenticate": "Bearer"})


def test_a_service_without_keys_knows_callers_by_their_address() -> None:
    assert Access({}).caller("Bearer anything", address="10.0.0.1") == "10.0.0.1"


def test_who_asks_too_often_is_told_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("hookline.api.access.callers.time.monotonic", lambda: now)
    access = Access(HASHES, per_minute=2)
    for _ in range(2):
        access.caller("Bearer k-1", address="")
    with pytest.raises(Problem) as refused:
        access.caller("Bearer k-1", address="")
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "30")
    access.caller("Bearer k-2", address="")
    now += 30
    access.caller("Bearer k-1", address="")


@pytest.mark.parametrize(
    ("per_minute", "said"), [(1, "More than 1 request a"), (2, "More than 2 requests a")]
)
def test_how_often_one_may_ask_is_said(per_minute: int, said: str) -> None:
    access = Access({}, per_minute=per_minute)
    for _ in range(per_minute):
        access.caller(None, address="10.0.0.1")
    with pytest.raises(Problem, match=said):
        access.caller(None, address="10.0.0.1")


def test_keys_come_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "# who may ask\n" + "".join(f"{name} {digest}\n" for name, digest in HASHES.items())
    (tmp_path / "keys").write_text(text)
    assert read_keys(str(tmp_path / "keys")) == HASHES
    assert read_keys("") == {}
    monkeypatch.setenv(VARIABLE, text)
    assert read_keys("") == HASHES


@pytest.mark.parametrize("text", ["", "shop k-1", "shop"])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(SettingsError, match="sha256sum"):
        read_keys(str(tmp_path / "keys"))
    with pytest.raises(SettingsError, match="cannot be read"):
        read_keys(str(tmp_path / "none"))
