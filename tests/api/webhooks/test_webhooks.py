"""A message is told at least once, under one id, whatever its receiver, DNS or the service do meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from standardwebhooks import Webhook

from hookline.api.contract.problems import Problem
from hookline.api.jobs.job import Job
from hookline.api.webhooks.addresses import is_public
from hookline.api.webhooks.delivery import Delivery
from hookline.api.webhooks.outbox import Outbox
from hookline.api.webhooks.webhooks import Webhooks
from tests.api.webhooks.receiver import HOST, LOCAL, SECRET, SLOW, Receiver, local_targets, receiving
from tests.waiting import wait_for

THEIR_SECRET = "whsec_" + "QUJD" * 8
SOON = (0.01, 0.01, 0.01, 0.01)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path) as receiver:
        yield receiver


def job(job_id: str = "job-1", *, is_final: bool = True) -> Job:
    done: Future[None] = Future()
    if is_final:
        done.set_result(None)
    return cast("Job", SimpleNamespace(id=job_id, done=done))


@contextmanager
def telling(
    receiver: Receiver,
    folder: Path,
    *,
    within_s: float = 10,
    jobs: Sequence[Job] = (),
    where: dict[str, Any] | None = None,
    **options: Any,
) -> Iterator[Webhooks]:
    """Webhooks that may go to this machine, with their outbox in a folder."""
    targets = local_targets(receiver, **(where or {}))
    webhooks = Webhooks(
        Outbox(folder / "outbox.sqlite"),
        Delivery(targets, [SECRET], trusted=receiver.trusted, within_s=within_s),
        view=lambda job: {"id": job.id, "status": "succeeded"},
        **{"registry": CollectorRegistry(), "pauses_s": SOON} | options,
    )
    with closing(webhooks):
        webhooks.start({each.id: each for each in jobs}.get)
        yield webhooks


def waiting(folder: Path) -> int:
    with closing(Outbox(folder / "outbox.sqlite")) as outbox:
        return outbox.waiting()


def test_a_receiver_is_told_when_the_job_is_final(receiver: Receiver, tmp_path: Path) -> None:
    running = job(is_final=False)
    with telling(receiver, tmp_path) as webhooks:
        webhooks.promise(receiver.url, running)
        time.sleep(0.1)
        assert receiver.told == []
        running.done.set_result(None)
        wait_for(lambda: not waiting(tmp_path))
    (told,) = receiver.told
    assert Webhook(THEIR_SECRET).verify(told.body, told.headers) == {"id": "job-1", "status": "succeeded"}
    assert (told.path, told.headers["host"]) == ("/hook?for=shop", receiver.place)
    assert told.headers["content-type"] == "application/json"


def test_what_fails_is_tried_again_under_the_same_id(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers.extend([500, 503, 404, 410])
    registry = CollectorRegistry()
    with telling(receiver, tmp_path, registry=registry) as webhooks:
        webhooks.promise(receiver.url, job())
        wait_for(lambda: not waiting(tmp_path))
    assert len(receiver.told) == 5
    assert len({(told.headers["webhook-id"], told.body) for told in receiver.told}) == 1
    for told in receiver.told:
        Webhook(THEIR_SECRET).verify(told.body, told.headers)
    assert registry.get_sample_value("hookline_webhook_failed_tries_total") == 4
    assert registry.get_sample_value("hookline_webhooks_total", {"outcome": "delivered"}) == 1


@pytest.mark.logs_error
def test_after_five_tries_it_is_given_up_logged_and_counted(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers.extend([500] * 6)
    registry = CollectorRegistry()
    with telling(receiver, tmp_path, registry=registry) as webhooks:
        webhooks.promise(receiver.url, job())
        wait_for(lambda: not waiting(tmp_path))
        time.sleep(0.1)
    assert len(receiver.told) == 5
    assert registry.get_sample_value("hookline_webhooks_total", {"outcome": "dead"}) == 1
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert f"of job job-1 is given up: try 5 of 5 at {receiver.place}: the answer was 500" in said


def test_a_redirect_is_not_followed(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers.extend([302, 308])
    with telling(receiver, tmp_path) as webhooks:
        webhooks.promise(receiver.url, job())
        wait_for(lambda: not waiting(tmp_path))
    assert [told.path for told in receiver.told] == ["/hook?for=shop"] * 3


def test_a_receiver_that_is_slow_keeps_no_other_from_being_told(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers.extend([SLOW] * 3)
    with receiving(tmp_path) as other:
        options: dict[str, Any] = {"within_s": 0.5, "pauses_s": (60,) * 4}
        with telling(receiver, tmp_path, where={"hosts": [other.place]}, **options) as webhooks:
            for _ in range(3):
                webhooks.promise(receiver.url, job())
            webhooks.promise(other.url, job())
            wait_for(lambda: other.told)
            assert len(receiver.told) <= 1
            wait_for(lambda: len(receiver.told) == 3, 5)  # each of them is left after half a second


def test_an_address_is_looked_up_once_a_try_and_no_other_is_connected_to(
    receiver: Receiver, tmp_path: Path
) -> None:
    looked_up = list[str]()

    def rebinding(host: str, port: int) -> Sequence[str]:
        looked_up.append(host)
        return [LOCAL] if len(looked_up) == 1 else ["127.0.0.2"]

    with telling(receiver, tmp_path, where={"resolve": rebinding}) as webhooks:
        webhooks.promise(receiver.url, job())
        wait_for(lambda: not waiting(tmp_path))
    assert (looked_up, len(receiver.told)) == ([HOST], 1)


@pytest.mark.logs_error
def test_a_host_whose_address_has_become_a_private_one_is_not_told(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    addresses = iter([["93.184.216.34"]])

    def changing(host: str, port: int) -> Sequence[str]:
        return next(addresses, [LOCAL])

    with telling(receiver, tmp_path, where={"resolve": changing, "may_connect": is_public}) as webhooks:
        webhooks.check(receiver.url)  # it was public when it was named
        webhooks.promise(receiver.url, job())
        wait_for(lambda: not waiting(tmp_path))
    assert receiver.told == []
    assert "127.0.0.1, which is not an address of the public internet" in caplog.text


@pytest.mark.logs_error
def test_a_host_that_cannot_show_its_name_is_not_told(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = receiver.place.replace(HOST, "other.example")
    with telling(receiver, tmp_path, where={"hosts": [other]}) as webhooks:
        webhooks.promise(f"https://{other}/", job())
        wait_for(lambda: not waiting(tmp_path))
    assert receiver.told == []
    assert "certificate verify failed" in caplog.text


def test_one_address_of_several_suffices(receiver: Receiver, tmp_path: Path) -> None:
    addresses = ["127.0.0.9", LOCAL]
    where = {"resolve": lambda *_: addresses, "may_connect": addresses.__contains__}
    with telling(receiver, tmp_path, where=where) as webhooks:
        webhooks.promise(receiver.url, job())
        wait_for(lambda: not waiting(tmp_path))
    assert len(receiver.told) == 1


KILLED = """
import sys, time
from pathlib import Path
from tests.api.webhooks import test_webhooks as t
class There:
    place, url = sys.argv[2], sys.argv[3]
    trusted = __import__("ssl").create_default_context(cafile=sys.argv[4])
with t.telling(There, Path(sys.argv[1]), pauses_s=(0.5,) * 4) as webhooks:
    webhooks.promise(There.url, t.job(), key="k")
    time.sleep(600)
"""


def test_a_kill_in_the_middle_of_a_try_costs_that_try(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers.append(SLOW)
    command = [sys.executable, "-c", KILLED, tmp_path, receiver.place, receiver.url, receiver.certificate]
    service = subprocess.Popen(command)
    wait_for(lambda: receiver.told or service.poll() is not None)
    os.kill(service.pid, signal.SIGKILL)
    service.wait()
    assert waiting(tmp_path) == 1
    with telling(receiver, tmp_path):
        wait_for(lambda: not waiting(tmp_path))
    first, second = receiver.told
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "msg_k"
    assert first.body == second.body


@pytest.mark.logs_error
def test_a_restart_goes_on_with_the_jobs_it_finds(receiver: Receiver, tmp_path: Path) -> None:
    with telling(receiver, tmp_path) as webhooks:
        for name in ("ended-meanwhile", "goes-on", "forgotten"):
            webhooks.promise(receiver.url, job(name, is_final=False), key=name)
    running = job("goes-on", is_final=False)
    registry = CollectorRegistry()
    with telling(receiver, tmp_path, jobs=[job("ended-meanwhile"), running], registry=registry):
        wait_for(lambda: receiver.told)
        running.done.set_result(None)
        wait_for(lambda: not waiting(tmp_path))
    assert [json.loads(told.body)["id"] for told in receiver.told] == ["ended-meanwhile", "goes-on"]
    assert registry.get_sample_value("hookline_webhooks_total", {"outcome": "dead"}) == 1


def test_a_repeated_request_sends_nothing_twice(receiver: Receiver, tmp_path: Path) -> None:
    with telling(receiver, tmp_path) as webhooks:
        for _ in range(2):
            webhooks.promise(receiver.url, job(), key="k")
            wait_for(lambda: not waiting(tmp_path))
        webhooks.promise(receiver.url, job())
        wait_for(lambda: not waiting(tmp_path))
    assert len({told.headers["webhook-id"] for told in receiver.told}) == len(receiver.told) == 2


def test_no_more_is_promised_than_can_be_kept(receiver: Receiver, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    with telling(receiver, tmp_path, max_waiting=1, registry=registry) as webhooks:
        webhooks.check(receiver.url)
        webhooks.promise(receiver.url, job(is_final=False))
        with pytest.raises(Problem) as refused:
            webhooks.check(receiver.url)
        assert registry.get_sample_value("hookline_webhooks_waiting") == 1
    assert (refused.value.status, refused.value.code) == (429, "webhooks_full")
    assert refused.value.headers["Retry-After"] == "60"


def test_the_end_of_the_service_waits_for_no_receiver(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers.append(SLOW)
    with telling(receiver, tmp_path) as webhooks:
        webhooks.promise(receiver.url, job())
        wait_for(lambda: receiver.told)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert waiting(tmp_path) == 1
