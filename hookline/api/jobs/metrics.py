"""Counters and gauges for Prometheus. No label names a video."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric

from hookline.api.jobs.interface import Jobs
from hookline.api.jobs.job import Job, Status
from hookline.api.jobs.machine import Machine
from tasks.adapters.counters import RunCounters

SECONDS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
"""Upper bounds of the buckets for how long a job takes."""


class Metrics:
    """What one service has counted since it was started."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        shared: dict[str, Any] = {"namespace": "hookline", "registry": self.registry}
        self._ended = Counter("jobs_ended", "Jobs that became final, by outcome.", ["outcome"], **shared)
        self._took = Histogram("job_seconds", "How long jobs ran.", buckets=SECONDS, **shared)
        self.runs = RunCounters(self.registry)
        self.known = Counter("known_answers", "Requests that were answered without a job.", **shared)
        for status in (Status.SUCCEEDED, Status.FAILED, Status.CANCELED):
            self._ended.labels(status)

    def job_ended(self, job: Job) -> None:
        """Count a job that is final."""
        self._ended.labels(job.status).inc()
        if job.started_at and job.ended_at:
            self._took.observe((job.ended_at - job.started_at).total_seconds())

    def page(self, jobs: Jobs, machine: Machine) -> bytes:
        """All of it, and the gauges of this moment, as Prometheus reads it."""
        now = CollectorRegistry()
        now.register(_Now(jobs, machine))
        return generate_latest(self.registry) + generate_latest(now)


class _Now:
    """What is read off a service when it is asked."""

    def __init__(self, jobs: Jobs, machine: Machine) -> None:
        self._jobs, self._machine = jobs, machine

    def collect(self) -> Iterator[Metric]:
        tally, machine = self._jobs.tally(), self._machine
        jobs = GaugeMetricFamily("hookline_jobs", "Jobs, by status.", labels=["status"])
        for status in Status:
            jobs.add_metric([status], tally.get(status, 0))
        yield jobs
        yield GaugeMetricFamily("hookline_queue_depth", "Jobs that wait.", value=tally.get(Status.QUEUED, 0))
        loaded = GaugeMetricFamily("hookline_model_loaded", "Models in memory.", labels=["model"])
        loaded.add_metric(["videomae"], machine.videomae_loaded)
        loaded.add_metric(["videollama3"], machine.videollama3_loaded)
        loaded.add_metric(["whisper"], machine.whisper_loaded)
        yield loaded
        memory = GaugeMetricFamily("hookline_gpu_memory_bytes", "Memory of each GPU.", labels=["gpu", "kind"])
        for gpu, (used, total) in enumerate(machine.gpu_memory):
            memory.add_metric([str(gpu), "used"], used)
            memory.add_metric([str(gpu), "total"], total)
        yield memory
        yield InfoMetricFamily("hookline_build", "This service.", value={"version": version("hookline")})
