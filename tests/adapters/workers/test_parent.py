"""A process ends with its parent, even if that died before anybody looked, and not sooner."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CHILD = """
import os, sys, time
from tasks.adapters.workers.parent import POLL_S, end_with_parent

end_with_parent(int(sys.argv[1]), lambda: os._exit(7))
time.sleep(1.5 * POLL_S)
"""


@pytest.mark.parametrize(("parent", "code"), [(os.getpid(), 0), (os.getppid(), 7)], ids=["alive", "dead"])
def test_a_process_ends_when_its_parent_is_another(parent: int, code: int) -> None:
    assert subprocess.run([sys.executable, "-c", CHILD, str(parent)], check=False).returncode == code
