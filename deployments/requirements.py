"""Prints what `pyproject.toml` asks for, so that an image can install it before it has the code.

python requirements.py [EXTRA ...]
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(project: dict[str, object], extras: list[str]) -> list[str]:
    """The dependencies of a project and of some of its extras."""
    named = project["optional-dependencies"]
    wanted = [project["dependencies"], *(named[extra] for extra in extras)]  # type: ignore[index]
    return [line for lines in wanted for line in lines]  # type: ignore[attr-defined]


if __name__ == "__main__":
    found = tomllib.loads(Path("pyproject.toml").read_text())
    print("\n".join(requirements(found["project"], sys.argv[1:])))
