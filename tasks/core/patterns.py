"""Which names are videos: the glob of `select.pattern` as a regular expression."""

from __future__ import annotations

import re

from tasks.core.errors import SettingsError
from tasks.core.names import composed

_TOKENS = re.compile(r"(?<![^/{,])\*\*/|\*\*|.", re.DOTALL)
_MEANINGS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}


def pattern_regex(pattern: str) -> re.Pattern[str]:
    """A regular expression for `fullmatch` on `composed` names relative to the source, blind to letter case.

    `**/` is any folders or none, `**` anything, `*` any run and `?` any one character but `/`,
    `{a,b}` alternatives, which may nest. All else stands for itself, square brackets too: names
    such as `final [1080p].mp4` are more common than character classes.

    >>> bool(pattern_regex("**/*.{mp4,mov}").fullmatch("2026/11/Cat.MP4"))
    True

    Raises SettingsError where braces don't pair up.
    """
    depth = 0
    parts: list[str] = []
    for token in _TOKENS.findall(composed(pattern)):
        depth += (token == "{") - (token == "}")
        if depth < 0:
            break
        special = token in _MEANINGS and (token != "," or depth > 0)
        parts.append(_MEANINGS[token] if special else re.escape(token))
    if depth != 0:
        raise SettingsError(
            f"the pattern {pattern!r} has a brace without its partner: "
            "write alternatives as in '**/*.{mp4,mov}'."
        )
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)
