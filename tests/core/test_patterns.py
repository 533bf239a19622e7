"""Patterns choose names as people expect of a shell, and never mind letter case."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks.core.errors import SettingsError
from tasks.core.names import composed
from tasks.core.patterns import pattern_regex
from tasks.core.settings import Select

DEFAULT = Select().pattern
names = st.text(max_size=30)
plain = st.text(st.characters(exclude_characters="*?{}"), max_size=30)


def matches(pattern: str, name: str) -> bool:
    return pattern_regex(pattern).fullmatch(composed(name)) is not None


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (DEFAULT, "a.mp4"),
        (DEFAULT, "2026/11/a.webm"),
        (DEFAULT, "CAPS.MP4"),
        (DEFAULT, "two words é [1080p].MoV"),
        (DEFAULT, "new\nline.mkv"),
        (DEFAULT, "..//odd/../path.avi"),
        (DEFAULT, "-dash.mp4"),
        (DEFAULT, ".mp4"),
        ("*.mp4", "top.mp4"),
        ("2026-*/**/*.mp4", "2026-11/a.mp4"),
        ("2026-*/**/*.mp4", "2026-11/22/cam/a.mp4"),
        ("clip?.mp4", "clip7.mp4"),
        ("cam**.mp4", "cam/1/a.mp4"),
        ("{a,b{1,2}}/*.mp4", "b2/x.mp4"),
        ("{**/,old-}x.mp4", "deep/down/x.mp4"),
        ("a,b.mp4", "a,b.mp4"),
        ("[ab].mp4", "[ab].mp4"),
        ("100%+(1).mp4", "100%+(1).mp4"),
    ],
)
def test_pattern_takes(pattern: str, name: str) -> None:
    assert matches(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (DEFAULT, "a.txt"),
        (DEFAULT, "a.mp4.part"),
        (DEFAULT, "folder.mp4/notes.txt"),
        (DEFAULT, "amp4"),
        ("*.mp4", "folder/below.mp4"),
        ("2026/**/*.mp4", "2025/a.mp4"),
        ("2026/**/*.mp4", "old/2026/a.mp4"),
        ("clip?.mp4", "clip/.mp4"),
        ("clip?.mp4", "clip.mp4"),
        ("[ab].mp4", "a.mp4"),
        ("{a,b}.mp4", "a,b.mp4"),
    ],
)
def test_pattern_leaves(pattern: str, name: str) -> None:
    assert not matches(pattern, name)


@pytest.mark.parametrize("pattern", ["*.{mp4,mov", "*.mp4}", "}{", "{a,{b}", "a}b{c"])
def test_a_brace_without_partner_is_an_error_that_shows_the_fix(pattern: str) -> None:
    with pytest.raises(SettingsError, match=r"write alternatives as") as caught:
        pattern_regex(pattern)
    assert repr(pattern) in str(caught.value)


@given(plain)
def test_what_has_nothing_special_means_itself(name: str) -> None:
    assert matches(name, name)


@given(names)
def test_two_stars_take_everything(name: str) -> None:
    assert matches("**", name)


@given(names)
def test_one_star_takes_everything_but_folders(name: str) -> None:
    assert matches("*", name) == ("/" not in name)


@given(st.lists(plain.filter(lambda text: "," not in text), min_size=1, max_size=4), plain, names)
def test_braces_are_the_same_as_trying_each_alternative(choices: list[str], tail: str, name: str) -> None:
    # What comes after a brace must not melt into what is in it.
    assume(all(composed(choice) + composed(tail) == composed(choice + tail) for choice in choices))
    together = "{" + ",".join(choices) + "}" + tail
    assert matches(together, name) == any(matches(choice + tail, name) for choice in choices)
    assert all(matches(together, choice + tail) for choice in choices)
