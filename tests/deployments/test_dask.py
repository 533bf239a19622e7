"""A Dask worker is started by one command: that of the guide, of the manifests, and of the tests."""

from __future__ import annotations

import ast
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import dask.config
import httpx
import yaml

from tasks.adapters.workers.dask import DaskWorkers
from tasks.adapters.workers.dask_cluster import WORKER_COMMAND
from tests.cluster import threads
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deployments"
README = (FOLDER / "README.md").read_text()
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())


def document(file: str, kind: str, name: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((FOLDER / "kubernetes" / file).read_text())
    (found,) = (each for each in documents if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return dict(found["spec"])


def pod(name: str) -> dict[str, Any]:
    """What a deployment of the standing cluster starts."""
    return dict(document("dask.yaml", "Deployment", name)["template"]["spec"])


def test_the_guide_starts_workers_as_the_tests_do() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    assert WORKER_COMMAND.format(address="tcp://127.0.0.1:8786") in guide.splitlines()
    assert len(re.findall("dask worker tcp", guide)) == 1
    (options,) = re.findall(r"options = (\{.*\})", guide)
    assert ast.literal_eval(options) == {"threads_per_worker": 4, "resources": {"GPU": 1}, "memory_limit": 0}
    assert "cluster.adapt(minimum=0, maximum=1, " in guide  # all its workers would take the same GPU


def test_what_kubernetes_scales_are_such_workers_with_a_gpu_each() -> None:
    scaled = re.findall(r"scale deployment (\S+) --replicas \d", README)
    assert len(scaled) == 1
    (worker,) = pod(scaled[0])["containers"]
    command = WORKER_COMMAND.format(address="tcp://dask-scheduler:8786").split()
    assert worker["command"] == ["tini", "--", *command, "--no-dashboard"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_a_cluster_that_grows_from_none_has_the_pods_and_the_address_of_the_standing_one() -> None:
    """Its kinds are the operator's, which no linter here knows."""
    cluster = document("dask-adaptive.yaml", "DaskCluster", "dask")
    worker, standing = cluster["worker"]["spec"], pod("gpu")
    named = [*standing["containers"][0]["command"], "--name", "$(DASK_WORKER_NAME)"]
    standing["containers"][0]["command"] = named
    assert worker == standing
    scheduler, alone = cluster["scheduler"]["spec"], pod("dask-scheduler")
    assert scheduler["securityContext"] == alone["securityContext"]
    for name in ("image", "resources"):
        assert scheduler["containers"][0][name] == alone["containers"][0][name]
    assert "tcp://dask-scheduler:8786" in named  # the operator calls it after its cluster
    assert {each["port"] for each in cluster["scheduler"]["service"]["ports"]} == {8786, 8787}
    scaled = document("dask-adaptive.yaml", "DaskAutoscaler", "dask")
    assert (scaled["cluster"], scaled["minimum"], cluster["worker"]["replicas"]) == ("dask", 0, 0)
    assert scaled["maximum"] == 8
    assert "eight at the most" in " ".join(README.split())
    _, operator = document("dask-adaptive.yaml", "NetworkPolicy", "dask-scheduler")["ingress"]
    labels = operator["from"][0]["namespaceSelector"]["matchLabels"]
    assert labels == {"kubernetes.io/metadata.name": "dask-operator"}
    assert "in the namespace `dask-operator`" in " ".join(README.split())


def test_the_scheduler_tells_how_many_workers_the_queue_is_worth(tmp_path: Path) -> None:
    """Asked as Dask's operator asks it, with the settings of the manifest."""
    (container,) = document("dask-adaptive.yaml", "DaskCluster", "dask")["scheduler"]["spec"]["containers"]
    own = dask.config.collect_env({each["name"]: each["value"] for each in container["env"]})["distributed"]
    with (
        dask.config.set(distributed=dask.config.merge(dask.config.get("distributed"), own)),
        threads(tmp_path, workers=1) as made,
        closing(DaskWorkers(made.scheduler_address, deadline_s=60)) as workers,
    ):
        server = f"http://127.0.0.1:{made.scheduler.services['dashboard'].port}"

        def worth() -> int:
            return int(httpx.get(f"{server}/api/v1/adaptive_target").raise_for_status().json()["workers"])

        assert httpx.get(f"{server}/health").is_success
        for videos, expected in ((16, 2), (64, 8), (8, 1), (0, 0)):
            workers.expect(videos)
            wait_for(lambda expected=expected: worth() == expected)
        retired = httpx.post(f"{server}/api/v1/retire_workers", json={"n": 1}).raise_for_status().json()
        assert [each["name"] for each in retired.values()] == [0]


def test_the_profile_for_gpus_takes_the_place_of_the_worker() -> None:
    profile, replaced = re.findall(r"--profile (\w+) .*--scale (\w+)=0", README)[0]
    services = COMPOSE["services"]
    with_profile = [service for service in services.values() if service.get("profiles") == [profile]]
    assert [service["command"] for service in with_profile] == [services[replaced]["command"]]
    devices = with_profile[0]["deploy"]["resources"]["reservations"]["devices"]
    assert [device["capabilities"] for device in devices] == [[profile]]
