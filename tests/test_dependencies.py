"""constraints.txt pins what is installed, all of it and nothing else: `make lock` was not forgotten."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests import ROOT

CUDA = ("cuda-", "nvidia-", "triton")
"""What torch pins itself, and a CPU wheel does without."""


def needed(name: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """What an installed package asks for in this Python on this machine."""
    for line in distribution(name).requires or []:
        wanted = Requirement(line)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield canonicalize_name(wanted.name), frozenset(wanted.extras)


def installed() -> dict[str, str]:
    """Every package that Hookline and its development need, with its version."""
    versions: dict[str, str] = {}
    waiting, seen = [("hookline", frozenset({"dev"}))], set()
    while waiting:
        package = waiting.pop()
        if package not in seen and not package[0].startswith(CUDA):
            seen.add(package)
            versions[package[0]] = Version(distribution(package[0]).version).public
            waiting += needed(*package)
    del versions["hookline"]
    return versions


def pinned() -> dict[str, str]:
    """The pins that apply to this Python on this machine."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pins = [Requirement(line) for line in lines if line]
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in pins
        if pin.marker is None or pin.marker.evaluate()
    }


def test_every_package_is_pinned_at_the_version_that_is_tested() -> None:
    assert pinned() == installed()


def test_no_pin_names_where_it_comes_from() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    assert "--" not in text


def test_what_proposes_newer_versions_understands_its_settings() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.renovate"]
    subprocess.run([*command, ROOT / "renovate.json"], check=True)
    settings = json.loads((ROOT / "renovate.json").read_text())
    assert settings["pip_requirements"]["managerFilePatterns"] == ["/^constraints\\.txt$/"]
