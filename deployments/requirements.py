"""Prints what `pyproject.toml` asks for, so that an image can install it before it has the code.

python requirements.py [EXTRA ...]
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any


def requirements(project: dict[str, Any], extras: list[str]) -> list[str]:
    """The dependencies of a project and of some of its extras."""
    named: dict[str, list[str]] = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in extras for line in named[extra])]


if __name__ == "__main__":
    found = tomllib.loads(Path("pyproject.toml").read_text())
    print("\n".join(requirements(found["project"], sys.argv[1:])))
