"""A Prefect server that goes on for some minutes after its command, and is found by the next one.

One a user, or rather a home of Prefect. Who is there is told by two locks in that home, which the kernel
frees with their owner, however that ended: the server holds one as long as it lives, a command the other as
long as it uses the server. A command that comes meanwhile has a server of its own, which ends with it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from hookline.own_server import HISTORY, LOST, STOP_S, EmbeddedServer
from tasks.core.errors import SettingsError

VARIABLE = "HOOKLINE_LINGER_SECONDS"
"""Seconds that a server goes on when nobody uses it; 0 = it ends with its command."""

LINGERS_S = 300

NOTE, IN_USE, LOG = "hookline-server.json", "hookline-server.lock", "hookline-server.log"

UPKEEP = "hookline-upkeep"
"""A file that is as old as the last removal of old history."""

POLL_S = 1.0

ANSWER_S = 5.0
"""A server that does not say in this time who it is is left alone."""


@dataclass(frozen=True)
class Note:
    """What a server that lingers writes down of itself, under its lock."""

    pid: int
    port: int
    kind: str
    database: str
    inode: int


def lingers_s() -> float:
    """How long a server lingers after `hookline rank`.

    Raises:
        SettingsError: the environment says something else than seconds.
    """
    said = os.environ.get(VARIABLE, "")
    try:
        return max(0.0, float(said)) if said else LINGERS_S
    except ValueError as error:
        raise SettingsError(
            f"{VARIABLE} is {said!r}: write seconds, or 0 for a server that ends with its run."
        ) from error


def home() -> Path:
    """Where Prefect keeps its database, unless something else is configured."""
    return Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser().absolute()


def kind() -> str:
    """A digest of all that makes a server what it is: the program, its version, and what configures it."""
    profiles = os.environ.get("PREFECT_PROFILES_PATH") or home() / "profiles.toml"
    files = [Path(name) for name in (profiles, ".env", "prefect.toml", "pyproject.toml")]
    variables = sorted((k, v) for k, v in os.environ.items() if k.startswith("PREFECT_"))
    contents = [path.read_bytes() if path.is_file() else b"" for path in files]
    program = (sys.executable, __file__, version("hookline"), version("prefect"))
    return hashlib.sha256(repr((program, variables, contents)).encode()).hexdigest()


def locked(path: Path) -> TextIO | None:
    """The file, locked until it is closed or its process has ended; None if another process has it.

    Raises:
        OSError: it is not this user's, or cannot be made.
    """
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
    try:
        if os.fstat(file.fileno()).st_uid != os.geteuid():
            raise PermissionError(f"{path} is another user's")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:
        file.close()
        raise
    return file


def server_left() -> Note | None:
    """The server that an earlier command has left, if it is there, and is as one of this command would be."""
    note = read_note()
    if not note or note.kind != kind() or note.inode != inode(Path(note.database)):
        return None
    try:
        if nobodys := locked(home() / NOTE):
            nobodys.close()
            return None
    except OSError:
        return None
    return note if answer(note.port, "GET", within_s=ANSWER_S) == note.pid else None


def answer(port: int, method: str, *, within_s: float) -> object:
    """What a server says of its history; None if it says nothing in time."""
    import httpx  # not for commands without a server

    try:
        with httpx.Client(verify=False, trust_env=False, timeout=within_s) as client:
            return client.request(method, f"http://127.0.0.1:{port}{HISTORY}").json()
    except (httpx.HTTPError, ValueError):
        return None


def read_note() -> Note | None:
    """What the newest server has noted, be it there or not."""
    try:
        return Note(**json.loads((home() / NOTE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def inode(path: Path) -> int:
    """The number of a file, which another in its place does not have; 0 if there is none."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


class LingeringServer(EmbeddedServer):
    """One that goes on after its command, or that an earlier command has left."""

    def __init__(self, lingers_s: float) -> None:
        super().__init__()
        self._lingers_s = lingers_s
        self._in_use: TextIO | None = None
        self._is_left = False

    def launch(self) -> None:
        if self._lingers_s:
            with suppress(OSError):
                home().mkdir(parents=True, exist_ok=True)
                self._in_use = _taken(home() / IN_USE)
        if self._in_use:
            if note := server_left():
                self._is_left, self.port = True, note.port
                self.api_url = f"http://127.0.0.1:{note.port}/api"
                return
            self.options = (f"{self._lingers_s:g}", kind())
        super().launch()

    def wait(self) -> None:
        if self._is_left:
            return
        super().wait()
        note = read_note()
        self._is_left = bool(self._in_use and note and self.process and note.pid == self.process.pid)

    def stop(self, *, within_s: float = STOP_S) -> str:
        """End the server, or leave it to the next command, once it has recorded what it was told.

        Returns why it may not have recorded all of it: nothing if it has.
        """
        said = ""
        if not self._is_left:
            said = super().stop(within_s=within_s)
        elif answer(self.port, "POST", within_s=within_s) is not True:
            said = f"The Prefect server did not record all: {LOST} See {home() / LOG}"
            if note := server_left():  # the next run has another
                os.kill(note.pid, signal.SIGTERM)
        if self._in_use:
            self._in_use.close()
        return said


def _taken(path: Path) -> TextIO | None:
    """A lock that its server tries now and then, for an instant."""
    for _ in range(3):
        if file := locked(path):
            return file
        time.sleep(0.02)
    return None


class Stay:
    """Of a server: how long it stays when no command uses it, once it has begun to."""

    def __init__(self, port: int, seconds: str = "0", kind: str = "") -> None:
        self._port, self._seconds, self._kind = port, float(seconds), kind
        self.has_begun = False

    def begin(self, database: Path | None) -> None:
        """Stay, unless another server does: note it, and let go of the output of the command.

        Who reads that output to its end would wait for the server otherwise.
        """
        if not (self._seconds and database):
            return
        about = Note(os.getpid(), self._port, self._kind, str(database), inode(database))
        try:
            if not (note := locked(home() / NOTE)):
                return
            note.truncate(0)
            json.dump(asdict(about), note)
            note.flush()
            with (home() / LOG).open("wb") as log:
                for stream in (sys.stdout, sys.stderr):
                    os.dup2(log.fileno(), stream.fileno())
        except (OSError, AttributeError):  # the second where the command has no output
            return
        self.has_begun = True
        threading.Thread(target=self._end_when_unused, args=(note,), name="stay", daemon=True).start()

    def end_without_command(self) -> None:
        """End, as the command has, unless the next one is waited for."""
        if not self.has_begun:
            os.kill(os.getpid(), signal.SIGTERM)

    def _end_when_unused(self, note: TextIO) -> None:
        used = time.monotonic()
        while True:
            time.sleep(min(POLL_S, self._seconds))
            try:
                in_use = locked(home() / IN_USE)
                if in_use is None:
                    used = time.monotonic()
                    continue
                is_known = os.path.samestat((home() / NOTE).stat(), os.fstat(note.fileno()))
            except OSError:  # the home is gone
                break
            if time.monotonic() - used > self._seconds or not is_known:
                break
            in_use.close()
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait()  # with both locks: nobody comes any more
