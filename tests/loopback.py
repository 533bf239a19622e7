"""How tests ask servers on this machine over HTTP."""

from __future__ import annotations

import httpx

loopback = httpx.Client(
    verify=False, trust_env=False, timeout=60, limits=httpx.Limits(max_keepalive_connections=0)
)
"""One client, without what HTTPS needs: `httpx.get` makes that each time, for 26 ms of the CPU. It keeps no
connection, so that servers may come and go.
"""
