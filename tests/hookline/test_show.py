"""What of a run is printed, and how much of it."""

from __future__ import annotations

import csv
import json
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from hookline.cli import run
from hookline.show import MAX_FAILURES, MAX_VIDEOS, print_run, print_videos, ranking_table
from hookline.videos import of_videos
from tasks.adapters.storage import open_store
from tasks.core.manifest import Manifest
from tasks.core.tables.schemas import FAILURES, RANKINGS, table_name
from tasks.core.throughput import Work, throughput
from tests import FIXTURES


def manifest_of(
    output: Path, *, videos: int, failures: int, alternatives: bool | None = None, **more: Any
) -> Manifest:
    """A run of so many videos, the last of which is the best, with two segments each.

    `alternatives`: the second segment shows the same as the first; None: nobody knew of moments.
    """
    ranked = [
        {
            "video_uri": f"s3://b/{video:04}.mp4",
            "rank": rank,
            "run_rank": 2 * (videos - video) + rank,
            "start": 0.0,
            "end": 59.0,
            "score": video,
            "videomae_score": video,
            "is_viral": False,
            "best_of_moment": None if alternatives is None else rank == 1 or not alternatives,
            **more,
        }
        for video in reversed(range(videos))
        for rank in (1, 2)
    ]
    refused = [
        {"video_uri": f"s3://b/bad-{n:04}.mp4", "reason": "empty", "detail": "It is empty."}
        for n in range(failures)
    ]
    for kind, rows, schema in (("rankings", ranked, RANKINGS), ("failures", refused, FAILURES)):
        path = output / table_name(kind, run_date="2026-11-22", run_id="run-1")
        path.parent.mkdir(parents=True)
        nullable = pa.schema([column.with_nullable(True) for column in schema])
        pq.write_table(pa.Table.from_pylist(rows, schema=nullable), path)
    return Manifest(
        run_id="run-1",
        run_date=date(2026, 11, 22),
        source="s3://b",
        state="Completed",
        message="done",
        counts={"windows": 0, "candidates": 0},
        seconds={"whole": 1.0},
    )


def printed(output: Path, **size: int) -> str:
    console = Console(file=StringIO(), width=120)
    manifest = manifest_of(output, **size)
    print_run(console, open_store(str(output)), manifest)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_where_the_models_computed_is_printed(tmp_path: Path) -> None:
    console = Console(file=StringIO(), width=120)
    manifest = manifest_of(tmp_path, videos=1, failures=0)
    manifest.devices = [
        {"kind": "cuda", "name": "NVIDIA L4", "dtype": "bfloat16", "driver": "580.65.06"},
        {"kind": "cpu", "name": "Xeon [v3]", "dtype": "float32", "driver": None},
    ]
    print_run(console, open_store(str(tmp_path)), manifest)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\nModels on NVIDIA L4 (bfloat16, driver 580.65.06), Xeon [v3] (float32)\n" in text


def test_how_fast_the_models_were_is_printed(tmp_path: Path) -> None:
    console = Console(file=StringIO(), width=80)
    manifest = manifest_of(tmp_path, videos=1, failures=0)
    calls = {"segments": 6, "prompt_tokens": 90_000, "new_tokens": 1200}
    fast, deep = Work("a", (0, 10), (), 9, {"windows": 23}), Work("a", (10, 40), (), 27, calls)
    print_run(console, open_store(str(tmp_path)), manifest)
    manifest.throughput = throughput([fast], [deep], video_hours=0.1)
    print_run(console, open_store(str(tmp_path)), manifest)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("Speed of a device: ") == 1  # earlier versions did not measure it
    assert (
        "\nSpeed of a device: VideoMAE 2.3 windows/s; VideoLLaMA3 12.0 segments/min, 3,000 prompt and "
        "40.0 output tokens/s; busy 90 % of the time\n" in text
    )


def test_a_ranking_is_not_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = manifest_of(tmp_path, videos=3, failures=0)
    whole = pq.ParquetFile.read

    def read(self: pq.ParquetFile, *columns: object, **how: object) -> object:
        assert "rank" not in self.schema_arrow.names
        return whole(self, *columns, **how)

    monkeypatch.setattr(pq.ParquetFile, "read", read)
    console = Console(file=StringIO(), width=120)
    print_run(console, open_store(str(tmp_path)), manifest)
    assert "0002.mp4" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("more", [0, 1234])
def test_of_many_videos_the_best_are_printed(tmp_path: Path, more: int) -> None:
    text = printed(tmp_path, videos=MAX_VIDEOS + more, failures=0)
    shown = [f"{video:04}.mp4" in text for video in range(MAX_VIDEOS + more)]
    assert shown == [False] * more + [True] * MAX_VIDEOS
    assert ("... and 1,234 more videos" in text) is (more == 1234)
    assert (f"{tmp_path}/rankings/run_date=2026-11-22/run-1.parquet" in text) is (more == 1234)


@pytest.mark.parametrize(
    ("alternatives", "rows", "with_all"), [(True, 3, 6), (False, 6, 6), (None, 6, 6)], ids=str
)
def test_the_best_of_each_moment_is_printed_and_all_on_demand(
    tmp_path: Path, alternatives: bool | None, rows: int, with_all: int
) -> None:
    manifest = manifest_of(tmp_path, videos=3, failures=0, alternatives=alternatives)
    store = open_store(str(tmp_path))
    for every, count in ((False, rows), (True, with_all)):
        console = Console(file=StringIO(), width=120)
        print_run(console, store, manifest, every=every)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert text.count("0:00 0:59") == count
        said = f"3 more segments show the same moments: hookline show {store.uri} --all"
        assert (said in text) is (count < with_all)


def test_a_segment_is_printed_from_cut_to_cut(tmp_path: Path) -> None:
    console = Console(file=StringIO(), width=120)
    manifest = manifest_of(tmp_path, videos=1, failures=0, cut_start=1.3, cut_end=57.0)
    print_run(console, open_store(str(tmp_path)), manifest)
    assert console.file.getvalue().count("0:01.3 0:57") == 2  # type: ignore[attr-defined]


def test_of_many_failures_the_first_are_printed(tmp_path: Path) -> None:
    text = printed(tmp_path, videos=1, failures=MAX_FAILURES + 7)
    assert text.count("It is empty.") == MAX_FAILURES
    assert "... and 7 more failures" in text


PUBLISHED = FIXTURES / "published-schema-2"


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, output: Path = PUBLISHED) -> str:
    """What `hookline show` prints, of a run of an earlier version where nothing else is given."""
    assert run(["show", str(output), *arguments]) == 0
    return capsys.readouterr().out


def test_one_video_is_shown_with_the_reasons_of_its_ranks(
    tmp_path: Path,
) -> None:
    required = {"run_id": "run-1", "video_etag": "e", "video_duration": 60.0, "duration": 59.0, "models": {}}
    required |= {"analysis_method": "VideoMAE only", "deep_status": "skipped"}
    why = {"video_percentile": 96.6, "library_percentile": 12.5, "margin": 31, "previous_rank": 7}
    manifest = manifest_of(tmp_path, videos=30, failures=1, **required, **why)
    console = Console(file=StringIO(), width=120)
    print_videos(console, open_store(str(tmp_path)), manifest, "0003.mp4")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    table, _, _ = text.partition("\nRun run-1 in ")  # what follows names a folder, by a number of its own
    assert table.count("97") == table.count("12 ") == table.count(" 31 ") == 2
    assert "0004.mp4" not in text
    assert "It is empty." not in text


def test_on_eighty_columns_the_name_gives_way_and_no_number_does() -> None:
    answered = {"virality_score": 61, "hook_quality": 62, "engagement_potential": 63}
    row = {"video_uri": f"s3://b/{'long' * 20}.mp4", "rank": 12, "start": 3600.0, "end": 3659.5}
    row |= {"score": 64, "is_viral": False, "videomae_score": 65, "videollama3": answered}
    row |= {"video_percentile": 66.0, "library_percentile": 67.0, "margin": 68, "previous_rank": 109}
    console = Console(file=StringIO(), width=80)
    console.print(ranking_table([row], "s3://b", why=True))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    header, line = (" ".join(lines[n].split()[1:]) for n in (3, 5))
    assert header == "# from to score deep fast hook engage video library margin before"
    assert line == "12 1:00:00 1:00:59.5 64 61 65 62 63 66 67 68 109"


@pytest.mark.parametrize("part", ["CAFE\u0301", "caf\u00e9.mp4", "s3://b/Caf\u00e9"])
def test_a_video_is_found_by_a_part_of_its_name_in_any_case_and_unicode_form(part: str) -> None:
    uris = ["s3://b/Cafe\u0301.mp4", "s3://b/Caf\u00e9.mp4", "s3://b/cafe.mp4"]
    table = pa.table({"video_uri": uris, "rank": [1, 2, 3]})
    assert of_videos(table, part)["video_uri"].to_pylist() == uris[:2]


def test_a_video_that_failed_is_shown_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--video", "empty.mp4")
    assert "(0 bytes)" in text
    assert "first.mp4" not in text


@pytest.mark.parametrize("begins", ["20261124", "2026-11-24"])
def test_a_run_is_shown_by_the_beginning_of_its_id(begins: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "first.mp4" in shown(capsys, "--run", begins)


def test_every_column_is_written_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(shown(capsys, "--json"))
    (path,) = PUBLISHED.glob("rankings/*/*.parquet")
    written = pq.ParquetFile(path).read().to_pylist()
    assert [{name: row[name] for name in written[0]} for row in rows] == written
    assert {row["run_date"] for row in rows} == {"2026-11-24"}
    assert set(rows[0]) == {*RANKINGS.names, "run_date"}
    some = json.loads(shown(capsys, "--json", "--video", "third"))
    assert some == [row for row in rows if "THIRD" in row["video_uri"]] != []
    assert json.loads(shown(capsys, "--json", "--video", "nowhere")) == []


def test_every_value_is_a_column_of_the_csv(capsys: pytest.CaptureFixture[str]) -> None:
    (first, *_) = csv.DictReader(StringIO(shown(capsys, "--csv")))
    (row, *_) = json.loads(shown(capsys, "--json"))
    assert first["score"] == str(row["score"])
    assert first["videollama3.reasoning"] == row["videollama3"]["reasoning"]
    assert json.loads(first["videollama3.viral_moments"]) == row["videollama3"]["viral_moments"]
    assert first["margin"] == ""
    assert "videollama3" not in first


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["show", "--video", "nowhere"], 2, "--video nowhere: no video"),
        (["show", "--json", "--csv"], 2, "choose one"),
        (["show", "--run", "2027"], 1, "There is no run '2027'"),
        (["diff"], 1, "There is no run before"),
    ],
)
def test_what_cannot_be_shown_is_said(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *options = arguments
    assert run([command, str(PUBLISHED), *options]) == code
    assert says in " ".join(capsys.readouterr().err.split())


def test_what_another_video_shows_is_left_out_and_named_where_it_is_asked_for(tmp_path: Path) -> None:
    original = {"video_uri": "s3://b/first.mp4", "start": 9.0, "end": 68.0}
    required = {"run_id": "run-1", "video_etag": "e", "video_duration": 60.0, "duration": 59.0, "models": {}}
    required |= {"analysis_method": "VideoMAE only", "deep_status": "skipped"}
    manifest = manifest_of(tmp_path, videos=3, failures=0, **required)
    path = tmp_path / table_name("rankings", run_date="2026-11-22", run_id="run-1")
    rows = pq.ParquetFile(path).read().to_pylist()
    for row in rows:
        if row["video_uri"] == "s3://b/0002.mp4":  # the best
            row |= {"duplicate_of": original, "duplicate_similarity": 0.99951}
    nullable = pa.schema([column.with_nullable(True) for column in RANKINGS])
    pq.write_table(pa.Table.from_pylist(rows, schema=nullable), path)
    console = Console(file=StringIO(), width=120)
    store = open_store(str(tmp_path))
    for every in (False, True):
        print_run(console, store, manifest, every=every)
    brief, whole = console.file.getvalue().split("Run run-1")[:2]  # type: ignore[attr-defined]
    assert "0002.mp4" not in brief
    assert f"2 more segments show what other videos show: hookline show {store.uri} --all" in brief
    assert "0002.mp4" in whole
    assert "what other videos show" not in whole
    print_videos(console, store, manifest, "0002")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "#1 shows what first.mp4 shows at 0:09 (cosine 0.9995)" in text
