"""How the service is run; what it answers with is decided by the settings of a run."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pydantic import Field, field_validator

from tasks.core.settings.group import Group
from tasks.core.uris import split_uri

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?")


class Serve(Group):
    """The HTTP service."""

    host: str = Field(
        "127.0.0.1",
        title="Address",
        description="Where to listen; 0.0.0.0 = at all of its addresses.",
    )
    port: int = Field(8000, title="Port", description="0 = a free one.", ge=0, le=65535)
    sources: tuple[str, ...] = Field(
        (),
        title="More sources",
        description="Folders, buckets or s3:// prefixes beside SOURCE whose videos may be asked for.",
        examples=[["/media", "s3://uploads"]],
    )
    state_dir: str = Field(
        "",
        title="State folder",
        description="Where jobs are kept over restarts, for one service alone; "
        "empty = hookline in the user's folder for state.",
    )
    deployment: str = Field(
        "",
        title="Deployment",
        description="FLOW/NAME on the server of PREFECT_API_URL whose workers run the jobs, such as "
        "rank-videos/on-demand: several services may share it. Empty = the service runs them itself.",
        pattern=r"^([^/]+/[^/]+)?$",
        examples=["rank-videos/on-demand"],
    )
    keys: str = Field(
        "",
        title="API keys",
        description="A file with the callers who may ask: NAME SHA256 a line, the hash of a key; "
        "empty = the lines of HOOKLINE_API_KEYS in the environment; without either, everybody may.",
    )
    requests_per_minute: int = Field(
        0, title="Requests a minute", description="By each caller at the most; 0 = any number.", ge=0
    )
    webhook_hosts: tuple[str, ...] = Field(
        (),
        title="Hosts of webhooks",
        description="Whom webhook_url of a request may name, as HOST or HOST:PORT; empty = no webhooks. "
        "They are signed with the secrets of HOOKLINE_WEBHOOK_SECRETS in the environment.",
        examples=[["hooks.example.com"]],
    )
    max_queued: int = Field(
        100, title="Longest queue", description="Jobs that may wait; more are refused with 429.", ge=1
    )
    wait_seconds: int = Field(
        3600,
        title="Longest wait (s)",
        description="A request that waits for its answer gets 202 and the place of its job after this long.",
        ge=1,
    )
    shutdown_seconds: int = Field(
        30,
        title="Time to stop (s)",
        description="What runs when the service is stopped may end within this time; what does not is begun "
        "again after the restart.",
        ge=0,
    )

    @field_validator("sources", "webhook_hosts", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("sources")
    @classmethod
    def _are_uris(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        for source in sources:
            split_uri(source)
        return sources

    @field_validator("webhook_hosts")
    @classmethod
    def _are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(
                    f"{host!r} must be a host such as hooks.example.com or hooks.example.com:8443: in small "
                    "letters, without https:// and path, and with xn--... for other alphabets"
                )
        return tuple(host.removesuffix(":443") for host in hosts)

    @property
    def state(self) -> Path:
        """The state folder in force."""
        if self.state_dir:
            return Path(self.state_dir).expanduser().absolute()
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state", "hookline")
