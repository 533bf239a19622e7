"""What a killed run left is taken away once it is surely dead, and nothing else ever is."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.adapters.storage import open_store
from tasks.adapters.storage.folder import FolderStore
from tasks.adapters.storage.scratch import run_folder, scratch_name
from tasks.core.errors import StorageError
from tasks.run.active_runs import DEAD_AFTER, REGISTRY, RUN_ID_TIME, is_dead, read_registry, registered
from tests.waiting import patience

NOW = datetime.now(UTC)
KILLED_RUN = """
import os, sys
from pathlib import Path
from tasks.adapters.storage.scratch import run_folder
from tasks.adapters.storage import open_store
from tasks.run.active_runs import registered
root, output, run_id, day = sys.argv[1:]
with run_folder(root, run_id), registered(open_store(output), run_id, scratch_dir=root):
    open_store(output).write_bytes(f"windows/run_date={day}/{run_id}.parquet", b"half a run")
    os.kill(os.getpid(), 9)
"""

ANY_JSON = st.recursive(
    st.none() | st.integers() | st.text() | st.just("20260301T020000Z-aaaaaa"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("20260301T020000Z"), inner)
    ),
    max_leaves=6,
).map(lambda value: json.dumps(value).encode())


def run_id(age: timedelta = timedelta(0), *, end: str = "aaaaaa") -> str:
    return f"{NOW - age:{RUN_ID_TIME}}-{end}"


def files_of(run: str) -> list[str]:
    """What a run has written when it is killed just before its manifest."""
    day = f"{run[:4]}-{run[4:6]}-{run[6:8]}"
    kinds = ("windows", "failures", "library", "words", "fingerprints", "rankings")
    tables = [f"{kind}/run_date={day}/{run}.parquet" for kind in kinds]
    return [*tables, f"reports/{run}/index.html", f"clips/{run}/dog-1/0001_0m00s-0m09s.mp4"]


def write(output: Path, *names: str, content: str = "x") -> None:
    for name in names:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text(content)


def written(output: Path) -> set[str]:
    paths = (path for path in output.rglob("*") if path.is_file())
    return {str(path.relative_to(output)) for path in paths} - {REGISTRY}


def noted(output: Path) -> list[str]:
    return list(json.loads((output / REGISTRY).read_text())["under_way"])


def note(output: Path, runs: dict[str, str]) -> None:
    write(output, REGISTRY, content=json.dumps({"under_way": runs}))


def next_run(output: Path, scratch: Path) -> list[str]:
    """Another run begins and ends; returns the runs the output knows of beside it."""
    run = run_id(end="ffffff")
    with run_folder(str(scratch), run), registered(open_store(str(output)), run, scratch_dir=str(scratch)):
        others = [other for other in noted(output) if other != run]
        assert len(noted(output)) == len(others) + 1
    assert noted(output) == others
    return others


def test_what_a_run_killed_on_this_machine_left_is_removed_by_the_next(tmp_path: Path) -> None:
    scratch, output, killed = tmp_path / "scratch", tmp_path / "out", run_id()
    day = f"{NOW:%Y-%m-%d}"
    command = [sys.executable, "-c", KILLED_RUN, str(scratch), str(output), killed, day]
    assert subprocess.run(command, check=False).returncode == -9
    assert written(output) == {f"windows/run_date={day}/{killed}.parquet"}
    assert noted(output) == [killed]
    assert next_run(output, scratch) == []
    assert written(output) == set()


def test_a_run_that_is_alive_on_this_machine_is_left_alone(tmp_path: Path) -> None:
    scratch, output, alive = tmp_path / "scratch", tmp_path / "out", run_id(2 * DEAD_AFTER / 3)
    with (
        run_folder(str(scratch), alive),
        registered(open_store(str(output)), alive, scratch_dir=str(scratch)),
    ):
        write(output, *files_of(alive))
        assert next_run(output, scratch) == [alive]
        assert written(output) == {*files_of(alive)}
        write(output, f"runs/{alive}.json")
    assert written(output) == {*files_of(alive), f"runs/{alive}.json"}
    assert noted(output) == []


@pytest.mark.parametrize(
    ("age", "removed"),
    [
        (timedelta(hours=30), False),
        (DEAD_AFTER - timedelta(hours=1), False),
        (DEAD_AFTER + timedelta(hours=1), True),
    ],
)
def test_a_run_on_another_machine_is_dead_when_it_is_old(
    tmp_path: Path, age: timedelta, removed: bool
) -> None:
    output, other = tmp_path / "out", run_id(age)
    write(output, *files_of(other))
    note(output, {other: "another machine"})
    assert next_run(output, tmp_path / "scratch") == ([] if removed else [other])
    assert written(output) == (set() if removed else {*files_of(other)})


def test_a_complete_run_keeps_its_files(tmp_path: Path) -> None:
    scratch, output, complete = tmp_path / "scratch", tmp_path / "out", run_id(timedelta(days=1))
    write(output, *files_of(complete), f"runs/{complete}.json")
    note(output, {complete: scratch_name(str(scratch))})
    assert next_run(output, scratch) == []
    assert written(output) == {*files_of(complete), f"runs/{complete}.json"}


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"under_way": 3}', '{"under_way": {"../../x": "here"}}', "\x80"]
)
def test_a_note_that_is_none_removes_nothing(tmp_path: Path, content: str) -> None:
    output, other = tmp_path / "out", run_id(timedelta(days=30))
    write(output, *files_of(other))
    write(output, REGISTRY, content=content)
    assert next_run(output, tmp_path / "scratch") == []
    assert written(output) == {*files_of(other)}


def test_runs_that_begin_at_once_are_all_noted(tmp_path: Path) -> None:
    scratch, output = str(tmp_path / "scratch"), tmp_path / "out"
    everybody = Barrier(8)

    def begin(number: int) -> None:
        run = run_id(end=f"{number:06}")
        with run_folder(scratch, run), registered(open_store(str(output)), run, scratch_dir=scratch):
            everybody.wait(patience(30))
            assert len(noted(output)) == 8
            everybody.wait(patience(30))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(begin, range(8)))
    assert noted(output) == []


def test_a_run_that_fails_takes_back_what_it_wrote(tmp_path: Path) -> None:
    scratch, output, failed = str(tmp_path / "scratch"), tmp_path / "out", run_id()

    def run() -> None:
        with run_folder(scratch, failed), registered(open_store(str(output)), failed, scratch_dir=scratch):
            write(output, *files_of(failed))
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        run()
    assert written(output) == set()


def test_where_nothing_can_be_removed_a_run_goes_on_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class WriteOnly(FolderStore):
        def _remove(self, path: str) -> None:
            raise PermissionError(path)

    scratch, output, dead = str(tmp_path / "scratch"), tmp_path / "out", run_id(2 * DEAD_AFTER)
    write(output, *files_of(dead))
    note(output, {dead: "another machine"})
    with run_folder(scratch, run_id()), registered(WriteOnly(str(output)), run_id(), scratch_dir=scratch):
        write(output, f"runs/{run_id()}.json")
    assert noted(output) == [dead]
    [warning] = caplog.messages
    assert "What a killed run left stays under the output" in warning
    assert "file permissions" in warning


def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    scratch, output = str(tmp_path / "scratch"), tmp_path / "out"
    output.write_text("a file, no folder")
    note_of_run = registered(open_store(str(output)), run_id(), scratch_dir=scratch)
    with run_folder(scratch, run_id()), pytest.raises(StorageError, match="folder"):
        note_of_run.__enter__()


@given(st.binary() | ANY_JSON | ANY_JSON.map(lambda content: b'{"under_way": %b}' % content))
def test_any_bytes_name_some_runs_or_none(content: bytes) -> None:
    for run, place in read_registry(content).items():
        assert isinstance(place, str)
        assert is_dead(run, place, "here", scratch_dir="/nowhere") in (True, False)
