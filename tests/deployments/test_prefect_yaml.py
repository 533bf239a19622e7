"""The deployments are accepted by a real Prefect server, as the page about them says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prefect.settings import PREFECT_API_URL

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "deployments" / "README.md").read_text()


def commands(start: str) -> list[list[str]]:
    return [shlex.split(line) for line in re.findall(rf"^({start}.*)$", PAGE, flags=re.MULTILINE)]


@pytest.mark.usefixtures("prefect")
def test_the_deployments_are_made_and_show_every_setting_in_their_form() -> None:
    api = str(PREFECT_API_URL.value())
    environment = os.environ | {
        "PREFECT_API_URL": api,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    to_run = [*commands("prefect work-pool create"), *commands("prefect --no-prompt deploy")]
    assert len(to_run) == 2
    for command in to_run:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    deployment = httpx.get(f"{api}/deployments/name/rank-videos/on-demand").raise_for_status().json()
    definitions = deployment["parameter_openapi_schema"]["definitions"]
    assert definitions["Settings"]["required"] == ["source", "output"]
    assert definitions["Ranking"]["properties"]["top_n"]["description"]
    assert commands("prefect deployment run")[0][3] == "rank-videos/on-demand"
