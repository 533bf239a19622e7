"""The examples of docs/api.md are run, against a service and a video."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx

from tests import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text()
ADDRESS, VIDEO = "http://127.0.0.1:8000", "/media/show/episode-12.mp4"


def example(language: str, mark: str, client: httpx.Client, video: Path) -> str:
    """The code blocks with a mark in them as one script, for this service and this video."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    found = "".join(block for block in blocks if mark in block)
    assert ADDRESS in found
    assert VIDEO in found
    return found.replace(ADDRESS, str(client.base_url).rstrip("/")).replace(VIDEO, str(video))


def test_the_lines_for_curl_run(client: httpx.Client, videos: Path) -> None:
    script = "set -euo pipefail\n" + example("sh", "curl", client, videos / "first.mp4")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"top_segments":[{') == 2
    assert "event: ended" in done.stdout
    assert done.stdout.rpartition('"status":"')[2].startswith("succeeded")  # what DELETE answered


def test_the_lines_for_python_run(client: httpx.Client, videos: Path) -> None:
    script = example("python", "import httpx", client, videos / "first.mp4")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    segments = done.stdout.rpartition("\nid: ")[2].splitlines()
    assert any(re.fullmatch(r"[\d.]+ [\d.]+ \d+", line) for line in segments), done.stdout


def test_every_code_of_a_problem_is_on_the_page() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "hookline" / "api").rglob("*.py"))
    codes = set(re.findall(r'(?:Problem|__init__)\(\s*\d{3}, "(\w+)"', sources))
    assert len(codes) > 10
    assert {code for code in codes if f"`{code}`" not in PAGE} <= {"unexpected", "bad_request"}
