"""What all tests share. Prefect and the models are imported by the tests that need them, and only there."""

from __future__ import annotations

import gc
import logging
import os
import runpy
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import certifi
import pytest
import pytest_timeout
from hypothesis import settings

from hookline.embedded import QUIET_AND_LOCAL
from hookline.own_server import STARTUP_S, EmbeddedServer, is_healthy
from tests.browser import browser
from tests.waiting import patience, wait_for

__all__ = ["browser"]

# How long an example takes says more of the machine than of the code.
settings.register_profile("hookline", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=2_000)
settings.load_profile("ci" if os.environ.get("CI") else "hookline")

HOME = TemporaryDirectory(prefix="hookline-prefect-", ignore_cleanup_errors=True)
"""Prefect's home for all tests of this process: nobody's own server, profile or history is touched."""

for name in [name for name in os.environ if name.startswith("PREFECT_")]:
    del os.environ[name]
os.environ["PREFECT_HOME"] = HOME.name
os.environ["HOOKLINE_LINGER_SECONDS"] = "0"  # no test leaves a server behind
os.environ["XDG_CACHE_HOME"] = f"{HOME.name}/cache"
# Servers of the tests call no other host.
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
# Each client of HTTP reads all authorities there are, 17 ms of a core: here is one, which nobody asks.
AUTHORITY, END = Path(HOME.name) / "authority.pem", "-----END CERTIFICATE-----"
AUTHORITY.write_text(Path(certifi.where()).read_text().partition(END)[0] + END)
os.environ["PREFECT_API_SSL_CERT_FILE"] = os.environ["SSL_CERT_FILE"] = str(AUTHORITY)
# Several tests share the cores, and the models of the demo are too small to be shared out among threads.
os.environ["OMP_NUM_THREADS"] = "1"
# Without the fixture `prefect`, what needs a server fails, instead of starting one in secret.
os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"

# Whoever looks up another host is written down, here and in what the tests start.
OTHER_HOSTS = Path(HOME.name) / "other-hosts"
OTHER_HOSTS.touch()
os.environ["HOOKLINE_TEST_OTHER_HOSTS"] = str(OTHER_HOSTS)
WATCH = Path(__file__).parent / "watch"
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(WATCH), os.environ.get("PYTHONPATH")]))
runpy.run_path(str(WATCH / "sitecustomize.py"))
collect_ignore = ["watch"]  # imported once more, it would watch twice

SLOWEST_FIRST = [
    "integration/test_nights.py",
    "integration/test_operations.py",
    "integration/test_run_buttons.py",
    "flows/test_workers.py",
    "flows/test_tune.py",
    "flows/test_incremental.py",
    "flows/test_rank_videos.py",
    "deployments/test_prefect_yaml.py",
    "integration/test_ui.py",
    "adapters/video/test_timeline.py",
    "integration/test_chaos.py",
    "integration/test_server_restarts.py",
    "api/test_restart.py",
    "adapters/workers/test_dask.py",
    "adapters/models/videollama3/test_model.py",
    "benchmarks/test_speed.py",
    "integration/test_radosgw.py",
    "benchmarks/test_deep_stage.py",
    "test_readme.py",
    "docs/test_data.py",
    "hookline/test_cli.py",
    "hookline/test_secrets.py",
]
"""The files that take longest: begun last, each would keep the other core waiting.

The first three wait for clocks, and for their runs; beside them run those that compute.
"""

LEFT_BY_DASK = (
    "asyncio",
    "Future exception was never retrieved\nfuture: <Future finished exception=TimeoutError('Timeout')>",
)
"""What one of some thousand clients of Dask leaves to the garbage when it is closed, of a later test."""

SHARED = pytest.StashKey[EmbeddedServer]()


gc.disable()  # while all is imported, none of it is garbage


def pytest_collection_finish() -> None:
    gc.freeze()  # nor is it later: a search walks through what the tests leave, and no further
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    order = {here / name: position for position, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> bool:
    """A test may take longer where others share the cores."""
    in_time = settings._replace(timeout=patience(settings.timeout))
    return bool(pytest_timeout.pytest_timeout_set_timer(item, in_time))


@pytest.fixture(scope="session")
def demo_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small untrained checkpoints: `videomae` and `videollama3`."""
    from hookline.demo_models import write_demo_models

    folder = tmp_path_factory.mktemp("demo-models")
    write_demo_models(folder)
    return folder


def start_prefect() -> EmbeddedServer:
    """A Prefect server with a database of its own, and no wait for it.

    It keeps no history of events and has no automations: what needs those starts a server of its own.
    """
    server = EmbeddedServer()
    with pytest.MonkeyPatch.context() as patched:
        for name, value in QUIET_AND_LOCAL.items():
            patched.setenv(name, value)
        for service in ("EVENT_PERSISTER", "TRIGGERS"):
            patched.setenv(f"PREFECT_SERVER_SERVICES_{service}_ENABLED", "false")
        server.launch()
    return server


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Of pytest-xdist: processes that run tests side by side share one Prefect server."""
    if not (server := node.config.stash.get(SHARED, None)):
        server = node.config.stash[SHARED] = start_prefect()
        node.config.add_cleanup(partial(end_shared, server))
    node.workerinput["prefect"] = server.api_url


def end_shared(server: EmbeddedServer) -> None:
    server.stop()
    assert not (called := OTHER_HOSTS.read_text()), f"Other hosts were called:\n{called}"


@pytest.fixture(scope="session")
def prefect(request: pytest.FixtureRequest) -> Iterator[None]:
    """A Prefect server for the whole session: that of `start_prefect`."""
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from hookline.embedded import flush

    with ExitStack() as stack:
        if shared := getattr(request.config, "workerinput", {}).get("prefect"):
            wait_for(partial(is_healthy, shared), STARTUP_S)
        else:
            server = start_prefect()
            stack.callback(server.stop)
            server.wait()
        api_url = shared or server.api_url
        with temporary_settings({PREFECT_API_URL: api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield
            flush(api_url)


@pytest.fixture(autouse=True)
def _no_error_is_logged(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A test that passes logs no ERROR, unless it is about one."""
    yield
    if not request.node.get_closest_marker("logs_error"):
        errors = [
            (record.name, record.getMessage())
            for record in caplog.get_records("call")
            # Two calls for one object at once are too much for the S3 server of the tests: it answers 500.
            if record.levelno >= logging.ERROR and record.name != "werkzeug"
        ]
        assert not {*errors} - {LEFT_BY_DASK}


@pytest.fixture(autouse=True)
def _no_other_host_is_called() -> Iterator[None]:
    """A test, and what it started, neither looks up nor calls another host than this one."""
    yield
    if called := OTHER_HOSTS.read_text():
        OTHER_HOSTS.write_text("")
        pytest.fail(f"Other hosts were called:\n{called}")
