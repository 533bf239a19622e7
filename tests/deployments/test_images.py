"""Dockerfile, compose file and manifests pass their linters, hold no secret, and start what exists.

No image is built here: that takes a container engine.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.requirements import requirements
from tasks.adapters.models.devices import DRIVERS
from tests import ROOT

FOLDER = ROOT / "deployments"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
OTHERS = ("kustomization", "dask-adaptive")  # kinds of others: test_dask.py looks at the second
MANIFESTS = sorted(path for path in (FOLDER / "kubernetes").glob("*.yaml") if path.stem not in OTHERS)

LINTERS = {
    "yamllint": ["yamllint", "--strict", "prefect.yaml", "deployments"],
    "hadolint": ["hadolint", "deployments/Dockerfile"],
    "compose": [
        *("check-jsonschema", "--builtin-schema", "vendor.compose-spec"),
        "deployments/compose.yaml",
    ],
    "kubernetes": ["kubernetes-validate", "--strict", *map(str, MANIFESTS)],
}


def documents() -> list[dict[str, Any]]:
    return [document for path in MANIFESTS for document in yaml.safe_load_all(path.read_text())]


def containers() -> list[dict[str, Any]]:
    templates = [
        each["spec"]["template"]["spec"] for each in documents() if "template" in each.get("spec", {})
    ]
    return [container for template in templates for container in template["containers"]]


def literals(node: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text below a node, with the name it stands under."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from literals(value, str(key))
        if isinstance(node.get("value"), str):
            yield str(node.get("name", "")), node["value"]
    elif isinstance(node, list):
        for value in node:
            yield from literals(value, name)
    elif isinstance(node, str):
        yield name, node


@pytest.mark.parametrize("command", LINTERS.values(), ids=LINTERS)
def test_the_linters_are_content(command: list[str]) -> None:
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_secret_is_written_down() -> None:
    secret = re.compile(r"password|secret_?(access)?_?key|access_key|connection_url|webhook", re.IGNORECASE)
    named = [(name, text) for name, text in literals([COMPOSE, documents()]) if secret.search(name)]
    assert {name for name, _ in named} >= {
        "POSTGRES_PASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "MINIO_ROOT_PASSWORD",
    }
    for name, text in named:
        assert re.search(r"\$\{\w+:[?-]", text), (name, text)
    example = (FOLDER / ".env.example").read_text()
    assert all(re.fullmatch(r"#.*|\w+=|HOOKLINE_TARGET=cpu", line) for line in example.splitlines())


def test_no_secret_keeps_the_newline_at_the_end_of_its_file() -> None:
    """`kubectl create secret --from-file` takes a file as it is, `--from-env-file` the rest of a line."""
    commands = re.findall(r"^kubectl .*create secret .*$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 2
    assert all(" --from-env-file " in command for command in commands)


def test_alerts_link_to_the_page_where_the_browser_finds_it() -> None:
    compose = COMPOSE["services"]["server"]["environment"]
    (server,) = (each for each in containers() if each["name"] == "server")
    for variables in (compose, {each["name"]: each.get("value") for each in server["env"]}):
        assert f"{variables['PREFECT_UI_URL']}/api" == variables["PREFECT_UI_API_URL"]


def test_every_pool_of_a_deployment_has_a_worker() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    needed = {each["work_pool"]["name"] for each in deployments}
    guide = (ROOT / "docs" / "operations.md").read_text()
    for place in (
        guide,
        *(FOLDER / name for name in ("compose.yaml", "kubernetes/flows.yaml", "Dockerfile")),
    ):
        text = place if isinstance(place, str) else place.read_text()
        assert set(re.findall(r"--pool\W+([\w-]+)", text)) == needed


def test_the_env_file_asks_for_what_the_compose_file_needs() -> None:
    needed = set(re.findall(r"\$\{(\w+):\?", (FOLDER / "compose.yaml").read_text()))
    assert needed <= set(re.findall(r"^(\w+)=", (FOLDER / ".env.example").read_text(), flags=re.MULTILINE))


def test_services_wait_for_those_they_need_and_say_how_they_are() -> None:
    services = COMPOSE["services"]
    awaited = {
        other
        for service in services.values()
        for other, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }
    assert awaited
    assert not [other for other in awaited if "healthcheck" not in services[other]]


def test_containers_are_no_root_and_pass_signals_on() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)
    for stage in ("cpu", "gpu"):
        (last,) = (text for text in stages if text.startswith(f"base AS {stage}\n"))
        assert "USER 1000\n" in last
        assert 'ENTRYPOINT ["tini", "--"]' in last
    pods = [each["spec"]["template"]["spec"] for each in documents() if "template" in each.get("spec", {})]
    assert pods
    assert all(pod["securityContext"]["runAsNonRoot"] for pod in pods)


def test_no_container_starts_where_the_driver_is_too_old_for_the_cuda_of_torch() -> None:
    """CUDA 13 came with torch 2.11's wheels; the README names the driver."""
    (torch,) = re.findall(r"^torch==2\.(\d+)", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert int(torch) >= 11
    (gpu,) = re.findall(r"^FROM base AS gpu$.*", DOCKERFILE, flags=re.MULTILINE | re.DOTALL)
    assert "NVIDIA_REQUIRE_CUDA=cuda>=13.0\n" in gpu
    assert f"driver {DRIVERS['13']} or newer" in (ROOT / "README.md").read_text()


@pytest.mark.filterwarnings("ignore:While registering the command:UserWarning")  # dask, the second time
def test_what_the_images_are_to_start_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each program and its options are asked for their help, without a process for each."""
    monkeypatch.setattr(os, "_exit", sys.exit)  # as hookline ends
    commands = [each["command"] for each in containers()]
    commands += [each["command"] for each in COMPOSE["services"].values() if "build" in each]
    commands = [command[2:] if command[0] == "tini" else command for command in commands]
    assert len(commands) >= 8
    starts = {tuple(command[:3]) for command in commands}
    for start in starts:
        words = [word for word in start if not word.startswith(("-", "tcp:"))]
        if words[0] == "python":
            program = partial(importlib.import_module(words[1]).main, ["--help"])
        else:
            (script,) = entry_points(group="console_scripts", name=words[0])
            program = script.load()
        monkeypatch.setattr(sys, "argv", [*words, "--help"])
        with pytest.raises(SystemExit) as ended:
            sys.exit(program())
        printed = capsys.readouterr().out
        assert not ended.value.code, start
        for command in (each for each in commands if tuple(each[:3]) == start):
            for option in (word for word in command if word.startswith("--")):
                assert option in printed, (command, option)


def test_the_image_installs_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert requirements(project, []) == project["dependencies"]
    assert "bitsandbytes" in requirements(project, ["quantization"])[-1]
    for extras in re.findall(r"requirements\.py ?([\w ]*)>", DOCKERFILE):
        requirements(project, extras.split())
