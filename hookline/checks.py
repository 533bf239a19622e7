"""Checks of what belongs to no room alone: this Python, the GPUs' processes, Dask, Prefect, video files."""

from __future__ import annotations

import platform
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from hookline.own_server import check_healthy
from tasks.adapters.models.checkup import check_this_gpu
from tasks.adapters.models.gpus import find_gpus
from tasks.adapters.workers.processes import GpuProcesses
from tasks.core.amounts import number_of
from tasks.core.errors import DecodeFailed, HooklineError, ModelError, VideoRefused, WorkerLost
from tasks.core.findings import Finding
from tasks.core.geometry import FrameBudget
from tasks.core.records import VideoRef
from tasks.core.settings import Engine, Limits, Publish, Speech
from tasks.core.views.pictures import Cut

PACKAGES = ("hookline", "torch", "transformers", "prefect", "av")

GPU_LIMIT_S = 30.0
"""How long a process may take to import PyTorch, on a new machine from a cold disk, and to use a GPU."""

DASK_LIMIT_S = 5.0
SANDBOX_LIMIT_S = 12.0

DECODERS = ("pyav", "ffmpeg")
"""Those that are given HDR: libraries of FFmpeg, and its program."""

SAMPLE_PICTURES, SAMPLE_RATE = 20, 10
PQ, BT2020, BT2020_MATRIX = 16, 9, 9
"""Codes of ITU-T H.273."""


def check_python() -> Finding:
    """Whether this Python and machine are ones that Hookline is made for."""
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return Finding("Python", "wrong", f"{found}: Hookline runs on Linux x86_64 only. ({packages})")
    return Finding("Python", "ok", f"{found}; {packages}")


def check_gpus(engine: Engine) -> list[Finding]:
    """What each process sees that a run would start: a GPU of its own, or the CPU.

    Raises:
        ModelError: `engine.device` is cuda, and there are too few GPUs.
    """
    try:
        gpus = find_gpus(engine.gpu_workers, device=engine.device) or [""]
    except ModelError as error:
        from tasks.adapters.models.devices import why_unusable  # takes seconds

        raise ModelError(f"{error} {why_unusable()}".rstrip()) from error
    with ThreadPoolExecutor(len(gpus)) as pool:
        findings = list(pool.map(partial(_check_gpu, wanted=engine.device), gpus))
    if len(findings) == 1:
        return findings
    return [Finding(f"GPU {number}", found.status, found.text) for number, found in enumerate(findings)]


def _check_gpu(gpu: str, *, wanted: str) -> Finding:
    process = GpuProcesses([gpu], deadline_s=GPU_LIMIT_S)
    try:
        return process.call(check_this_gpu, wanted)
    except HooklineError as error:
        late = isinstance(error, WorkerLost) and error.reason == "deadline"
        said = f"no answer within {GPU_LIMIT_S:g} s. See whether nvidia-smi answers." if late else str(error)
        return Finding("GPU", "wrong", f"GPU {gpu} cannot be used. {said}" if gpu else said)
    finally:
        process.close()


def check_dask(engine: Engine) -> Finding:
    """Whether there is a cluster, with workers that can be given work or none.

    Raises:
        HooklineError: no scheduler answers, or all workers have a memory limit.
    """
    try:
        from tasks.adapters.workers.dask_cluster import DaskCluster
    except ImportError as error:
        raise HooklineError(
            f"engine.runner dask needs Dask ({error}): pip install 'hookline[dask]'."
        ) from error
    cluster = DaskCluster(engine.dask_address, timeout_s=DASK_LIMIT_S)
    gpus = sum(cluster.workers().values())
    cluster.client.close()  # type: ignore[no-untyped-call]
    if not gpus:
        return Finding("Dask", "note", cluster.no_worker)
    offered = f"{number_of(gpus, 'worker')} with a GPU"
    return Finding(
        "Dask", "ok", f"{engine.dask_address} has {offered}; run `hookline doctor` on each machine"
    )


def check_prefect() -> Finding:
    """Whether the configured Prefect server answers, and is as new as Prefect is here; none is started.

    Raises:
        HooklineError: it does not answer.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME

    home = Path(PREFECT_HOME.value())
    with suppress(OSError):
        home.rmdir()  # to import Prefect makes it; nothing happens where there is something in it
    if not (url := PREFECT_API_URL.value()):
        return Finding(
            "Prefect", "ok", f"no server is set: each run starts one for itself, with its data in {home}"
        )
    check_healthy(url)
    with get_client(sync_client=True) as client:
        theirs, ours = client.api_version(), version("prefect")
    if _release(theirs) < _release(ours):
        older = f"the server at {url} is Prefect {theirs}, older than {ours} here: update it"
        return Finding("Prefect", "note", older)
    return Finding("Prefect", "ok", f"the server at {url} answers, with Prefect {theirs}")


def _release(prefect: str) -> list[int]:
    """Major and minor number, which tell what a client may ask of a server."""
    return [int(number) for number in prefect.split(".")[:2]]


def check_video(limits: Limits, speech: Speech) -> Finding:
    """Whether an HDR video can be decoded and heard, and a clip of it cut, in the sandbox.

    Raises:
        HooklineError: it cannot.
    """
    import imageio_ffmpeg

    with tempfile.TemporaryDirectory(prefix="hookline-") as folder:
        try:
            _decode_and_cut(Path(folder), memory_bytes=int(limits.memory_gb * 10**9), speech=speech)
        except (VideoRefused, DecodeFailed) as error:
            raise HooklineError(
                f"a sample of HDR with sound, made here, could not be decoded and cut ({error}) with ffmpeg "
                f"at {imageio_ffmpeg.get_ffmpeg_exe()}. Unset IMAGEIO_FFMPEG_EXE, or install Hookline again."
            ) from error
    return Finding("Video", "ok", "a sample of HDR with sound is decoded, and a clip of it is cut")


def _decode_and_cut(folder: Path, *, memory_bytes: int, speech: Speech) -> None:
    from tasks.adapters.video.clips.cutting import cut_clip
    from tasks.adapters.video.timeline import DecodeLimits, decode_timeline

    sample = folder / "source" / "sample.mkv"
    sample.parent.mkdir()
    write_sample(sample)
    video = VideoRef(sample.as_uri(), "", sample.stat().st_size)
    budget = FrameBudget(min_pixels=64 * 64, max_pixels=128 * 128, multiple_of=2)
    limits = DecodeLimits(SANDBOX_LIMIT_S, memory_bytes, max_duration_s=60, max_frames_bytes=10**8)
    threshold = speech.threshold if speech.enabled else None
    for decoder in DECODERS:
        timeline = decode_timeline(
            *(sample, video, folder),
            fps=2,
            budget=budget,
            limits=limits,
            speech_threshold=threshold,
            decoder=decoder,
        )
        if timeline.sound_damage:
            raise DecodeFailed(timeline.sound_damage, reason="sound_unreadable")
    cut_clip(
        sample,
        folder,
        Cut(start_s=0.5, end_s=1.5, poster_s=1.0),
        name=sample.name,
        deadline_s=SANDBOX_LIMIT_S,
        memory_bytes=memory_bytes,
    )


def check_clips(publish: Publish) -> Finding:
    """Whether what makes the clips and timelines that are wanted is installed."""
    from tasks.work.media import check_installed  # takes PyAV, and most runs need no such check

    check_installed(publish)
    return Finding("Clips", "ok", "what makes the clips and timelines that are wanted is installed")


def write_sample(path: Path) -> None:
    """Write two seconds of HDR (PQ) with sound."""
    import av

    with av.open(str(path), "w") as file:
        picture = file.add_stream("ffv1", rate=SAMPLE_RATE)
        picture.width, picture.height, picture.pix_fmt = 128, 96, "yuv420p10le"
        coding = picture.codec_context
        coding.color_primaries, coding.color_trc, coding.colorspace = BT2020, PQ, BT2020_MATRIX
        sound = file.add_stream("pcm_s16le", rate=8000)
        for number in range(SAMPLE_PICTURES):
            frame = av.VideoFrame.from_ndarray(np.full((96, 128, 3), number * 8, np.uint8), "rgb24")
            file.mux(picture.encode(frame.reformat(format="yuv420p10le")))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000 * 2), np.int16), "s16", "mono")
        silence.rate = 8000
        file.mux(sound.encode(silence))
        file.mux([*picture.encode(None), *sound.encode(None)])
