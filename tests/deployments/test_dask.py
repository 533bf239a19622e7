"""A Dask worker is started by one command: that of the guide, of the manifests, and of the tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tasks.adapters.workers.dask_cluster import WORKER_COMMAND

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deployments"
README = (FOLDER / "README.md").read_text()
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())


def deployment(name: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((FOLDER / "kubernetes" / "dask.yaml").read_text())
    (found,) = (
        each for each in documents if (each["kind"], each["metadata"]["name"]) == ("Deployment", name)
    )
    return dict(found["spec"])


def test_the_guide_starts_workers_as_the_tests_do() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    assert WORKER_COMMAND.format(address="tcp://127.0.0.1:8786") in guide.splitlines()
    assert len(re.findall("dask worker tcp", guide)) == 1


def test_what_kubernetes_scales_are_such_workers_with_a_gpu_each() -> None:
    scaled = re.findall(r"scale deployment (\S+) --replicas \d", README)
    assert len(scaled) == 1
    (worker,) = deployment(scaled[0])["template"]["spec"]["containers"]
    command = WORKER_COMMAND.format(address="tcp://dask-scheduler:8786").split()
    assert worker["command"] == ["tini", "--", *command, "--no-dashboard"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_the_profile_for_gpus_takes_the_place_of_the_worker() -> None:
    profile, replaced = re.findall(r"--profile (\w+) .*--scale (\w+)=0", README)[0]
    services = COMPOSE["services"]
    with_profile = [service for service in services.values() if service.get("profiles") == [profile]]
    assert [service["command"] for service in with_profile] == [services[replaced]["command"]]
    devices = with_profile[0]["deploy"]["resources"]["reservations"]["devices"]
    assert [device["capabilities"] for device in devices] == [[profile]]
