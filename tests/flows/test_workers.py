"""The same ranking comes out wherever the models are, and workers that die take no result with them."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect import flow

from flows.rank_videos import rank_videos
from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.storage.scratch import leave_run, scratch_base
from tasks.adapters.workers.dask import DaskWorkers
from tasks.adapters.workers.processes import GpuProcesses, Workers
from tasks.core.errors import RunEnded, WorkerLost
from tasks.core.records import Timeline, VideoRef, Window
from tasks.core.settings import Settings
from tasks.run.run import Run
from tasks.score import score_windows
from tasks.work.models import check_fast_model
from tests.adapters.video.test_timeline import slow_video
from tests.calls import die, work_until_stopped
from tests.cluster import Cluster, cluster, runs
from tests.library import quick_settings, read_table, rows_without, write_broken_videos, write_good_videos
from tests.media import numbered_video
from tests.spec import make_spec
from tests.waiting import patience, wait_for

pytestmark = pytest.mark.usefixtures("prefect")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_good_videos(folder)
    write_broken_videos(folder)
    return folder


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster"), workers=2) as made:
        yield made


def rank(videos: Path, output: Path, models: Path, **engine: Any) -> dict[str, Any]:
    return rank_with(quick_settings(videos, output, models, engine=engine))


def rank_with(settings: Settings) -> dict[str, Any]:
    state = rank_videos(settings, return_state=True)
    manifest = state.result(raise_on_failure=False)
    assert isinstance(manifest, dict), manifest
    return manifest


def rows(output: Path, manifest: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Rows that compare between runs: who shared a batch with whom is said, and shows in the last digits."""
    table = read_table(output, kind, manifest["run_id"])
    found = rows_without(table, "run_id", *({"models"} & set(table.column_names)))
    for row in found:
        if answer := row.get("videollama3"):
            del answer["batch_size"]
            answer.update({name: round(answer[name], 2) for name in answer if name.startswith("expected")})
    return found


@pytest.fixture(scope="module")
def here(
    videos: Path, demo_models: Path, prefect: None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[dict[str, Any]]]:
    """The rows of a run that does everything in its own process."""
    output = tmp_path_factory.mktemp("here")
    manifest = rank(videos, output, demo_models)
    return {kind: rows(output, manifest, kind) for kind in ("rankings", "failures")}


def test_two_gpu_processes_rank_as_one_does_though_one_dies_while_it_loads_and_one_over_its_analyses(
    videos: Path, demo_models: Path, here: dict[str, Any], tmp_path: Path
) -> None:
    with (
        killing(lambda: gpu_processes()[1:]) as loading,  # the second is started to load the model
        killing(gpu_processes, once=analyses_in(tmp_path)) as analysing,
    ):
        manifest = rank(videos, tmp_path, demo_models, gpu_workers=2)
    assert len({*loading, *analysing}) == 2
    assert {kind: rows(tmp_path, manifest, kind) for kind in here} == here


def test_a_cluster_ranks_as_one_process_does_though_a_worker_dies_and_each_opens_videos(
    videos: Path, demo_models: Path, here: dict[str, Any], dask: Cluster, tmp_path: Path
) -> None:
    joined = dask.joined()
    with killing(dask.working, once=analyses_in(tmp_path)) as killed:
        manifest = rank(videos, tmp_path, demo_models, runner="dask", dask_address=dask.address)
    assert len(killed) == 1
    dask.wait_until_joined(joined + 1)  # the next test counts on both
    assert {kind: rows(tmp_path, manifest, kind) for kind in here} == here
    killed_here, lived_here = ([*dask.folder.glob(f"worker-{n}/hookline-*/worker-*/")] for n in range(2))
    assert killed_here
    assert lived_here
    assert not any(any(folder.iterdir()) for folder in lived_here)  # the run took its videos along


def test_on_a_cluster_a_video_over_its_deadline_is_one_failure_and_ends_no_worker(
    demo_models: Path, dask: Cluster, tmp_path: Path
) -> None:
    """The decoder of one video is stopped, and stays so; the models have been loaded before."""
    videos, output = tmp_path / "videos", tmp_path / "output"
    videos.mkdir()
    numbered_video(videos / "short.mp4", seconds=9)
    slow_video(videos / "slow.avi")
    spec = make_spec(videos, fast=resolve_checkpoint(str(demo_models / "videomae")))
    with closing(DaskWorkers(dask.address, deadline_s=300)) as workers:
        for worker in [workers.assign(number) for number in range(2)]:
            workers.call(check_fast_model, spec, prefer=worker)
    settings = quick_settings(
        videos,
        output,
        demo_models,
        engine={"runner": "dask", "dask_address": dask.address},
        limits={"deadline_seconds": 10},
        deep={"enabled": False},
    )
    joined = dask.joined()
    with killing(lambda: slow_decoders(dask), by=signal.SIGSTOP) as stopped:
        manifest = rank_with(settings)
    assert len(stopped) == 1
    (failure,) = rows(output, manifest, "failures")
    assert (failure["stage"], failure["reason"], failure["attempts"]) == ("decode", "deadline", 1)
    assert "limits.deadline_seconds = 10" in failure["detail"]
    assert (manifest["counts"]["ranked"], manifest["counts"]["failed"]) == (1, 1)
    assert dask.joined() == joined


def test_workers_come_and_go_while_a_cluster_ranks(demo_models: Path, dask: Cluster, tmp_path: Path) -> None:
    """The first worker of the cluster is gone afterwards, and there is a third one."""
    videos, output = tmp_path / "videos", tmp_path / "output"
    videos.mkdir()
    for number in range(8):
        numbered_video(videos / f"{number}.mp4", seconds=9)

    def come_and_go() -> None:
        wait_for(analyses_in(output))
        joined, first = dask.joined(), dask.working()
        for process in first:
            process.suspend()
        dask.add_worker()
        dask.wait_until_joined(joined + 1)
        for process in first:
            process.resume()
        wait_for(lambda: any(dask.folder.glob("worker-2/hookline-*/worker-*/*/*")))  # it opens a video
        dask.workers[0].terminate()

    with ThreadPoolExecutor(1) as beside:
        moves = beside.submit(come_and_go)
        manifest = rank(videos, output, demo_models, runner="dask", dask_address=dask.address, workers=1)
        moves.result()
    assert manifest["counts"]["ranked"] == 8
    assert dask.workers[0].wait(patience(30)) == 0


def test_a_video_is_opened_where_the_fewest_are_in_work(dask: Cluster) -> None:
    with closing(DaskWorkers(dask.address, deadline_s=60)) as workers:
        first, *others = [workers.assign(video) for video in "abcd"]
        assert Counter([first, *others]) == dict.fromkeys([first, *others], 2)
        in_first = [video for video, place in zip("abcd", [first, *others], strict=True) if place == first]
        for video in in_first:
            workers.release(video)
        assert [workers.assign(video) for video in "ef"] == [first, first]


@pytest.mark.logs_error
@pytest.mark.parametrize("runner", ["process", "dask"])
def test_a_call_that_ends_its_worker_each_time_is_made_again_twice(
    runner: str, dask: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the task has done by a model ends the worker before that is loaded: it is about the task."""
    monkeypatch.setattr("tasks.score.score_windows.retry_delay_seconds", [0, 0])
    monkeypatch.setattr("tasks.score.window_features", partial(die, tmp_path / "notes"))
    timeline = Timeline(VideoRef("file:///video.mp4", "", 1), "", 40, 8, 56, 56, 5.0, "none")

    @flow
    def score(run: Run) -> None:
        score_windows([Window(0, 40)], timeline, run)

    started: Workers = GpuProcesses([""], deadline_s=60)
    if runner == "dask":
        started = DaskWorkers(dask.address, deadline_s=60)
    with closing(started):
        state = score(Run(make_spec(tmp_path), tmp_path, started), return_state=True)
    died = (tmp_path / "notes").read_text().split()
    assert len(died) == len({*died}) == 3
    lost = state.result(raise_on_failure=False)
    assert isinstance(lost, WorkerLost)
    assert lost.reason == "worker_lost"


def test_a_run_that_ends_takes_its_calls_on_the_cluster_along(dask: Cluster, tmp_path: Path) -> None:
    folder = scratch_base(str(tmp_path)) / "worker-1" / "the-run"
    folder.mkdir(parents=True)
    with closing(DaskWorkers(dask.address, deadline_s=60)) as workers, ThreadPoolExecutor(2) as pool:
        stopped = pool.submit(workers.call, work_until_stopped, str(folder))
        wait_for((folder / "begun").exists)
        workers.broadcast(leave_run, "the-run", str(tmp_path))
        with pytest.raises(RunEnded, match="its work is stopped"):
            stopped.result(patience(20))
        assert not folder.exists()
        left = pool.submit(workers.call, time.sleep, 5)
        time.sleep(1)
        workers.close()
        with pytest.raises(RunEnded, match="left the Dask cluster"):
            left.result(patience(20))


def test_a_client_is_never_closed_under_a_call(dask: Cluster) -> None:
    """Its coroutines would be left to the garbage, which is a failure of whatever test finds them."""

    def go_on_calling(workers: DaskWorkers) -> None:
        while True:
            workers.call(time.sleep, 0, gpu=False)

    for _ in range(8):
        workers = DaskWorkers(dask.address, deadline_s=60)
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(go_on_calling, workers) for _ in range(4)]
            time.sleep(0.05)
            workers.close()
            for call in calls:
                with pytest.raises(RunEnded, match="left the Dask cluster"):
                    call.result(patience(20))
    gc.collect()


@pytest.mark.logs_error
def test_an_address_without_a_scheduler_is_said(
    videos: Path, demo_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.adapters.workers.dask_cluster.CONNECT_TIMEOUT_S", 1.0)
    settings = quick_settings(
        videos, tmp_path, demo_models, engine={"runner": "dask", "dask_address": "tcp://127.0.0.1:1"}
    )
    state = rank_videos(settings, return_state=True)
    assert state.is_failed()
    assert "engine.dask_address is tcp://127.0.0.1:1, but no Dask scheduler answers" in str(state.message)


def gpu_processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if runs(child, "multiprocessing.spawn")]


def slow_decoders(dask: Cluster) -> list[psutil.Process]:
    """Those that run ffmpeg, which H.264 does not need."""
    children = [child for process in dask.working() for child in process.children()]
    servers = [child for child in children if runs(child, "video.forkserver")]
    return [child for server in servers for child in server.children() if child.children()]


def analyses_in(output: Path) -> Callable[[], bool]:
    return lambda: any(output.glob("analyses/**/*.json"))


class killing:
    """Kills the first process that is found, as soon as `once` is so; gives the ids of what it killed."""

    def __init__(
        self,
        find: Callable[[], list[psutil.Process]],
        *,
        once: Callable[[], bool] = lambda: True,
        by: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.find, self.once, self.by = find, once, by
        self.killed: list[int] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.wait_and_kill)

    def wait_and_kill(self) -> None:
        while not self.over.is_set() and not self.killed:
            looked = time.monotonic()
            with suppress(psutil.Error):  # it has ended meanwhile
                if self.once() and (found := self.find()):
                    found[0].send_signal(self.by)
                    self.killed.append(found[0].pid)
            # To look through all processes takes a core from what is waited for.
            time.sleep(max(0.02, 3 * (time.monotonic() - looked)))

    def __enter__(self) -> list[int]:
        self.thread.start()
        return self.killed

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
