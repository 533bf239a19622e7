"""Whatever a file says, no decoder opens another file or a connection; the child is held by the kernel."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from tasks.adapters.stopping import stop_work
from tasks.adapters.video import decode_ffmpeg
from tasks.adapters.video.forkserver import MAX_OPEN_FILES
from tasks.adapters.video.probe import Probe, open_video
from tasks.adapters.video.sandbox import CHILD_ENV, ENV_ALLOWLIST
from tasks.adapters.video.shaping import frame_filters
from tasks.core.colours import Colours
from tasks.core.errors import RunEnded, VideoRefused
from tests.adapters.video.test_timeline import LIMITS, processes_in, slow_video, timeline_of
from tests.hostile import HOSTILE, Watch, watching
from tests.media import numbered_video
from tests.waiting import patience

NAMES = ["video", "a.mp4", "a.m3u8", "a.mov", "a.webm", "a.avi"]
"""A file is opened under a fixed name, but nothing may depend on it."""

PROBE = Probe(
    container="mov,mp4,m4a,3gp,3g2,mj2",
    codec="h264",
    stream=0,
    video_streams=1,
    width=160,
    height=96,
    quarter_turns=0,
    time_base=Fraction(1, 25),
    pts=array("q", [0, 25]),
    stored=array("q", [0, 25]),
    packet_flags=b"",
    in_order=True,
    offset_us=0,
    end_s=Fraction(2),
    damage=None,
    colours=Colours(1, 1),
)
"""What the probe would have to say for such a file to reach ffmpeg."""


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    (tmp_path / "elsewhere").mkdir()
    with watching(tmp_path / "elsewhere") as watch:
        yield watch


def test_the_watch_sees_what_is_opened_and_who_calls(watch: Watch) -> None:
    assert watch.touched() == []
    watch.canary.read_bytes()
    socket.create_connection(watch.listener.getsockname()).close()
    assert watch.touched() == ["the canary was opened", "a connection was made"]
    assert watch.touched() == []


UNGUARDED = {
    "hls": ["-allowed_extensions", "ALL", "-extension_picky", "0"],
    "hls_key": ["-allowed_extensions", "ALL", "-extension_picky", "0"],
    "concat": ["-safe", "0"],
    "dash": [],
    "external_reference": ["-enable_drefs", "1"],
}
"""The files that ffmpeg follows, with the options that let it; of the others it knows no such format."""


@pytest.mark.parametrize(("name", "options"), UNGUARDED.items(), ids=UNGUARDED)
def test_without_our_guards_the_file_that_it_names_is_opened(
    tmp_path: Path, watch: Watch, name: str, options: list[str]
) -> None:
    source = HOSTILE[name](tmp_path / "a.m3u8", target=watch.canary.as_uri())
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-protocol_whitelist", "file,crypto,concat"]
    subprocess.run(
        [*command, *options, "-i", source, "-f", "null", "-"],
        capture_output=True,
        timeout=patience(30),
        check=False,
    )
    assert watch.touched() == ["the canary was opened"]


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("target", ["file", "url"])
def test_nothing_a_file_names_is_opened(tmp_path: Path, watch: Watch, make: object, target: str) -> None:
    assert callable(make)
    named = watch.url if target == "url" else watch.canary.as_uri()
    source = make(tmp_path / "video", target=named)
    with pytest.raises(VideoRefused):
        timeline_of(source)
    assert watch.touched() == []


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_no_library_opens_it_even_without_the_look_at_its_first_bytes(
    tmp_path: Path, watch: Watch, make: object
) -> None:
    assert callable(make)
    targets = (watch.canary.as_uri(), watch.url, "../elsewhere/canary.mp4")
    for name, named in product(NAMES, targets):
        source = make(tmp_path / name, target=named)
        try:
            with open_video(source) as container:
                for packet in container.demux():
                    packet.decode()
        except (av.FFmpegError, ValueError):
            pass
        if name == "video":  # a process each
            filters = frame_filters(32, 32, quarter_turns=0)
            command = decode_ffmpeg.command(source, PROBE, filters, fps=1, n_ticks=2, threads=1)
            done = subprocess.run(
                command, capture_output=True, timeout=patience(30), check=False, cwd=tmp_path
            )
            assert done.stdout == b""
        assert watch.touched() == []


@pytest.mark.parametrize(
    "name",
    [
        "new\nline.mp4",
        "%d.mp4",
        "%03d.mp4",
        "-i.mp4",
        "-vf",
        "a:b.mp4",
        "concat:a|b",
        "視頻 ü.mp4",
        "x" * 250,
    ],
)
def test_a_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    source = numbered_video(tmp_path / "plain.mp4", seconds=2)
    timeline = timeline_of(source.rename(tmp_path / name))
    assert timeline.n_ticks == 2


def test_the_child_is_held_by_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    monkeypatch.setenv("HOOKLINE_REDIS_PASSWORD", "canary-secret")
    source = slow_video(tmp_path / "a.avi")
    with ThreadPoolExecutor(1) as pool:
        decoding = pool.submit(timeline_of, source)
        until = time.monotonic() + 60
        while len(held := held_in(tmp_path)) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        stop_work(tmp_path)
        with pytest.raises(RunEnded):
            decoding.result(timeout=patience(10))
    assert len(held) == 2  # Python and its ffmpeg
    for limits, environment, network in held:
        assert limits["Max open files"] == MAX_OPEN_FILES
        assert limits["Max address space"] == LIMITS.memory_bytes
        assert limits["Max core file size"] == 0
        assert LIMITS.max_frames_bytes < limits["Max file size"] < 1.1 * LIMITS.max_frames_bytes
        assert set(environment) <= {*ENV_ALLOWLIST, *CHILD_ENV, "PYTHONPATH", "LC_CTYPE"}
        assert "canary-secret" not in environment.values()
        assert (network != Path("/proc/self/ns/net").readlink()) == a_process_may_leave_the_network()


def held_in(folder: Path) -> list[tuple[dict[str, float], dict[str, str], Path]]:
    """Limits, environment and network of each process in a folder; of one that ends meanwhile, nothing."""
    held = []
    for number in processes_in(folder):
        process = Path("/proc", number)
        with suppress(FileNotFoundError, ProcessLookupError):
            held.append((limits_of(process), environment_of(process), (process / "ns" / "net").readlink()))
    return held


def limits_of(process: Path) -> dict[str, float]:
    """The soft limits of a process, as proc(5) tells them."""
    found = {}
    for line in (process / "limits").read_text().splitlines()[1:]:
        value = line[26:].split()[0]
        found[line[:26].strip()] = float("inf") if value == "unlimited" else int(value)
    return found


def environment_of(process: Path) -> dict[str, str]:
    lines = (process / "environ").read_bytes().decode().split("\0")
    return dict(line.split("=", 1) for line in lines if line)


@cache
def a_process_may_leave_the_network() -> bool:
    """Whether the system allows it, to root or in a user namespace: tried without any code of ours."""
    script = "import ctypes; leave = ctypes.CDLL(None).unshare;"
    script += "raise SystemExit(3 if leave(0x40000000) and leave(0x50000000) else 0)"
    code = subprocess.run([sys.executable, "-c", script], check=False).returncode
    assert code in (0, 3)
    return code == 0
