"""The Prefect server of a run, in a process of its own: `python -m hookline.server PORT PARENT`.

It runs in a session of its own, so that Ctrl-C does not take it away from the run that still has to
report to it; and it ends when its parent is gone, a killed run leaves no server behind for longer than it
lingers. Before it ends, it records all that it was told.

With two more arguments, SECONDS KIND, it is that of `hookline rank`: it lingers so long (0 = not), and
removes the history of old runs. That of `hookline serve` does not: the jobs are known by it.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from hookline.lingering import UPKEEP, Stay, home
from hookline.own_server import CONNECTIONS_S
from tasks.adapters.garbage import no_garbage
from tasks.adapters.workers.parent import end_with_parent

SETTINGS = {
    "PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "hookline.broker",
    # No page offers blocks here. Without the second, Prefect would note that they are registered, and the
    # user's own server on this database would go without them.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}
"""The environment of the server; what the environment already says is left alone."""


def main() -> None:
    """Serve until told to stop."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    port, parent = map(int, sys.argv[1:3])
    stay = Stay(port, *sys.argv[3:])
    end_with_parent(parent, stay.end_without_command)

    with no_garbage():
        import uvicorn
        from prefect.server.api.server import create_app
        from prefect.settings import (
            PREFECT_API_DATABASE_CONNECTION_URL,
            PREFECT_API_DATABASE_MIGRATE_ON_START,
            temporary_settings,
        )

        import hookline.sqlite  # noqa: F401  (Prefect imports it only where it registers blocks)
        from hookline.database import needs_no_migration, sqlite_file
        from hookline.history import daily
        from hookline.recording import History

    own, database = {}, str(PREFECT_API_DATABASE_CONNECTION_URL.value())
    if needs_no_migration(database):
        own[PREFECT_API_DATABASE_MIGRATE_ON_START] = False
    with temporary_settings(own):
        with no_garbage():
            history = History()
            app = create_app(ephemeral=True, final=True)
        is_of_this_machine = sys.argv[3:] and sqlite_file(database)
        upkeep = (
            partial(daily, f"http://127.0.0.1:{port}/api", home() / UPKEEP) if is_of_this_machine else None
        )
        history.of(app, on_start=partial(stay.begin, sqlite_file(database)), beside=upkeep)
        uvicorn.run(
            app,
            host="127.0.0.1",
            port=port,
            log_level="critical",
            timeout_graceful_shutdown=CONNECTIONS_S,
        )


if __name__ == "__main__":
    main()
