"""A process holds one model of a kind, or remembers why there is none."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.adapters.models.held import Held
from tasks.core.errors import ModelError


class Model:
    def __init__(self, name: str) -> None:
        self.name = name


def test_a_model_is_loaded_once_and_shared_by_threads() -> None:
    loaded: list[str] = []

    def load(name: str) -> Model:
        loaded.append(name)
        return Model(name)

    held = Held(load)
    assert held.model is None
    with ThreadPoolExecutor(4) as pool:
        models = set(pool.map(held.get, ["base"] * 8))
    assert models == {held.model}
    assert loaded == ["base"]


def test_a_model_is_gone_before_the_next_one_is_loaded() -> None:
    alive: list[weakref.ref[Model]] = []

    def load(name: str) -> Model:
        assert [each() for each in alive] == [None] * len(alive), "two models at once"
        model = Model(name)
        alive.append(weakref.ref(model))
        return model

    held = Held(load)
    assert [held.get(name).name for name in ("base", "small", "base")] == ["base", "small", "base"]


@pytest.mark.parametrize(("reason", "tries"), [("model_invalid", 1), ("out_of_memory", 3)])
def test_a_failure_is_remembered_unless_it_may_pass(reason: str, tries: int) -> None:
    tried: list[str] = []

    def load(name: str) -> Model:
        tried.append(name)
        raise ModelError("There is none.", reason=reason)

    held = Held(load)
    for _ in range(3):
        with pytest.raises(ModelError, match="There is none") as caught:
            held.get("base")
        assert caught.value.reason == reason
    assert len(tried) == tries
    assert held.model is None


def test_another_error_is_not_taken_for_an_answer() -> None:
    errors = iter([ZeroDivisionError("a bug")])

    def load(name: str) -> Model:
        for error in errors:
            raise error
        return Model(name)

    held = Held(load)
    with pytest.raises(ZeroDivisionError):
        held.get("base")
    assert held.get("base").name == "base"
