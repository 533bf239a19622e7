"""`hookline doctor`: a line for each thing that a run needs, and what to do about what is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from hookline import checks
from hookline.cli import run
from hookline.doctor import Check, findings
from tasks.adapters.video.timeline import decode_timeline
from tasks.core.errors import HooklineError
from tasks.core.findings import Finding
from tasks.core.records import Timeline
from tasks.core.settings import Engine, Limits, Speech
from tests.s3 import Bucket, Disturbance, Fault
from tests.waiting import patience

pytest_plugins = ["tests.s3"]


def found_by(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Finding]]:
    code = run(["doctor", *arguments, "--json"])
    rows = json.loads(capsys.readouterr().out)
    return code, {row["about"]: Finding(**row) for row in rows}


def test_a_machine_that_is_ready_is_left_as_it_was(
    bucket: Bucket,
    demo_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bucket.put("videos/one.mp4")
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        f"fast: {{model: {demo_models}/videomae}}\nlimits: {{scratch_gb: 0.01}}\ndry_run: true\n"
    )
    (scratch := tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    options = [f"--settings={settings}", f"--deep.model={demo_models}/videollama3", "--engine.device=cpu"]
    options.append(f"--speech.model={demo_models}/whisper")
    monkeypatch.setattr(
        "hookline.own_server.EmbeddedServer.launch", lambda self: pytest.fail("a server starts")
    )
    code, found = found_by([f"{bucket.uri}/videos", f"{bucket.uri}/rankings", *options], capsys)
    assert {finding.about: finding.text for finding in found.values() if finding.status != "ok"} == {}
    assert code == 0
    assert list(found) == [
        *(
            "Python",
            "GPU",
            "Scratch",
            "Source",
            "Output",
            "Fast model",
            "Deep model",
            "Whisper",
            "Prefect",
            "Video",
        )
    ]
    assert "(engine.device is cpu)" in found["GPU"].text
    assert "conditional writes are heeded" in found["Output"].text
    assert bucket.names() == ["videos/one.mp4"]
    assert list(scratch.iterdir()) == []


def test_each_thing_that_is_wrong_is_said_with_the_fix(
    bucket: Bucket, network: Disturbance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network.faults.append(Fault("reply", method="PUT", times=10**6, status=403, code="AccessDenied"))
    (tmp_path / "empty").mkdir()
    options = [
        *("--limits.scratch_gb=50000", "--limits.max_file_gb=40000"),
        *("--engine.device=cuda", "--fast.model=owner-of-nothing"),
        *(f"--deep.model={tmp_path}/empty", "--deep.cache=redis://127.0.0.1:1/0"),
        f"--speech.model={tmp_path}/empty",
    ]
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        code, found = found_by(["s3://no-such-bucket", f"{bucket.uri}/out", *options], capsys)
    assert code == 1
    says = {
        "GPU": r"engine\.device is cuda, but 0 of 1 GPUs are seen here: .*nvidia-smi.*PyTorch",
        "Scratch": r"only .* GB are free in .*lower limits\.scratch_gb",
        "Source": r"s3://no-such-bucket: .*NoSuchBucket.*Check the bucket",
        "Output": rf"{bucket.uri}/out: .*AccessDenied.*Check that the credentials",
        "Fast model": r"There is no folder 'owner-of-nothing'\. Name",
        "Deep model": r"has no config\.json\. Name the folder",
        "Whisper": r"has no config\.json\. .*set speech\.transcribe to false",
        "Cache": r"Redis at 127\.0\.0\.1:1: .*Check that it runs",
        "Prefect": r"PREFECT_API_URL is http://127\.0\.0\.1:1/api, but no .* answers there: start it",
    }
    assert {about for about, finding in found.items() if finding.status == "wrong"} == set(says)
    for about, text in says.items():
        assert re.search(text, found[about].text), found[about]


def test_without_a_terminal_each_finding_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [
        Check("Here", lambda: Finding("Here", "ok", "[bold]as it is[/] " * 20), ""),
        Check("Cards", lambda: [Finding(f"GPU {n}", "note", "old") for n in range(2)], ""),
    ]
    monkeypatch.setattr("hookline.doctor.checks_of", lambda *_, **__: wanted)
    assert run(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"ok    Here       {'[bold]as it is[/] ' * 20}".rstrip() + " ",
        "note  GPU 0      old",
        "note  GPU 1      old",
        "SOURCE and OUTPUT not given, and so not checked.",
        "Nothing is wrong (3 checks, 2 with a note).",
    ]


def test_a_check_that_hangs_is_left_behind_and_the_exit_does_not_wait(tmp_path: Path) -> None:
    """Python's own way out waits for the threads of a pool, such as checks have, too."""
    script = """
import time
from concurrent.futures import ThreadPoolExecutor
from hookline import cli, doctor
def look():
    with ThreadPoolExecutor() as pool:
        pool.submit(time.sleep, 600)
doctor.checks_of = lambda *_, **__: [doctor.Check("Card", look, "See why.", 0.3)]
cli.main(["doctor"])
"""
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=patience(40), check=False
    )
    assert answer.returncode == 1, answer.stderr
    assert answer.stdout.splitlines()[0] == "wrong Card       no answer within 0.3 s. See why."


def test_what_nobody_foresaw_is_told_and_the_other_checks_go_on() -> None:
    assert findings(Check("X", lambda: [Finding("X", "ok", str(1 // 0))], "")) == [
        Finding("X", "wrong", "ZeroDivisionError: integer division or modulo by zero")
    ]


def test_a_gpu_that_was_named_but_cannot_be_used_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is tried by a process of its own, as in a run."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    (found,) = checks.check_gpus(Engine())
    assert found.status == "wrong"
    assert re.match(r"GPU 7 cannot be used\. .*(built without CUDA|driver)", found.text)


def test_a_cluster_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "DASK_LIMIT_S", 0.5)
    with pytest.raises(HooklineError, match="no Dask scheduler answers"):
        checks.check_dask(Engine(runner="dask", dask_address="tcp://127.0.0.1:1"))


@pytest.mark.usefixtures("prefect")
def test_a_prefect_server_says_which_it_is() -> None:
    found = checks.check_prefect()
    assert found.status == "ok"
    assert found.text.endswith(f"answers, with Prefect {version('prefect')}")


class OldServer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = b'"3.4.25"' if self.path.endswith("/version") else b"true"
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def old_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), OldServer) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


def test_a_prefect_server_that_is_older_is_a_note() -> None:
    with old_server() as url, temporary_settings({PREFECT_API_URL: url}):
        found = checks.check_prefect()
    assert found.status == "note"
    assert "is Prefect 3.4.25, older than" in found.text


def test_the_sample_is_heard_unless_nobody_wants_to(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[Timeline]()

    def noted(*what: Any, **how: Any) -> Timeline:
        made.append(decode_timeline(*what, **how))
        return made[-1]

    monkeypatch.setattr("tasks.adapters.video.timeline.decode_timeline", noted)
    for enabled in (True, False):
        assert checks.check_video(Limits(), Speech(enabled=enabled)).status == "ok"
        assert {timeline.loudness is not None for timeline in made} == {enabled}
        made.clear()


def test_a_check_that_was_let_wait_in_vain_says_by_whom() -> None:
    def wait() -> Finding:
        raise TimeoutError("the scheduler did not answer")

    (found,) = findings(Check("Dask", wait, "Look at it."))
    assert found == Finding("Dask", "wrong", "TimeoutError: the scheduler did not answer")


def test_an_ffmpeg_that_lacks_what_is_needed_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program in ffmpeg's place, which answers as one does that was built without a filter."""
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho \"No such filter: 'lut3d'\" >&2\nexit 8\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    (found,) = findings(Check("Video", lambda: checks.check_video(Limits(), Speech()), ""))
    assert found.status == "wrong"
    assert "could not be decoded and cut" in found.text
    assert f"with ffmpeg at {program}. Unset IMAGEIO_FFMPEG_EXE" in found.text
