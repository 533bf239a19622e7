"""Night by night: which segments are marked as copies, which are originals, and what becomes of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks import compare, publish
from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.storage import Store
from tasks.core.errors import StorageError
from tasks.core.tables import duplicates
from tasks.run.run import Run
from tests.comparisons import counted
from tests.library import read_table
from tests.nights import Nights, Shows

pytestmark = [pytest.mark.usefixtures("prefect", "without_a_run")]


@pytest.fixture
def nights(demo_models: Path, tmp_path: Path) -> Iterator[Nights]:
    return Nights(tmp_path, resolve_checkpoint(str(demo_models / "videomae")))


OWN: list[str | None] = [None, None]
OTHER: dict[str, Any] = {"deep_weight": "0.5", "fast_weight": "0.5"}
"""All is ranked anew by these weights."""


def copy_of(name: str) -> list[str | None]:
    return [name, name]


def test_what_was_known_first_is_the_original_and_of_one_night_the_first_name(nights: Nights) -> None:
    assert nights.run({"m": 1, "n": 1, "other": 2}) == {"m": OWN, "n": copy_of("m"), "other": OWN}
    shows = {"m": 1, "n": 1, "other": 2, "a": 1, "b": 2}
    expected = {"m": OWN, "n": copy_of("m"), "other": OWN, "a": copy_of("m"), "b": copy_of("other")}
    assert nights.run(shows) == expected
    assert nights.opened == ["a", "b"]
    assert nights.run(shows) == expected  # nothing new
    assert nights.opened == []
    similarity = {row["duplicate_similarity"] for row in nights.rows if row["duplicate_of"]}
    assert min(similarity) > 0.999
    # Other weights: all is ranked anew from what is stored, and what was written first still comes first.
    assert nights.run(shows, deep_weight="0.5", fast_weight="0.5") == expected
    assert nights.opened == []


def test_without_its_original_a_copy_is_one_and_nothing_is_opened_for_it(nights: Nights) -> None:
    nights.run({"m": 1, "n": 1, "o": 1})
    assert nights.run({"n": 1, "o": 1}) == {"n": OWN, "o": copy_of("n")}
    assert nights.opened == []
    # It is another video now, and back under another name.
    assert nights.run({"n": 2, "o": 1, "p": 2}) == {"n": OWN, "o": OWN, "p": copy_of("n")}
    assert nights.run({"n": 2, "o": 1, "p": 2, "a": 1}) == {
        "n": OWN,
        "o": OWN,
        "p": copy_of("n"),
        "a": copy_of("o"),
    }


def test_a_file_under_two_names_is_one_of_which_no_fingerprint_need_be_left(
    nights: Nights, caplog: pytest.LogCaptureFixture
) -> None:
    nights.run({"m": 1}, etag="same")
    for path in nights.folder.glob("out/fingerprints/*/*"):
        path.unlink()
    with caplog.at_level(logging.WARNING):
        assert nights.run({"a": 1, "m": 1}, etag="same") == {"a": copy_of("m"), "m": OWN}
    assert {row["duplicate_similarity"] for row in nights.rows} == {None, 1.0}
    assert nights.run({"m": 1}, etag="same") == {"m": OWN}
    assert nights.run({"moved": 1}, etag="same") == {"moved": OWN}  # the old name is gone


def test_dropped_copies_leave_the_best_of_their_video_and_come_back_without_the_original(
    nights: Nights,
) -> None:
    assert nights.run({"m": 1, "n": 1}, duplicates="drop") == {"m": OWN, "n": ["m"]}
    (path,) = nights.folder.glob("out/windows/*/*.parquet")
    windows = read_table(nights.folder / "out", "windows", path.stem).to_pylist()
    dropped = [row["video_uri"] for row in windows if row["reason"] == "duplicate"]
    assert dropped == ["s3://b/n"]
    assert nights.run({"m": 1, "n": 1}, duplicates="drop") == {"m": OWN, "n": ["m"]}
    assert nights.run({"n": 1}, duplicates="drop") == {"n": OWN}
    assert nights.opened == []


def test_a_dropped_segment_that_was_not_the_best_comes_back_too(nights: Nights, tmp_path: Path) -> None:
    """It is in no ranking: that it is a copy is known by its fingerprint."""
    some: dict[str, Shows] = {f"n{number}": (1, 1, number) for number in range(2, 22)}
    found = nights.run({"m": 1, **some})
    name = next(name for name in some if found[name] == [None, "m"])
    (tmp_path / "drop").mkdir()
    nights, n = Nights(tmp_path / "drop", nights.fast), {name: some[name]}
    assert nights.run({"m": 1, **n}, duplicates="drop") == {"m": OWN, name: [None]}
    assert nights.run({"m": 1, **n}, duplicates="drop") == {"m": OWN, name: [None]}
    assert nights.run(n, duplicates="drop") == {name: OWN}
    assert nights.opened == []
    nights.run({"o": 1, **n}, duplicates="drop")
    for path in nights.folder.glob("out/fingerprints/*/*"):
        path.unlink()
    nights.run({"o": 1}, duplicates="drop")  # what was dropped is not known then, which fails nothing


def test_where_all_is_ranked_anew_only_what_was_never_compared_is(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with each other: what earlier runs have found to be originals, by this bar or a lower one."""
    monkeypatch.setattr(duplicates, "NEW_AT_ONCE", 1)
    monkeypatch.setattr(publish, "ROW_GROUP_ROWS", 1)
    compared = counted(monkeypatch)

    def pairs(shows: Mapping[str, Shows], expected: object, **ranking: Any) -> int:
        compared.clear()
        assert nights.run(shows, **ranking) == expected
        assert nights.opened == []
        return sum(compared)

    nights.run({"a": 1, "b": 2})
    nights.run({"a": 1, "b": 2, "c": 3, "d": 1})
    shows = {"a": 1, "b": 2, "c": 3, "d": 1}
    marked = {"a": OWN, "b": OWN, "c": OWN, "d": copy_of("a")}
    copies_with_all = 6 + 6  # both segments of d with those of a, b and c
    assert pairs(shows, marked, **OTHER) == copies_with_all
    assert pairs(shows, marked, duplicate_from="0.9991") == copies_with_all
    every = 1 + 2 + 3 + 4 + 5 + copies_with_all
    assert pairs(shows, marked, duplicate_from="0.999") == every
    # What was not listed when the other came has never been compared with it.
    nights.run({"b": 2, "c": 3})
    nights.run({"b": 2, "c": 3, "e": 1})
    back = {"a": 1, "b": 2, "c": 3, "e": 1}
    assert nights.run(back, **OTHER) == {"a": OWN, "b": OWN, "c": OWN, "e": copy_of("a")}


def test_what_is_named_and_not_there_is_compared_when_it_is_back(nights: Nights) -> None:
    """Its row stays in the library meanwhile, as one that is listed and ranked."""
    nights.run({"a": 1, "b": 2})
    nights.run({"b": 2, "e": 1}, refused=["a"])
    # Nor is it the original of another as long as it is in no ranking.
    assert nights.run({"b": 2, "e": 1, "f": 1}, refused=["a"])["f"] == copy_of("e")
    found = nights.run({"a": 1, "b": 2, "e": 1}, **OTHER)
    assert found == {"a": OWN, "b": OWN, "e": copy_of("a")}


def test_what_could_not_be_read_is_compared_when_all_is_ranked_anew(nights: Nights) -> None:
    nights.run({"a": 1, "b": 2})
    (path,) = nights.folder.glob("out/fingerprints/*/*")
    away = path.rename(nights.folder / path.name)
    assert nights.run({"a": 1, "b": 2, "e": 1}) == {"a": OWN, "b": OWN, "e": OWN}
    away.rename(path)
    shows = {"a": 1, "b": 2, "c": 3, "e": 1}
    assert nights.run(shows)["e"] == OWN  # what it can be compared with now is c alone
    assert nights.run(shows, **OTHER) == {"a": OWN, "b": OWN, "c": OWN, "e": copy_of("a")}


def test_where_nobody_looks_nothing_is_marked_and_later_all_is_compared(nights: Nights) -> None:
    nights.run({"a": 1, "b": 2})
    shows = {"a": 1, "b": 2, "e": 1}
    assert nights.run(shows, duplicates="keep") == {"a": OWN, "b": OWN, "e": OWN}
    marked = {"a": OWN, "b": OWN, "e": copy_of("a")}
    assert nights.run(shows) == marked
    assert nights.run(shows, duplicates="keep") == {"a": OWN, "b": OWN, "e": OWN}
    assert nights.run({**shows, "f": 2}) == {**marked, "f": copy_of("b")}
    assert nights.opened == ["f"]


def test_a_bar_decides(nights: Nights) -> None:
    assert nights.run({"m": 1, "n": 1}, duplicate_from="1") == {"m": OWN, "n": OWN}
    assert nights.run({"m": 1, "n": 1}, duplicate_from="0.9999") == {"m": OWN, "n": copy_of("m")}


def test_an_output_out_of_reach_is_waited_for(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    nights.run({"m": 1})
    names = Store.names

    def unavailable(self: Store, folder: str = "") -> list[str]:
        if folder == "fingerprints":
            raise StorageError("The network is down.", reason="unavailable", retryable=True)
        return names(self, folder)

    monkeypatch.setattr(Store, "names", unavailable)
    with pytest.raises(StorageError, match="network"):
        nights.run({"m": 1, "n": 1})


def test_a_long_comparison_says_how_far_it_is_and_can_be_stopped(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "NEW_AT_ONCE", 1)
    monkeypatch.setattr(compare, "LOGGED_EACH", 2)
    asked: list[None] = []
    said: list[str] = []
    monkeypatch.setattr(Run, "raise_if_stopped", lambda _: asked.append(None))
    monkeypatch.setattr(compare, "log_event", lambda _run_id, _stage, text: said.append(text))
    nights.run({"a": 1, "b": 2})
    assert "2 of 4 segments are compared with those before them" in said
    assert len(asked) >= 4
