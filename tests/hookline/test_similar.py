"""The moments that are nearest to one come from the stored embeddings of the newest run's videos."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hookline.cli import run as cli
from tasks.core.records import Timeline, VideoRef
from tasks.core.tables.digests import Digests
from tasks.core.tables.library import LibraryEntry, library_table
from tasks.core.tables.schemas import FAILURES, table_name, windows_schema

FIRST, SECOND = "20261121T030000Z-aaaaaa", "20261122T030000Z-bbbbbb"
DAYS = {FIRST: date(2026, 11, 21), SECOND: date(2026, 11, 22)}
WINDOWS = {"dog.mp4": 3000, "cat.mp4": 6000, "gone.mp4": 40, "bird.mp4": 40}
"""Windows of 59 s every 3 s; dog and cat are longer than what is read at once."""


def uri(name: str) -> str:
    return f"s3://b/{name}"


def vectors(name: str) -> Any:
    """Embeddings that drift, so that windows after each other are most alike."""
    rng = np.random.default_rng(sorted(WINDOWS).index(name))
    return np.cumsum(rng.standard_normal((WINDOWS[name], 8)), axis=0).astype(np.float16).astype(np.float32)


def write_windows(output: Path, run_id: str, rows: dict[str, Any]) -> None:
    schema = windows_schema(8)
    tables = []
    for name in sorted(rows):
        starts = 3.0 * np.arange(len(rows[name]))
        given = {"video_uri": [uri(name)] * len(starts), "start": starts, "end": starts + 59.0}
        given["videomae_score"] = np.full(len(starts), 50, np.int32)
        given["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(rows[name].reshape(-1)), 8)
        columns = [
            pa.array(given[field.name]) if field.name in given else pa.nulls(len(starts), field.type)
            for field in schema
        ]
        nullable = pa.schema([field.with_nullable(True) for field in schema])
        tables.append(pa.table(columns, schema=nullable))
    path = output / table_name("windows", run_date=DAYS[run_id], run_id=run_id)
    path.parent.mkdir(parents=True)
    pq.write_table(pa.concat_tables(tables), path)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two nights left: dog was scored in both, cat and bird in the second; gone is not listed now."""
    output = tmp_path_factory.mktemp("output")
    write_windows(output, FIRST, {"dog.mp4": vectors("dog.mp4")[::-1], "gone.mp4": vectors("gone.mp4")})
    write_windows(output, SECOND, {name: vectors(name) for name in ("dog.mp4", "cat.mp4")})
    lengths = {name: 3 * (count - 1) + 59 for name, count in WINDOWS.items()}
    scored_in = dict.fromkeys(WINDOWS, SECOND) | {"gone.mp4": FIRST}
    entries = []
    for name, run_id in scored_in.items():
        video = VideoRef(uri(name), "etag", 1)
        timeline = Timeline(video, "", lengths[name], 1, 28, 28, float(lengths[name]), "pyav")
        digests = Digests("scoring", "rejecting", "budget")
        entries.append(
            LibraryEntry(video, digests, DAYS[SECOND], timeline, run_id, DAYS[run_id], ranked_in=run_id)
        )
    rejected = VideoRef(uri("broken.mov"), "etag", 1)
    entries.append(LibraryEntry(rejected, Digests("scoring", "rejecting", "budget"), DAYS[FIRST]))
    listed = {uri(name) for name in WINDOWS if name != "gone.mp4"}
    for kind, table in (
        ("library", library_table(entries, listed=listed)),
        ("failures", FAILURES.empty_table()),
    ):
        path = output / table_name(kind, run_date=DAYS[SECOND], run_id=SECOND)
        path.parent.mkdir(parents=True)
        pq.write_table(table, path)
    (output / "runs").mkdir()
    manifest = {"run_id": SECOND, "run_date": str(DAYS[SECOND]), "state": "Completed", "source": "s3://b"}
    (output / "runs" / f"{SECOND}.json").write_text(json.dumps(manifest))
    (output / "latest.json").write_text(json.dumps({"manifest": f"runs/{SECOND}.json"}))
    return output


def nearest_of(name: str, row: int, *, count: int) -> list[tuple[str, float, float]]:
    """Every window compared with one, and those that show the same moment as a nearer one left out."""
    unit = {
        each: vectors(each) / np.linalg.norm(vectors(each), axis=1, keepdims=True)
        for each in ("cat.mp4", "dog.mp4")
    }
    cosines = [
        (-float(c), each, 3.0 * n) for each in unit for n, c in enumerate(unit[each] @ unit[name][row])
    ]
    kept = [(-1.0, name, 3.0 * row)]
    for each in sorted(cosines):
        if all(each[1] != other[1] or abs(each[2] - other[2]) >= 59 / 2 for other in kept):
            kept.append(each)
        if len(kept) > count:
            break
    return [(uri(each), start, -cosine) for cosine, each, start in kept[1:]]


@pytest.mark.parametrize(
    ("name", "at", "row"), [("dog.mp4", "1:23", 18), ("cat", "2:00:00", 2390), ("cat", "3", 0)]
)
def test_the_nearest_moments_are_those_of_a_comparison_with_every_window(
    output: Path, name: str, at: str, row: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """By stored embeddings of the run that scored each video last, across parts that are read one by one."""
    assert cli(["similar", str(output), name, "--at", at, "--count", "25", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = nearest_of(f"{name.removesuffix('.mp4')}.mp4", row, count=25)
    assert [(each["video_uri"], each["start"]) for each in found] == [each[:2] for each in expected]
    assert [each["similarity"] for each in found] == pytest.approx([each[2] for each in expected], abs=1e-5)


def test_the_nearest_moments_are_printed(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["similar", str(output), "dog", "--at", "1:23", "--count", "3"]) == 0
    text = capsys.readouterr().out
    assert "Like dog.mp4 0:54 - 1:53" in text
    ((name, _, cosine), *_) = nearest_of("dog.mp4", 18, count=3)
    assert f"{cosine:.3f}" in text
    assert name.rpartition("/")[2] in text


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["dgo.mp4", "--at", "3"], 2, "dgo.mp4: no ranked video of run 20261122T030000Z-bbbbbb has this in "
         "its URI: s3://b/dog.mp4 is nearest to it"),
        (["zebra", "--at", "3"], 2, "zebra: no ranked video of run"),
        (["gone.mp4", "--at", "3"], 2, "has this in its URI; s3://b/gone.mp4 was listed last on 2026-11-22: "
         "add --run 20261121T030000Z-aaaaaa"),
        (["broken", "--at", "3"], 2, "in its URI; s3://b/broken.mov was listed last on 2026-11-21\n"),
        (["mp4", "--at", "3"], 2, "mp4: 3 videos have this in their URI, such as s3://b/bird.mp4"),
        (["dog", "--at", "2:31:00"], 2, "--at 2:31:00: dog.mp4 is 2:30:56 long"),
        (["dog", "--at", "1:99"], 2, "'1:99' is no time"),
        (["dog", "--at", "3", "--count", "0"], 2, "count"),
        (["bird", "--at", "3"], 1, "No embeddings of bird.mp4 are stored: the windows of run "
         "20261122T030000Z-bbbbbb, which scored it, are gone"),
    ],
)  # fmt: skip
def test_what_cannot_be_found_is_told(
    arguments: list[str], code: int, says: str, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["similar", str(output), *arguments]) == code
    assert says in capsys.readouterr().err


def test_among_too_many_videos_the_nearest_name_is_not_looked_for(
    output: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.videos.MAX_COMPARED", 2)
    assert cli(["similar", str(output), "dgo.mp4", "--at", "3"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "has this in its URI" in said
    assert "nearest" not in said


def test_runs_whose_windows_are_gone_are_named(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = shutil.copytree(output, tmp_path / "output")
    library = next(there.glob("library/*/*.parquet"))
    table = pq.ParquetFile(library).read()
    listed = table.set_column(table.column_names.index("listed"), "listed", pa.array([True] * len(table)))
    pq.write_table(listed, library)
    shutil.rmtree(there / "windows" / f"run_date={DAYS[FIRST]}")
    assert cli(["similar", str(there), "dog", "--at", "3"]) == 0
    assert f"Not searched, because their windows are gone: the videos scored in {FIRST}" in " ".join(
        capsys.readouterr().out.split()
    )
    shutil.rmtree(there / "windows")
    assert cli(["similar", str(there), "dog", "--at", "3"]) == 1
    assert "No embeddings of dog.mp4 are stored" in " ".join(capsys.readouterr().err.split())


def test_another_run_than_the_newest_is_asked_by_the_beginning_of_its_id(
    output: Path, tmp_path: Path
) -> None:
    there, later = shutil.copytree(output, tmp_path / "output"), "20261123T030000Z-cccccc"
    manifest = json.loads((there / "runs" / f"{SECOND}.json").read_text())
    manifest |= {"run_id": later, "run_date": "2026-11-23"}
    (there / "runs" / f"{later}.json").write_text(json.dumps(manifest))
    (there / "latest.json").write_text(json.dumps({"manifest": f"runs/{later}.json"}))
    asked = ["similar", str(there), "dog", "--at", "3"]
    assert cli(asked) == 1  # the newest has no library here
    assert cli([*asked, "--run", SECOND[:8]]) == 0


def test_no_model_is_imported_to_find_them(output: Path) -> None:
    program = "import sys; from hookline.cli import run; print(run(sys.argv[1:]), *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, "similar", str(output), "dog", "--at", "3", "--json"],
        capture_output=True,
        check=True,
        text=True,
    )
    code, *modules = done.stdout.rpartition("]\n")[-1].split()
    assert code == "0"
    assert not {"torch", "transformers", "prefect"} & set(modules)
