"""An editor's file goes in as it is, and comes out as a table beside the rankings."""

from __future__ import annotations

import csv
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from hookline.cli import run
from hookline.videos import video_called
from tasks.adapters.storage import open_store
from tasks.adapters.storage.labelled import labelled_windows
from tasks.adapters.storage.published import newest_manifest, read_labels
from tasks.core.tables.schemas import CURVES, LABELS
from tests import FIXTURES

PUBLISHED = FIXTURES / "published-schema-2"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return shutil.copytree(PUBLISHED, tmp_path / "out")


@pytest.fixture
def export(output: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The ranking as `hookline show --csv` writes it."""
    assert run(["show", str(output), "--csv"]) == 0
    return list(csv.DictReader(StringIO(capsys.readouterr().out)))


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def kept(output: Path) -> list[pa.Table]:
    return [pq.ParquetFile(path).read() for path in sorted(output.glob("labels/*.parquet"))]


def test_an_export_with_verdicts_comes_back_as_labels(
    output: Path, export: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row | {"verdict": "", "views": ""} for row in export]
    rows[0] |= {"verdict": "published", "views": "1200"}
    rows[1] |= {"verdict": "rejected"}
    rows[2] |= {"verdict": "rejected", "start": "500", "end": "505"}
    assert run(["labels", str(output), str(write_csv(tmp_path / "v.csv", rows))]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "3 labels (1 published, 2 rejected): 2 of ranked segments, 0 of other windows, 1 of neither" in text
    )
    assert "8:20 8:25 no window shows at least half of both together: the nearest is" in text
    (table,) = kept(output)
    assert table.schema.remove_metadata().equals(LABELS)
    found = {(row["video_uri"], row["start"]): row for row in table.to_pylist()}
    first = found[rows[0]["video_uri"], float(rows[0]["start"])]
    assert (first["verdict"], first["views"], first["match"]) == ("published", 1200, "ranked")
    assert (first["scored_in"], first["video_etag"]) == (rows[0]["run_id"], rows[0]["video_etag"])
    assert [row["match"] for row in found.values()].count("no_window") == 1


def test_labels_find_their_video_in_whatever_unicode_form_it_was_typed(
    output: Path, export: list[dict[str, Any]], tmp_path: Path
) -> None:
    stored, typed = "file:///videos/Cafe\u0301.mp4", "file:///videos/Caf\u00e9.mp4"
    for path in output.glob("*/run_date=*/*.parquet"):
        table = pq.ParquetFile(path).read()
        at = table.schema.get_field_index("video_uri")
        uris = [stored if uri.endswith("/first.mp4") else uri for uri in table["video_uri"].to_pylist()]
        pq.write_table(table.set_column(at, table.schema.field(at), pa.array(uris, pa.string())), path)
    rows = [
        row | {"verdict": "rejected", "video_uri": typed} for row in export if "/first." in row["video_uri"]
    ]
    assert run(["labels", str(output), str(write_csv(tmp_path / "v.csv", rows))]) == 0
    (table,) = kept(output)
    assert set(zip(table["video_uri"].to_pylist(), table["match"].to_pylist(), strict=True)) == {
        (stored, "ranked")
    }


def test_a_label_follows_its_video_to_another_name(
    output: Path, export: list[dict[str, Any]], tmp_path: Path
) -> None:
    rows = [row | {"verdict": "rejected"} for row in export]
    assert run(["labels", str(output), str(write_csv(tmp_path / "v.csv", rows))]) == 0
    (path,) = output.glob("labels/*.parquet")
    table = pq.ParquetFile(path).read()
    at = table.schema.get_field_index("video_uri")
    earlier = pc.replace_substring(table["video_uri"], "/videos/", "/before/")
    assert not {*earlier.to_pylist()} & {*table["video_uri"].to_pylist()}
    pq.write_table(table.set_column(at, table.schema.field(at), earlier), path)
    store = open_store(str(output))
    found, lost = labelled_windows(store, newest_manifest(store))
    assert (len(found), lost) == (len(rows), 0)
    assert {each.video.uri for each in found} == {row["video_uri"] for row in rows}


def test_what_is_listed_no_more_is_not_meant_by_its_name(
    output: Path, export: list[dict[str, Any]], tmp_path: Path
) -> None:
    (path,) = output.glob("library/*/*.parquet")
    table = pq.ParquetFile(path).read()
    rows = table.to_pylist()
    (uri,) = {row["video_uri"] for row in export if row["video_uri"].endswith("/first.mp4")}
    (first,) = (row for row in rows if row["video_uri"] == uri)
    rows = [row | {"listed": True} for row in rows]
    rows.append(first | {"video_uri": "file:///before/first.mp4", "listed": False})
    rows.sort(key=lambda row: str(row["video_uri"]))
    listed = pa.field("listed", pa.bool_())
    names = [field for field in table.schema if field.name != "listed"]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema([*names, listed])), path)
    labels = [
        row | {"video_uri": "first", "verdict": "rejected"} for row in export if row["video_uri"] == uri
    ]
    assert run(["labels", str(output), str(write_csv(tmp_path / "v.csv", labels))]) == 0
    (kept_now,) = kept(output)
    assert {*kept_now["video_uri"].to_pylist()} == {uri}
    store = open_store(str(output))
    assert video_called(store, newest_manifest(store), "first.mp4").video.uri == uri


@pytest.mark.parametrize("ending", ["", ".mp4"])
def test_a_video_may_be_called_by_the_name_of_its_file(
    output: Path, export: list[dict[str, Any]], tmp_path: Path, ending: str
) -> None:
    (row, *_) = (row for row in export if row["video_uri"].endswith("/first.mp4"))
    label = {name: row[name] for name in ("start", "end")} | {"video_uri": f"first{ending}"}
    file = write_csv(tmp_path / "v.csv", [label | {"verdict": "published"}])
    assert run(["labels", str(output), str(file)]) == 0
    (table,) = kept(output)
    assert table.select(["video_uri", "match"]).to_pylist() == [
        {"video_uri": row["video_uri"], "match": "ranked"}
    ]


def test_a_later_cut_takes_no_window_that_has_a_label_of_its_own(
    output: Path, export: list[dict[str, Any]], tmp_path: Path
) -> None:
    exact = export[0] | {"verdict": "published"}
    cut = exact | {"start": f"{float(exact['start']) + 0.2:.1f}", "verdict": "rejected"}
    for row in (exact, cut):
        assert run(["labels", str(output), str(write_csv(tmp_path / "v.csv", [row]))]) == 0
    labels = read_labels(open_store(str(output))).to_pylist()
    assert len(labels) == 2
    (kept_now,) = (row for row in labels if row["start"] == float(exact["start"]))
    assert (kept_now["verdict"], kept_now["given_start"]) == ("published", None)


def test_windows_that_were_not_ranked_can_be_labelled_in_parquet(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = output.glob("windows/*/*.parquet")
    windows = pq.ParquetFile(path).read(["video_uri", "start", "end", "reason"])
    missed = windows.filter(pa.compute.is_valid(windows["reason"]))
    labels = missed.append_column("verdict", pa.array(["rejected"] * len(missed)))
    pq.write_table(labels, tmp_path / "v.parquet")
    assert run(["labels", str(output), str(tmp_path / "v.parquet")]) == 0
    assert f"{len(missed)} of other windows" in " ".join(capsys.readouterr().out.split())
    (table,) = kept(output)
    assert set(table["match"].to_pylist()) == {"window"}


def test_a_curve_becomes_a_value_of_each_window(
    output: Path, export: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = export[0]["video_uri"]
    rows = [{"video_uri": uri, "seconds": second, "value": second} for second in range(600)]
    rows += [{"video_uri": "of nobody", "seconds": second, "value": 1} for second in range(3)]
    rows += [
        {"video_uri": export[-1]["video_uri"], "seconds": 9000 + second, "value": 1} for second in range(3)
    ]
    assert export[-1]["video_uri"] != uri
    assert run(["labels", str(output), str(write_csv(tmp_path / "c.csv", rows))]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "no run has ranked this video" in text
    assert "it covers half of no window: the nearest is" in text
    (path,) = output.glob("curves/*.parquet")
    table = pq.ParquetFile(path).read()
    assert f"3 curves: 1 over {len(table)} windows" in text
    assert table.schema.remove_metadata().equals(CURVES)
    (path,) = output.glob("windows/*/*.parquet")
    windows = pq.ParquetFile(path).read(["run_id", "video_uri", "video_etag", "start", "end"]).to_pylist()
    of_video = [row for row in windows if row["video_uri"] == uri]
    assert len(table) == len(of_video) > 1
    for found, window in zip(table.to_pylist(), of_video, strict=True):
        assert (found["start"], found["end"]) == (window["start"], window["end"])
        assert (found["scored_in"], found["video_etag"]) == (window["run_id"], window["video_etag"])
        assert found["kind"] == "curve"
        # Each second has its own number, so that a window from whole second to whole second has this mean.
        assert found["value"] == pytest.approx((window["start"] + window["end"] - 1) / 2, abs=0.5)


def test_every_import_is_kept(output: Path, export: list[dict[str, Any]], tmp_path: Path) -> None:
    for views in ("1", "2"):
        rows = [row | {"verdict": "published", "views": views} for row in export]
        assert run(["labels", str(output), str(write_csv(tmp_path / "v.csv", rows))]) == 0
    assert sorted(table["views"][0].as_py() for table in kept(output)) == [1, 2]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_spreadsheet_of_another_country_is_read(
    output: Path, export: list[dict[str, Any]], tmp_path: Path, separator: str
) -> None:
    """With its separator, decimal commas, and capitals where somebody typed them."""
    names = ["Video_URI", "Start", "END", "Verdict"]
    uri, start, end = (export[0][name.lower()] for name in names[:3])
    row = [uri, start.replace(".", ","), end.replace(".", ","), "Published "]
    (tmp_path / "v.csv").write_text(f"{separator.join(names)}\n{separator.join(row)}\n")
    assert run(["labels", str(output), str(tmp_path / "v.csv")]) == 0
    (table,) = kept(output)
    (label,) = table.to_pylist()
    assert (label["verdict"], label["match"], label["start"]) == ("published", "ranked", float(start))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("v.csv", b"video_uri,start,end,verdict\na,0,5,maybe\n", "row 1: verdict is 'maybe'"),
        ("v.csv", b"video_uri,start\na,0\n", "v.csv has no column end, verdict"),
        ("v.csv", b"video_uri,start,end,verdict\n", "v.csv has no labels"),
        ("v.csv", b"video_uri,start,end,verdict\n\xff\xfe,0,5,rejected\n", "write CSV in UTF-8"),
        ("v.parquet", b"garbage", "write CSV in UTF-8, or Parquet"),
    ],
)
def test_a_file_with_anything_wrong_leaves_nothing(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert run(["labels", str(output), str(tmp_path / name)]) == 2
    assert says in " ".join(capsys.readouterr().err.split())
    assert kept(output) == []
