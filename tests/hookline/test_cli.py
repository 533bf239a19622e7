"""The command line: what it prints, and what it exits with."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from pydantic import BaseModel
from safetensors.numpy import save

from hookline.cli import run
from tasks.core.settings import Settings
from tests import FIXTURES
from tests.media import numbered_video
from tests.prefect_home import environment_of_a_user
from tests.s3 import Bucket
from tests.waiting import patience, wait_for

pytest_plugins = ["tests.s3"]

PUBLISHED = FIXTURES / "published-schema-2"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    numbered_video(folder / "one.mp4", seconds=9)
    numbered_video(folder / "[red]two.mp4", seconds=9)
    return folder


def quick(models: Path) -> list[str]:
    return [
        f"--fast.model={models}/videomae",
        f"--deep.model={models}/videollama3",
        "--speech.transcribe=false",
        "--deep.max_new_tokens=160",
        "--windows.window_seconds=5",
        "--ranking.top_n=2",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rank", "videos"], "OUTPUT"),
        (["rank", "videos", "out", "--ranking.top 3"], "Unknown option"),
        (["rank", "videos", "out", "--rankng.top_n", "3"], "Did you mean --ranking.top_n?"),
        (["rank", "videos", "out", "--setings", "a.yaml"], "Did you mean --settings?"),
        (
            ["rank", "videos", "out", "--ranking.top_n", "0"],
            "hookline: ranking.top_n: Input should be",
        ),
        (["rank", "videos", "out", "--ranking.top_n", "many"], "not 'many'"),
        (["rank", "videos", "out", "--ranking.deep_weight", "0.7"], "set fast_weight to 0.3"),
        (["rank", "videos", "out", "--settings", "nowhere.yaml"], "nowhere.yaml: there is no such file"),
        (["rnk"], 'Did you mean "rank"'),
        (["rank", "gs://bucket", "out"], "s3://bucket/prefix, or a folder"),
    ],
    ids=str,
)
def test_bad_arguments_exit_with_2_and_name_the_setting(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def paths(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """The path of every setting below `model`, as options name it."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from paths(field.annotation, f"{before}{name}.")
        else:
            yield before + name


def test_help_lists_every_setting_by_its_path(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["rank", "--help"]) == 0
    printed = capsys.readouterr().out
    every = [path for path in paths(Settings) if path not in ("source", "output")]
    assert len(every) > 35
    assert [path for path in every if f"--{path}" not in printed] == []
    text = " ".join(printed.replace("│", " ").split())
    assert all(f"[default: {value}]" in text for value in ("59", "0.6", "true", "auto", "0"))
    assert not any(f"[default: {value}]" in text for value in ("False", '""', "None", "(59,)"))


@pytest.mark.usefixtures("prefect")
def test_rank_prints_the_ranking_and_show_prints_it_again(
    videos: Path, demo_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rank", str(videos), str(tmp_path), *quick(demo_models), "--ranking.duplicates=keep"]) == 0
    ranked = capsys.readouterr()
    assert re.search(r"\[red\]two.mp4 +1 0:0\d 0:0\d", ranked.out)
    assert "Completed: 2 of 2 videos ranked" in ranked.out
    for line in ("finding the models", "loading VideoMAE", "loading VideoLLaMA3", "one.mp4: "):
        assert re.search(rf"^0:0\d:\d\d \S*{line}", ranked.err, flags=re.MULTILINE)
    assert run(["show", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ranked.out


@pytest.mark.usefixtures("prefect")
def test_settings_come_from_a_file_and_options_win(
    videos: Path, demo_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("select: {limit: 1}\nranking: {deep_weight: 0.5, top_n: 1}\ndry_run: true\n")
    command = [
        "rank",
        str(videos),
        str(tmp_path / "out"),
        "--settings",
        str(file),
        "--ranking.fast_weight=0.5",
    ]
    assert run(command) == 0
    assert "Dry run: 1 new; " in capsys.readouterr().out
    assert run([*command, "--select.limit=0"]) == 0
    assert "Dry run: 2 new; " in capsys.readouterr().out


@pytest.mark.logs_error
@pytest.mark.usefixtures("prefect")
def test_nothing_to_rank_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "talk.pptx").touch()
    assert run(["rank", str(tmp_path), str(tmp_path / "out")]) == 1
    errors = " ".join(capsys.readouterr().err.split())
    assert "No video under" in errors
    assert "1 file that select.pattern does not take (1 .pptx)" in errors


@pytest.mark.logs_error
@pytest.mark.usefixtures("prefect")
@pytest.mark.parametrize(("bearable", "code"), [(0.4, 1), (1.0, 3)])
def test_videos_that_cannot_be_used_are_listed_and_told_by_the_exit_code(
    bearable: float, code: int, tmp_path: Path, demo_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 where they are more than `limits.max_failed_fraction` allows, else 3; the rest is published."""
    (tmp_path / "videos").mkdir()
    numbered_video(tmp_path / "videos" / "one.mp4", seconds=6)
    (tmp_path / "videos" / "none.mp4").touch()
    options = [*quick(demo_models), "--deep.enabled=false", f"--limits.max_failed_fraction={bearable}"]
    assert run(["rank", str(tmp_path / "videos"), str(tmp_path / "out"), *options]) == code
    assert re.search(r"none.mp4 +empty", capsys.readouterr().out)
    assert len([*tmp_path.glob("out/rankings/*/*.parquet")]) == 1


@pytest.mark.usefixtures("prefect")
@pytest.mark.parametrize("option", ["--dry_run", "-v"])
def test_a_run_says_what_it_leaves_out(
    option: str, tmp_path: Path, demo_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clips").mkdir()
    numbered_video(tmp_path / "clips" / "one.m4v", seconds=6)
    for name in ("one.srt", "._one.m4v"):
        (tmp_path / name).write_text("x")
    options = [option, *quick(demo_models), "--deep.enabled=false", "--publish.report=false"]
    assert run(["rank", str(tmp_path), str(tmp_path), *options]) == 0
    printed = capsys.readouterr().out
    assert "Left out: 1 file that select.pattern does not take (1 .srt), 1 hidden file" in printed
    assert (f"  file://{tmp_path}/._one.m4v" in printed) is (option == "-v")
    assert ("new: 1 video\nto open: 1 video, " in printed) is (option == "--dry_run")


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("source", "output"), [("nowhere", "out"), ("s3://nowhere", "out"), (".", "s3://nowhere/out")]
)
def test_a_missing_source_or_output_is_found_before_prefect_starts(
    source: str,
    output: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hookline.run.prefect_server", lambda **_: pytest.fail("Prefect is started"))
    assert run(["rank", source, output]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert re.search(r"/nowhere\S*: .*(no file or folder|NoSuchBucket)", said)


def test_show_without_a_ranking_says_how_to_get_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", str(tmp_path)]) == 1
    assert "hookline rank" in capsys.readouterr().err


@pytest.fixture
def embedded(home: Path, tmp_path: Path, demo_models: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `hookline rank` in a process of its own."""
    # What was started in the background ignores Ctrl-C; so would its children.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    entry_point = f"{heed}; import sys; from hookline.cli import main; main(sys.argv[1:])"

    def start(videos: Path) -> subprocess.Popen[str]:
        arguments = [str(videos), str(tmp_path / "out"), *quick(demo_models)]
        return subprocess.Popen(
            [sys.executable, "-c", entry_point, "rank", *arguments, f"--limits.scratch_dir={tmp_path}"],
            env=environment_of_a_user(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    yield start
    wait_for(lambda: not processes_of(home), 15, or_say=lambda: "a process outlived its run")


def test_an_interrupted_run_publishes_nothing_and_leaves_no_process(
    embedded: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    numbered_video(tmp_path / "videos" / "long.mp4", seconds=120, fps="5")
    with embedded(tmp_path / "videos") as process:
        wait_for(lambda: any(tmp_path.glob("hookline-*/*/*/frames.rgb")), 120)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=patience(60))
    assert (process.returncode, printed) == (130, "")
    assert errors.splitlines()[-1] == "hookline: interrupted"
    assert "Traceback" not in errors
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".hookline"]
    assert [path.name for path in tmp_path.glob("hookline-*/*")] == ["lock"]


def processes_of(home: Path) -> list[Path]:
    """Processes whose environment names this Prefect home."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if str(home).encode() in path.read_bytes():
                found.append(path)
    return found


def test_a_prefect_server_that_does_not_answer_is_named(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        assert run(["rank", str(videos), str(tmp_path / "out")]) == 1
    assert "PREFECT_API_URL is http://127.0.0.1:1/api" in " ".join(capsys.readouterr().err.split())


def test_a_command_that_has_ended_takes_nothing_apart_but_removes_models_of_a_store(
    tmp_path: Path, bucket: Bucket
) -> None:
    """What its process has imported costs it a second then. What it has downloaded is gigabytes."""
    bucket.put("model/config.json", b"{}")
    bucket.put("model/model.safetensors", save({"w": np.zeros(1, np.float32)}))
    program = f"""
import atexit, sys
import prefect
from hookline.cli import main
from tasks.adapters.models.checkpoints import resolve_checkpoint
atexit.register(print, "taken apart")
print(resolve_checkpoint("{bucket.uri}/model").path)
main(["--version"])
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    path, said = answer.stdout.splitlines()
    assert path.startswith(f"{tmp_path}/hookline-model-")
    assert said == version("hookline")
    assert [*tmp_path.glob("hookline-model-*")] == []


@pytest.mark.parametrize("is_configured", [True, False])
def test_a_prefect_server_without_its_database_ends_the_run_with_words(
    is_configured: bool,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is healthy, and refuses all else. The run was ended at once, by a traceback.

    Nobody is sent to look at a server that they did not start, nor is that one waited for.
    """
    asked: list[str] = []
    with server_without_database(asked) as url:
        monkeypatch.setattr("hookline.embedded.LingeringServer", lambda _: OwnServer(f"{url}/api"))
        configured = {PREFECT_API_URL: f"{url}/api" if is_configured else None}
        with temporary_settings({**configured, PREFECT_CLIENT_MAX_RETRIES: 1}):
            assert run(["rank", str(videos), str(tmp_path / "out"), "--dry_run"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"The Prefect server at {url}/api broke off (500 Internal Server Error): " in said
    assert ("): look at it and its database, and run this again. What" in said) is is_configured
    assert ("): run this again. What" in said) is not is_configured
    assert (asked[-2:] == 2 * asked[-1:]) is is_configured


@dataclass
class OwnServer:
    """Stands in for the server that a run starts, and is there already."""

    api_url: str

    def launch(self) -> None: ...

    def wait(self) -> None: ...

    def stop(self) -> str:
        return ""


@contextmanager
def server_without_database(asked: list[str]) -> Iterator[str]:
    """What a Prefect server answers whose database is away, for the block; `asked` is what it refuses."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200 if self.path == "/api/health" else 500)

        def do_POST(self) -> None:
            self.answer(500)

        def answer(self, status: int) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.extend([self.path] * (status == 500))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.mark.parametrize("options", [["--csv"], []], ids=["csv", "table"])
def test_a_reader_that_leaves_is_no_error(options: list[str]) -> None:
    """As `head` does. What was to be said until then is said by nobody, also when Python ends."""
    reading, writing = os.pipe()
    os.close(reading)
    program = "import sys; from hookline.cli import run; code = run(sys.argv[1:]); sys.exit(code + 10)"
    command = [sys.executable, "-c", program, "show", str(PUBLISHED), *options]
    answer = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (answer.returncode, answer.stderr) == (11, "")


@pytest.mark.parametrize("module", ["hookline", "hookline.cli"])
def test_the_command_line_is_a_module_too(module: str) -> None:
    """It did nothing and exited with 0 as `hookline.cli`."""
    answer = subprocess.run([sys.executable, "-m", module, "rank", "only-a-source"], capture_output=True)
    assert answer.returncode == 2
    assert b"hookline:" in answer.stderr
