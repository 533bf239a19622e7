"""The benchmark of the tables asks every question of both layouts, and gets the same answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests import ROOT


def test_every_question_is_answered_alike_in_both_layouts(tmp_path: Path) -> None:
    small = ["--rows", "3000", "--windows", "900", "--output", str(tmp_path / "tables.json")]
    command = [sys.executable, "benchmarks/tables.py", *small]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    found = json.loads((tmp_path / "tables.json").read_text())
    published = json.loads((ROOT / "benchmarks" / "results" / "tables.json").read_text())
    assert found.keys() == published.keys()
    assert found["seconds"].keys() == published["seconds"].keys()
    assert published["rows"]["rankings"] == 1_000_000
