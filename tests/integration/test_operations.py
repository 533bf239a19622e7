"""`docs/operations.md` is followed to the letter."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import ROOT
from tests.integration.reader import Reader
from tests.integration.webhook import Webhook, running_webhook
from tests.loopback import loopback
from tests.prefect_home import new_home
from tests.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "operations.md").read_text()
SWITCHED_ON = "make deploy SCHEDULE=on\n"
EVERY_MINUTE = 'make deploy SCHEDULE="* * * * *"\n'
SERVE = "set -a; . deployments/server.env; set +a\nexec prefect server start"

SCHEDULED_RUN_S = 300
"""A minute until it is due, the worker's 10 s to see it, and its start on a busy machine."""


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with running_webhook() as made:
        yield made


def test_the_guide_leads_from_nothing_to_a_nightly_run(clone: Path, tmp_path: Path, webhook: Webhook) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 12
    with ExitStack() as terminals:
        reader = Reader(clone, tmp_path, terminals)
        new_home(tmp_path / "prefect")
        for block in blocks:
            latest = clone / "demo" / "rankings" / "latest.json"
            before = latest.read_text() if latest.exists() else ""
            reader.follow(block.replace("https://chat.example/hooks/secret", webhook.url))
            if block == SWITCHED_ON:
                assert len(re.findall(r"^  \S+ 02:00 UTC$", reader.printed[-1], flags=re.MULTILINE)) == 3
                assert "no worker" not in reader.printed[-1]
            if block == EVERY_MINUTE:
                assert wait_for_a_run_of_the_schedule(reader)["state"]["name"] == "Completed"
                assert latest.read_text() != before
        assert {SWITCHED_ON, EVERY_MINUTE} <= {*blocks}
        (ends,) = re.findall(r"^Completed: .* in \d+ s$", README, flags=re.MULTILINE)
        assert re.search(re.sub(r"\d+", r"\\d+", re.escape(ends)), reader.printed[0])
        printed = "\n".join(reader.printed)
        assert "Completed" in printed
        assert "rank-videos/nightly" in printed
        assert re.search(r"stage=rank video=\S+ ranked", printed)
        reader.follow(
            "prefect deployment run rank-videos/on-demand --watch --param "
            """settings='{"source": "/nowhere-at-all", "output": "/nowhere-else"}' || true"""
        )
        check_the_alert(reader, wait_for(lambda: webhook.told)[0])
    check_the_back_up(reader, tmp_path / "restored")


def wait_for_a_run_of_the_schedule(reader: Reader) -> dict[str, Any]:
    """The first run that nobody but the schedule has started, once it has ended."""

    def runs() -> list[dict[str, Any]]:
        found = asked(reader, "flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC"})
        return [run for run in found if run["auto_scheduled"]]

    def ended() -> list[dict[str, Any]]:
        return [run for run in runs() if run["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED")]

    def due() -> list[tuple[str, str]]:
        return [(run["expected_start_time"], run["state"]["name"]) for run in runs()]

    return wait_for(ended, SCHEDULED_RUN_S, or_say=due)[0]


def check_the_alert(reader: Reader, alert: dict[str, Any]) -> None:
    """It names the run, and links to its page on the server."""
    assert "/nowhere-at-all" in alert["text"]
    page, run_id = alert["url"].split("/runs/flow-run/")
    assert f"{page}/api" == reader.api
    assert asked(reader, f"flow_runs/{run_id}")["state"]["name"] == "Failed"
    as_a_browser = {"Accept": "text/html"}
    answer = loopback.get(alert["url"], headers=as_a_browser).raise_for_status()
    assert answer.headers["content-type"].startswith("text/html")


def check_the_back_up(before: Reader, folder: Path) -> None:
    """A server that starts on the copy of the database knows what the other knew."""
    (folder / "prefect").mkdir(parents=True)
    shutil.copy(before.clone / "demo" / "prefect-backup.db", folder / "prefect" / "prefect.db")
    with ExitStack() as terminals:
        reader = Reader(before.clone, folder, terminals)
        reader.open_terminal(f'export PATH="$PWD/.venv/bin:$PATH"\n{SERVE}')
        nightly = asked(reader, "deployments/name/rank-videos/nightly")
        assert nightly["parameters"]["settings"]["source"].endswith("demo/videos")
        assert not nightly["paused"]


def asked(reader: Reader, path: str, body: dict[str, Any] | None = None) -> Any:
    """What the reader's server answers."""
    url = f"{reader.api}/{path}"
    return (loopback.post(url, json=body) if body else loopback.get(url)).raise_for_status().json()
