"""Two runs of any version are compared in the terminal."""

from __future__ import annotations

import csv
import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hookline.cli import run
from tasks.core.tables.schemas import RANKINGS, upgraded
from tests import FIXTURES

PUBLISHED = FIXTURES / "published-schema-2"
NIGHT_BEFORE = "20261123T000000Z-abcdef"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The output of an earlier version, and a night before it that ranked a little otherwise."""
    copy = shutil.copytree(PUBLISHED, tmp_path / "out")
    (file,) = copy.glob("runs/*.json")
    newest = json.loads(file.read_text())
    before = newest | {"run_id": NIGHT_BEFORE, "run_date": "2026-11-23"}
    before["settings"] = newest["settings"] | {"ranking": newest["settings"]["ranking"] | {"top_n": 1}}
    (copy / "runs" / f"{NIGHT_BEFORE}.json").write_text(json.dumps(before))
    for kind in ("rankings", "failures"):
        (path,) = copy.glob(f"{kind}/*/*.parquet")
        table = pq.ParquetFile(path).read()
        if kind == "rankings":
            table = upgraded(table, RANKINGS).filter(pa.compute.equal(table["rank"], 1))
        earlier = copy / kind / "run_date=2026-11-23" / f"{NIGHT_BEFORE}.parquet"
        earlier.parent.mkdir()
        pq.write_table(table, earlier)
    return copy


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["diff", *arguments]) == 0
    return capsys.readouterr().out


def test_the_newest_run_is_compared_with_the_one_before(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = " ".join(printed(capsys, str(output)).split())
    assert "ranking.top_n: 1 -> 2" in text
    assert "3 entered, 0 left, 0 moved, 3 as before" in text
    assert "first.mp4" in text


def test_eighty_columns_hold_every_change_and_the_settings_once(
    output: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rename_before(output, "first.mp4", "a folder with a long name/and the first name of a video.mp4")
    lines = printed(capsys, str(output)).splitlines()
    table = lines[[line.strip() for line in lines].index("What changed") : -1]
    assert max(map(len, table)) <= 80
    assert sum("ranking.top_n" in line for line in lines) == 1
    (renamed,) = (line for line in table if "renamed" in line)
    assert "first.mp4" in renamed
    assert "1 renamed, 3 entered, 0 left, 0 moved, 3 as before" in lines[-1]
    # A change has a line, and no more than a second one for its reason.
    assert len(table) <= 3 + 2 * 4


def rename_before(output: Path, name: str, old_name: str) -> None:
    """The same file had another name in the night before."""
    (path,) = output.glob("rankings/run_date=2026-11-23/*.parquet")
    table = pq.ParquetFile(path).read()
    uris = [uri.replace(name, old_name) for uri in table["video_uri"].to_pylist()]
    index = table.schema.get_field_index("video_uri")
    pq.write_table(table.set_column(index, table.schema.field(index), pa.array(uris, pa.string())), path)


def test_runs_are_compared_in_the_order_they_are_named(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads(printed(capsys, str(output), "20261124", "20261123", "--json"))
    assert [(row["what"], row["rank_before"], row["rank"], row["why"]) for row in rows] == [
        ("left", 2, None, "settings")
    ] * 3


def test_changes_are_written_as_json_and_csv(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = json.loads(printed(capsys, str(output), "--json"))
    lines = list(csv.DictReader(StringIO(printed(capsys, str(output), "--csv"))))
    assert [line["video_uri"] for line in lines] == [row["video_uri"] for row in rows]
    assert list(lines[0]) == list(rows[0])


def test_a_run_beside_itself_has_no_changes(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, str(output), "20261124", "20261124")
    assert "0 entered, 0 left, 0 moved, 6 as before" in text
