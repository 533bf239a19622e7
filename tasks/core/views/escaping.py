"""Text from file names, models and other machines, made safe for logs, Markdown and terminals."""

from __future__ import annotations

import re

from tasks.core.names import legible
from tasks.core.secrets import redacted

# A hyphen or an underscore inside a word means nothing to Markdown: names stay as people search for them.
_MARKUP = re.compile(
    r"[\\`*{}\[\]()<>#|~&!$^@]"
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
    r"|:(?=//)|(?<=www)\.|^[-+=]|(?<=\d)\.(?=\s)",
    re.IGNORECASE,
)
_LINKED = re.compile(r"(https?|s3)://", re.IGNORECASE)
_NOT_IN_A_LINK = re.compile(r"[^A-Za-z0-9/:._~%+=,@;*'$&-]")

UNKNOWN = "\N{EM DASH}"
"""Shown instead of a value that is not known."""


def one_line(text: str) -> str:
    r"""Text on one line, with everything unprintable escaped.

    >>> one_line("a\nb\x1b[31m.mp4")
    'a\\nb\\x1b[31m.mp4'
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in legible(text)
    )


def printable(text: object, *, width: int | None = None) -> str:
    """Text without invisible characters and those that change the direction of writing; cut to `width`.

    >>> printable("one\\ntwo \\u202etxt.exe"), printable("a long line", width=5)
    ('one two  txt.exe', 'a lo…')
    """
    line = str(text)
    if not line.isprintable():
        line = "".join(char if char.isprintable() else " " for char in line)
    return line if width is None or len(line) <= width else line[: width - 1] + "…"


def last_part(name: str, *, width: int) -> str:
    """The end of a name that is too long: it tells more than its beginning.

    >>> last_part("2026/11/cat.mp4", width=8)
    '…cat.mp4'
    """
    return name if len(name) <= width else "…" + name[1 - width :]


def quoted(text: str) -> str:
    r"""A value of a log line: one line in double quotes. Quotes in the value are escaped.

    >>> print(quoted('a" stage=fake\n'))
    "a\" stage=fake\n"
    """
    plain = one_line(redacted(text).replace("\\", "\\\\"))
    return '"' + plain.replace('"', '\\"') + '"'


def in_markdown(text: str | None, *, width: int = 500) -> str:
    r"""Text escaped so that Markdown shows it as it is: one line of at most `width` characters.

    >>> print(in_markdown("<b>*x*</b> my_clip-2.mp4"))
    \<b\>\*x\*\</b\> my_clip-2.mp4
    """
    if text is None:
        return UNKNOWN
    plain = printable(one_line(redacted(text)).strip(), width=width)
    return _MARKUP.sub(lambda found: "\\" + found[0], plain)


def link(text: str, uri: str | None) -> str:
    """Text as a Markdown link, if the URI can be followed from another machine; else as text.

    >>> link("a", "s3://bucket/a (1).mp4"), link("a", "file:///a.mp4"), link("a", None)
    ('[a](s3://bucket/a%20%281%29.mp4)', 'a', 'a')
    """
    shown = in_markdown(text)
    if not uri or not _LINKED.match(uri):
        return shown
    target = _NOT_IN_A_LINK.sub(_percent, legible(redacted(uri)))
    return f"[{shown}]({target})"


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())
