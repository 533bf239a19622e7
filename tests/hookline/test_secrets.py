"""What a run is told in secret is in nothing that it prints, logs, records or publishes."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hookline.cli import run
from hookline.lingering import NOTE, VARIABLE
from tests.hookline.test_cli import quick
from tests.library import upload, write_broken_videos, write_good_videos
from tests.media import numbered_video
from tests.prefect_home import environment_of_a_user
from tests.s3 import SECRET_KEY, Bucket, Server
from tests.waiting import patience

pytest_plugins = ["tests.s3"]

CANARIES = {
    "AWS_SECRET_ACCESS_KEY": "canary-secret-key",
    "AWS_SESSION_TOKEN": "canary-session-token",
    "HOOKLINE_REDIS_PASSWORD": "canary-redis-password",
    "HF_TOKEN": "canary-hub-token",
}


def hookline(home: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    """Runs the command with everything logged; returns its exit code, and what it printed."""
    environment = environment_of_a_user(home) | CANARIES | variables
    environment |= {"PREFECT_LOGGING_LEVEL": "DEBUG", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "DEBUG"}
    program = [sys.executable, "-c", "from hookline.cli import main; main()"]
    done = subprocess.run(
        [*program, *arguments], env=environment, capture_output=True, timeout=patience(250), check=False
    )
    return done.returncode, (done.stdout + done.stderr).decode()


def told(printed: str, home: Path, bucket: Bucket) -> list[str]:
    """All that a run left anywhere, as text."""
    texts = [printed]
    texts += [path.read_bytes().decode(errors="replace") for path in home.rglob("*") if path.is_file()]
    for name in bucket.names():
        content = bucket.get(name)
        texts.append(content.decode(errors="replace"))
        if name.endswith(".parquet"):
            table = pq.ParquetFile(pa.BufferReader(content)).read()
            texts += [str(table.to_pylist()), str(table.schema.metadata)]
    return texts


def test_an_embedded_run_tells_its_result_and_no_secret_calls_nobody_and_loses_no_history(
    bucket: Bucket, demo_models: Path, home: Path, tmp_path: Path
) -> None:
    write_good_videos(tmp_path / "videos")
    write_broken_videos(tmp_path / "videos")
    upload(tmp_path / "videos", bucket, "in")
    code, printed = hookline(
        home,
        "rank",
        f"{bucket.uri}/in",
        f"{bucket.uri}/out",
        *quick(demo_models),
        "--deep.cache=redis://127.0.0.1:1/0",
        f"--limits.scratch_dir={tmp_path}",
        **{VARIABLE: "60"},
    )
    assert code == 3
    server = psutil.Process(json.loads((home / NOTE).read_bytes())["pid"])  # it lingers, and all is there
    assert "CompletedWithFailures: 3 of 8 videos ranked, 5 rejected, 0 failed" in " ".join(printed.split())
    check_history(home)
    texts = told(printed, home, bucket)
    assert any("first.mp4" in text for text in texts[1:])
    for name, secret in CANARIES.items():
        assert not [text[:200] for text in texts if secret in text], name
    server.terminate()
    server.wait(patience(30))


def check_history(home: Path) -> None:
    """The server of the run has written down all of it before the command ended."""
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        newest = "select id, state_name from flow_run order by start_time desc limit 1"
        ((flow_run, flow_state),) = database.execute(newest)
        task_states = database.execute(
            "select name, state_type from task_run where flow_run_id = ?", [flow_run]
        ).fetchall()
    assert flow_state == "CompletedWithFailures"
    kinds = [name.split()[0] for name, state in task_states if state == "COMPLETED"]
    counts = Counter(kinds)
    assert 1 <= counts.pop("open") <= 8  # some of them together
    assert counts == {**dict.fromkeys(("list", "read", "publish"), 1), "find": 2, "load": 2}
    assert len(kinds) == len(task_states)


@pytest.mark.parametrize("place", ["source", "output"])
def test_a_run_that_cannot_begin_tells_no_secret(
    aws: Server, home: Path, tmp_path: Path, demo_models: Path, place: str
) -> None:
    (tmp_path / "in").mkdir()
    numbered_video(tmp_path / "in" / "film.mp4", seconds=6)
    nowhere = f"http://canary-user:{SECRET_KEY}@127.0.0.1:1"
    source, output = (
        ("s3://bucket/in", str(tmp_path)) if place == "source" else (str(tmp_path / "in"), "s3://b/o")
    )
    code, printed = hookline(home, "rank", source, output, *quick(demo_models), AWS_ENDPOINT_URL=nowhere)
    assert code == 1
    assert "Check the" in printed
    recorded = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    for secret in ["canary-user", SECRET_KEY, *CANARIES.values()]:
        assert secret not in printed
        assert not any(secret.encode() in content for content in recorded)


@pytest.mark.parametrize(
    "uri", ["s3://AKIA:canary-secret-key@bucket/a", "s3://b/a?X-Amz-Signature=canary-secret-key"]
)
def test_a_secret_in_an_argument_is_refused_and_not_repeated(
    uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        (["rank", uri, "out"], "AWS_PROFILE"),
        (["rank", "in", uri], "AWS_PROFILE"),
        (["show", uri], "AWS_PROFILE"),
        (["rank", "in", "out", "--fast.model", uri], "fast.model"),
    ):
        assert run(arguments) in (1, 2)
        printed = "".join(capsys.readouterr())
        assert words in printed
        assert "canary-secret-key" not in printed
