"""`hookline serve`: a Prefect server of its own, the jobs, and the HTTP face in front of them."""

from __future__ import annotations

import fcntl
import importlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn
from rich.console import Console

from hookline import ExitCode
from hookline.api.contract.request_id import WithRequestId
from hookline.api.contract.settings import Serve
from hookline.embedded import flush, tell
from hookline.own_server import KeptServer, check_healthy
from tasks.adapters.storage import open_store
from tasks.core.errors import HooklineError, SettingsError
from tasks.core.settings import Select, Settings

LAST_ANSWERS_S = 10
"""After `shutdown_seconds`, callers who wait are told so within this time."""

DATABASES = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
"""Variables that would have the service's server work in the database of another."""

LOG_FORMAT = "%(asctime)s %(levelname)s request=%(request)s %(message)s"


def run_service(settings: Settings, serve: Serve) -> int:
    """Serve until told to stop; returns the exit code.

    Raises:
        HooklineError: the address or the state folder is in use, or Prefect did not start.
        StorageError: source or output cannot be reached.
    """
    console = Console(stderr=True)
    settings = without_selection(settings, console)
    for source in (settings.source, *serve.sources):
        open_store(source).check()
    open_store(settings.output).names("jobs/.hookline")  # a new folder is none
    log_lines()
    with ExitStack() as stack:
        listener = stack.enter_context(listening(serve.host, serve.port))
        stack.enter_context(only_service(serve.state))
        prefect = None if serve.deployment else stack.enter_context(own_prefect(serve))
        api_url = prefect.api_url if prefect else configured_prefect()
        from hookline.api.app import create_app
        from hookline.api.assembly import assembled

        with assembled(settings, serve, api_url=api_url, server=prefect) as service:
            app = create_app(service)
            address = "http://{}:{}".format(*listener.getsockname()[:2])
            listener.listen()  # who connects from now on waits for uvicorn, and is not refused
            console.print(f"Listening at {address} for videos of {settings.source}", soft_wrap=True)
            config = uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=serve.shutdown_seconds + LAST_ANSWERS_S,
            )
            end = partial(service.jobs.close, within_s=serve.shutdown_seconds)
            server = _Server(config, on_exit=end)
            if prefect:
                prefect.keep(on_lost=server.end)
            server.run(sockets=[listener])
        if prefect and prefect.is_lost:
            raise HooklineError(
                "The service has ended, as its Prefect server did: see what that printed. Jobs are kept, and "
                "go on when the service is started again."
            )
    return ExitCode.COMPLETE


def without_selection(settings: Settings, console: Console) -> Settings:
    """The settings without `select`, which is about libraries: each request names its video."""
    chosen = settings.select.model_dump(exclude_defaults=True)
    if chosen:
        said = ", ".join(f"select.{name}: {value!r}" for name, value in chosen.items())
        console.print(f"Not used, as each request names its video: {said}", markup=False, soft_wrap=True)
    return settings.model_copy(update={"select": Select()})


class _Server(uvicorn.Server):
    """Has the jobs end while the callers who wait for them are still connected."""

    def __init__(self, config: uvicorn.Config, *, on_exit: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not uvicorn's own, which raises the signal once more when it is done: there is more to end here.
        if self.should_exit:
            self.force_exit = True
            return
        self.end()

    def end(self) -> None:
        """Have the jobs end, and then the server."""
        self.should_exit = True
        threading.Thread(target=self._on_exit, name="exit").start()


def configured_prefect() -> str:
    """The address of the Prefect server that the environment or the active profile names.

    Raises:
        HooklineError: there is none, or it does not answer.
    """
    from prefect.settings import PREFECT_API_URL

    if not (api_url := PREFECT_API_URL.value()):
        raise SettingsError("serve.deployment is one of a Prefect server: name that with PREFECT_API_URL.")
    check_healthy(api_url)
    return str(api_url)


@contextmanager
def own_prefect(serve: Serve) -> Iterator[KeptServer]:
    """A Prefect server for the block, with a database in the state folder.

    Never the user's own: what it has of jobs is taken for this service's at every start.

    Raises:
        HooklineError: it did not start.
    """
    os.environ["PREFECT_HOME"] = str(serve.state / "prefect")
    for theirs in ("PREFECT_API_URL", *DATABASES):
        os.environ.pop(theirs, None)
    server = KeptServer()
    server.launch()
    try:
        with Console(stderr=True).status("Starting Prefect ..."):
            importlib.import_module("flows.rank_videos")  # takes seconds, in which the server starts
            server.wait()
        try:
            yield server
        finally:
            tell(flush(server.api_url))
    finally:
        tell(server.stop())


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at an address, taken before anything is started.

    Raises:
        HooklineError: the address is in use, or not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Of no named protocol, asyncio would leave Nagle's algorithm on: an answer in two parts takes 40 ms more.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise HooklineError(
                f"{host}:{port} cannot be listened at ({error.strerror}): choose serve.host and serve.port."
            ) from error
        yield listener


@contextmanager
def only_service(state: Path) -> Iterator[None]:
    """Keep other services out of a state folder for the block.

    Raises:
        HooklineError: another service has it.
    """
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HooklineError(
                f"Another service keeps its jobs in {state}: give each its own with serve.state_dir."
            ) from error
        yield


def log_lines() -> None:
    """Log to stderr, with the id of the request in every line: also what the flow says of a job."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    handler.addFilter(WithRequestId())
    handler.addFilter(is_ours)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("hookline").setLevel(logging.INFO)


def is_ours(record: logging.LogRecord) -> bool:
    """Whether a line is of the service, or of the flow; what Prefect says of a run, its jobs say better."""
    return not record.name.startswith("prefect.") or record.getMessage().startswith("run=")
