"""Names and texts as strangers write them, and how names compare with those that are stored."""

from __future__ import annotations

import unicodedata


def composed(name: str) -> str:
    """A name in the form (NFC) in which names are compared.

    One character can be stored as one code point or as several: a keyboard and a Mac's disk differ in it.

    >>> composed("Cafe\N{COMBINING ACUTE ACCENT}") == "Caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    True
    """
    return unicodedata.normalize("NFC", name)


def forms(name: str) -> list[str]:
    """The forms in which a name that was typed may be stored, each once: as it is, composed, decomposed."""
    return list(dict.fromkeys([name, composed(name), unicodedata.normalize("NFD", name)]))


def caseless(name: str) -> str:
    """A name in the form in which names are compared where letter case does not matter."""
    return composed(composed(name).casefold())


def tidy(text: str) -> str:
    """Text without control characters, which no table or page can hold."""
    return "".join(" " if unicodedata.category(char) == "Cc" else char for char in text).strip()


def legible(text: str) -> str:
    """Text that can be written anywhere: bytes in a file's name that are not UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
