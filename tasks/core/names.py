"""Names as people type them, and how they compare with names as they are stored."""

from __future__ import annotations

import unicodedata


def composed(name: str) -> str:
    """A name in the form (NFC) in which names are compared.

    One character can be stored as one code point or as several: a keyboard and a Mac's disk differ in it.

    >>> composed("Cafe\N{COMBINING ACUTE ACCENT}") == "Caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    True
    """
    return unicodedata.normalize("NFC", name)


def caseless(name: str) -> str:
    """A name in the form in which names are compared where letter case does not matter."""
    return composed(composed(name).casefold())
