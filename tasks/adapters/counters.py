"""What runs have done, counted for Prometheus. No label names a video."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, push_to_gateway

from tasks.core.manifest import Manifest

GATEWAY = "HOOKLINE_PUSH_GATEWAY"
"""Environment variable with the address of a Prometheus push gateway, for runs that nobody can scrape."""

PUSH_WITHIN_S = 5.0


class RunCounters:
    """The work of runs that have published."""

    def __init__(self, registry: CollectorRegistry) -> None:
        shared: dict[str, Any] = {"namespace": "hookline", "registry": registry}
        self._stages = Counter("stage_seconds", "Seconds of work, by stage.", ["stage"], **shared)
        self._windows = Counter("windows", "Windows that VideoMAE scored.", **shared)
        self._segments = Counter("segments", "Segments that were analysed, or found in the cache.", **shared)
        self._cached = Counter("cached_segments", "Segments whose analysis was in the cache.", **shared)
        self._tokens = Counter("tokens", "Tokens that VideoLLaMA3 read or wrote.", ["kind"], **shared)

    def add(self, manifest: Manifest) -> None:
        """Count a run."""
        for stage in ("fetch", "decode", "speech", "fast", "deep"):
            self._stages.labels(stage).inc(manifest.seconds.get(stage, 0))
        self._windows.inc(manifest.counts.get("windows", 0))
        self._segments.inc(manifest.counts.get("candidates", 0))
        self._cached.inc(manifest.counts.get("cached", 0))
        deep = manifest.throughput and manifest.throughput.deep
        self._tokens.labels("prompt").inc((deep and deep.prompt_tokens) or 0)
        self._tokens.labels("output").inc((deep and deep.output_tokens) or 0)


def push(manifest: Manifest, *, deployment: Callable[[], str]) -> None:
    """Send the counters of one run to the push gateway, if there is one, in place of those before.

    Raises:
        OSError: it does not answer within `PUSH_WITHIN_S`, or refuses.
    """
    if gateway := os.environ.get(GATEWAY, "").strip():
        registry = CollectorRegistry()
        RunCounters(registry).add(manifest)
        group = {"deployment": deployment()}
        push_to_gateway(gateway, "hookline", registry, grouping_key=group, timeout=PUSH_WITHIN_S)
