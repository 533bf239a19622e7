"""The weights of Silero's voice activity detection, as they lie in its package, which is not imported."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

WEIGHTS = Path("data", "silero_vad_16k_sequence.onnx")


def vad_weights() -> Path:
    """The file of the weights. Raises as `packaged_file`."""
    return packaged_file("silero_vad", WEIGHTS)


def packaged_file(name: str, file: Path) -> Path:
    """A file of a package, which is not imported.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    package = find_spec(name)
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)
    return Path(package.submodule_search_locations[0]) / file


@cache
def vad_identity() -> str:
    """What tells the weights apart: a hash over them; `none` where there are none."""
    try:
        return hashlib.sha256(vad_weights().read_bytes()).hexdigest()[:12]
    except (ModuleNotFoundError, OSError):
        return "none"
