"""docs/data.md lists every column there is, and its cookbook answers on real output."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hookline.cli import run as cli
from tasks.adapters.storage import open_store
from tasks.core.manifest import Manifest
from tasks.core.tables.schemas import (
    CURVES,
    EVALUATIONS,
    FAILURES,
    LABELS,
    LIBRARY,
    RANKINGS,
    SCHEMA_VERSION,
    WORDS,
    fingerprints_schema,
    windows_schema,
)
from tests import FIXTURES, ROOT
from tests.adapters.video.sound.voice import dubbed
from tests.library import quick_settings, read_table, upload, write_broken_videos, write_good_videos
from tests.media import numbered_video
from tests.s3 import Server

pytest_plugins = ["tests.s3"]

DATA = (ROOT / "docs" / "data.md").read_text()
PUBLISHED = FIXTURES / "published-schema-2"
SCHEMAS = {
    "rankings": RANKINGS,
    "windows": windows_schema(768),
    "failures": FAILURES,
    "library": LIBRARY,
    "words": WORDS,
    "fingerprints": fingerprints_schema(768),
    "labels": LABELS,
    "curves": CURVES,
    "evaluations": EVALUATIONS,
}


def section(title: str) -> str:
    """What stands under a heading, up to the next one of its kind."""
    (text,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", DATA, flags=re.MULTILINE | re.DOTALL)
    return str(text)


def listed(title: str) -> list[list[str]]:
    """The rows of the table under a heading."""
    return [re.split(r" *\| *", line)[1:-1] for line in section(title).splitlines() if line.startswith("| `")]


def described(fields: Any, prefix: str = "") -> list[list[str]]:
    """The columns of a schema, and the fields inside them, as the page lists them."""
    rows = []
    for field in fields:
        rows.append([f"`{prefix}{field.name}`", type_name(field.type), "yes" if field.nullable else "no"])
        inner = field.type.value_type if is_list(field.type) else field.type
        if pa.types.is_struct(inner):
            rows += described(inner, f"{prefix}{field.name}.")
    return rows


def is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


def type_name(kind: pa.DataType) -> str:
    if is_list(kind):
        return f"list<{type_name(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return "struct"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    names = {"double": "float64", "float": "float32", "halffloat": "float16", "date32[day]": "date32"}
    return names.get(str(kind), str(kind))


@pytest.mark.parametrize("table", SCHEMAS)
def test_the_page_lists_exactly_the_columns_of(table: str) -> None:
    rows = listed(table)
    assert [[name, kind, null] for name, kind, _, null, _ in rows] == described(SCHEMAS[table])
    assert all(meaning for *_, meaning in rows)


def test_the_page_says_what_came_with_this_schema_version() -> None:
    promise = section("What you can rely on")
    assert f"now {SCHEMA_VERSION};" in promise
    (news,) = re.findall(rf"^\| {SCHEMA_VERSION} \| (.*) \|$", promise, flags=re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", news))
    columns = {name for schema in SCHEMAS.values() for name in schema.names}
    tables = {"rankings", "windows", "library", "labels", "words", "curves", "fingerprints", "evaluations"}
    assert named - tables <= columns


@pytest.fixture(scope="module")
def nights(
    demo_models: Path, prefect: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A folder with the `output` of three nights, and labels of the second.

    The first was published by an earlier version. The last has other weights, and videos that are new,
    renamed, replaced and gone.
    """
    from flows.rank_videos import rank_videos

    folder = tmp_path_factory.mktemp("analyst")
    videos, output = folder / "videos", folder / "output"
    write_good_videos(videos)
    write_broken_videos(videos)
    numbered_video(videos / "gone.mp4", seconds=10)
    dubbed(videos / "first.mp4", (1, 5), (6, 12))
    speech = {"transcribe": True, "model": str(demo_models / "whisper")}
    first = quick_settings(videos, output, demo_models, ranking={"top_n": 3}, speech=speech)
    manifest: dict[str, Any] = rank_videos(first, return_state=True).result(raise_on_failure=False)
    for verdict in ("rejected", "published"):  # of which the newest counts
        write_labels(folder / "labels.parquet", output, manifest, verdict)
        assert cli(["labels", str(output), str(folder / "labels.parquet")]) == 0
    change_videos(videos)
    weights = {"top_n": 3, "deep_weight": "0.8", "fast_weight": "0.2"}
    second = quick_settings(videos, output, demo_models, ranking=weights, speech=speech)
    manifest = rank_videos(second, return_state=True).result(raise_on_failure=False)
    yesterday = f"run_date={date.today() - timedelta(days=1)}"
    for path in PUBLISHED.glob("*/run_date=*/*.parquet"):
        (before := folder / "output" / path.parts[-3] / yesterday).mkdir()
        shutil.copy(path, before)
    return folder, manifest


def change_videos(videos: Path) -> None:
    """A video is new, one is gone, one has another name, and one of the same name is another."""
    numbered_video(videos / "added.mp4", seconds=16)
    (videos / "gone.mp4").unlink()
    (videos / "second.mkv").rename(videos / "renamed.mkv")
    (videos / "more" / "THIRD.MP4").unlink()
    numbered_video(videos / "more" / "THIRD.MP4", seconds=13)


def write_labels(path: Path, output: Path, manifest: dict[str, Any], verdict: str) -> None:
    ranking = read_table(output, "rankings", manifest["run_id"]).select(["video_uri", "start", "end"])
    verdicts = ["rejected" if n % 3 else verdict for n in range(len(ranking))]
    pq.write_table(ranking.append_column("verdict", pa.array(verdicts)), path)


def test_the_page_lists_exactly_the_keys_of_the_manifest(nights: tuple[Path, dict[str, Any]]) -> None:
    folder, manifest = nights
    named = [row[0].strip("`") for row in listed("runs/&lt;run_id&gt;.json")]
    assert named == list(manifest) == list(Manifest.model_fields)
    pointer = json.loads((folder / "output" / "latest.json").read_text())
    assert [row[0].strip("`") for row in listed("latest.json")] == list(pointer)
    for key in ("seconds", "counts", "files"):
        (meaning,) = (row[-1] for row in listed("runs/&lt;run_id&gt;.json") if row[0] == f"`{key}`")
        inner = manifest[key][0] if key == "files" else manifest[key]
        assert set(inner) == set(re.findall(r"`(\w+)`", meaning))


def test_files_say_which_layout_they_have_and_what_made_them(nights: tuple[Path, dict[str, Any]]) -> None:
    folder, manifest = nights
    every = [path for path in (folder / "output").rglob("*.parquet") if "labels" in path.parts]
    assert every
    every += (made := [*(folder / "output").rglob(f"{manifest['run_id']}.parquet")])
    assert len(made) == len(manifest["files"])
    for path in every:
        parquet = pq.ParquetFile(path)
        said = {name.decode(): value.decode() for name, value in parquet.schema_arrow.metadata.items()}
        assert said["hookline.schema_version"] == SCHEMA_VERSION
        if path in made:
            assert said["hookline.run_id"] == manifest["run_id"]
            assert json.loads(said["hookline.settings"]) == manifest["settings"]
            assert json.loads(said["hookline.versions"]) == manifest["versions"]
        groups = [parquet.metadata.row_group(n) for n in range(parquet.metadata.num_row_groups)]
        assert {group.column(0).compression for group in groups} <= {"ZSTD"}


def test_everything_under_an_output_is_known_as_hooklines_own(nights: tuple[Path, dict[str, Any]]) -> None:
    store = open_store(str(nights[0] / "output"))
    listing = store.listing("**", output=store.uri)
    assert (listing.videos, listing.left_out.own) == ([], len(store.names()))


UNTRAINED = {
    "hook > 80": "hook > 70",
    'pl.col("hook") > 80': 'pl.col("hook") > 70',
    "secret": "a",
    "[?]": "[a-z]",
}
"""Demo models see no hook over 80 in these videos, and hear no word that is one."""

QUESTIONS = dict(re.findall(r"^### (.*?)\n(.*?)(?=^### |\Z)", DATA, flags=re.MULTILINE | re.DOTALL))
TOOLS = {"DuckDB": r"```sql\n", "pandas": r"```python\n# pandas\n", "Polars": r"```python\n# Polars\n"}


def block(text: str, tool: str) -> str:
    (code,) = re.findall(TOOLS[tool] + r"(.*?)```", text, flags=re.DOTALL)
    for trained, untrained in UNTRAINED.items():
        code = code.replace(trained, untrained)
    return str(code)


RUNNER = """
import json, os, sys
tool, set_up, *questions = json.load(sys.stdin)
answers = []
if tool == "DuckDB":
    import duckdb, fsspec
    connection = duckdb.connect()
    if "s3://" in set_up:  # its own way there is an extension, which is fetched from the network
        connection.register_filesystem(fsspec.filesystem("s3"))
    connection.execute(set_up)
    for question in questions:
        found = connection.execute(question)
        names = [column[0] for column in found.description]
        answers.append([dict(zip(names, row)) for row in found.fetchall()])
else:
    names = {}
    exec(set_up, names)
    for question in questions:
        exec(question, names)
        answers.append(names["answer"].to_dict("records") if tool == "pandas" else names["answer"].to_dicts())
print(json.dumps(answers, default=lambda value: None if value != value else str(value)), flush=True)
os._exit(0)  # threads that read Parquet now and then abort the process as it exits (pyarrow 26)
"""


Answers = dict[str, dict[str, list[dict[str, Any]]]]


def ask(folder: Path, *, output: str = "output", **variables: str) -> Answers:
    """What each tool answers to each question; a process of its own for each, as an analyst has it."""
    set_up = DATA[DATA.index("## Cookbook") : DATA.index("\n### ")]
    found = {}
    for tool in TOOLS:
        blocks = [block(text, tool) for text in (set_up, *QUESTIONS.values())]
        there = [re.sub(r"""(?<=['"])output(?=["/])""", output, text) for text in blocks]
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", RUNNER], env={**os.environ, **variables},
            input=json.dumps([tool, *there]), cwd=folder, text=True, capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found[tool] = dict(zip(QUESTIONS, json.loads(done.stdout), strict=True))
    return found


@pytest.fixture(scope="module")
def answers(nights: tuple[Path, Manifest]) -> Answers:
    return ask(nights[0])


def test_there_are_enough_questions() -> None:
    assert len(QUESTIONS) >= 10


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_tool_answers_alike(question: str, answers: dict[str, Any]) -> None:
    duckdb, pandas, polars = (answers[tool][question] for tool in TOOLS)
    assert duckdb, "no rows: this says nothing"
    for other in (pandas, polars):
        assert len(other) == len(duckdb)
        for row, same in zip(other, duckdb, strict=True):
            assert list(row) == list(same)
            assert all(alike(row[name], same[name]) for name in same), (row, same)


def names_in(rows: list[dict[str, Any]]) -> set[str]:
    return {row["video_uri"].rpartition("/")[2] for row in rows}


def test_after_such_a_night_every_answer_speaks_of_what_is_there(answers: Answers) -> None:
    changed = "What changed since last night?"
    for question, rows in answers["DuckDB"].items():
        if rows and "video_uri" in rows[0]:
            assert "second.mkv" not in names_in(rows), question
            assert "gone.mp4" not in names_in(rows) or question == changed, question
    gone = [row for row in answers["DuckDB"][changed] if row["video_uri"].endswith("/gone.mp4")]
    assert [row["rank"] for row in gone] == [None] * 3


def test_the_best_segment_looks_most_like_itself(answers: Answers) -> None:
    for tool in TOOLS:
        assert answers[tool]["Which windows look like the best segment of the run?"][0]["cosine"] == 1


def test_a_renamed_video_is_compared_with_itself(
    nights: tuple[Path, dict[str, Any]], answers: Answers
) -> None:
    """In the cookbook, and in the columns about the run before."""
    folder, manifest = nights
    rows = read_table(folder / "output", "rankings", manifest["run_id"]).to_pylist()
    renamed = [row for row in rows if row["video_uri"].endswith("/renamed.mkv")]
    assert None not in {row["previous_rank"] for row in renamed}
    found = answers["DuckDB"]["What changed since last night?"]
    compared = [row for row in found if row["video_uri"].endswith("/renamed.mkv")]
    assert compared
    assert None not in {value for row in compared for value in row.values()}


def test_what_just_missed_has_scores_of_the_same_settings(
    nights: tuple[Path, dict[str, Any]], answers: Answers
) -> None:
    folder, manifest = nights
    library = read_table(folder / "output", "library", manifest["run_id"]).to_pylist()
    decided = {row["video_uri"]: row["ranked_in"] == row["scored_in"] for row in library if row["listed"]}
    first = next(uri for uri in decided if uri.endswith("/first.mp4"))
    assert not decided[first], "it was to be ranked anew from stored scores"
    missed = answers["DuckDB"]["What just missed the ranking, and by how much?"]
    assert {decided[row["video_uri"]] for row in missed} == {True}
    assert all(row["missing"] >= 0 for row in missed)


def test_where_a_run_decided_windows_and_ranking_they_agree(nights: tuple[Path, dict[str, Any]]) -> None:
    folder, manifest = nights
    output = folder / "output"
    library = read_table(output, "library", manifest["run_id"]).to_pylist()
    decided = {
        row["video_uri"] for row in library if row["ranked_in"] == row["scored_in"] == manifest["run_id"]
    }
    key = ("video_uri", "start", "end", "score")
    windows = read_table(output, "windows", manifest["run_id"]).to_pylist()
    rankings = read_table(output, "rankings", manifest["run_id"]).to_pylist()
    ranked = {tuple(row[name] for name in key) for row in rankings if row["video_uri"] in decided}
    assert len(decided) == 3
    assert {tuple(row[name] for name in key) for row in windows if row["reason"] is None} == ranked


def test_a_label_counts_for_its_version_of_a_video_under_any_name(
    nights: tuple[Path, dict[str, Any]], answers: Answers
) -> None:
    folder, manifest = nights
    labelled = pq.ParquetFile(next(iter((folder / "output").glob("labels/*.parquet")))).read().to_pylist()
    of_version = {(row["video_etag"], row["start"], row["end"]) for row in labelled}
    rows = read_table(folder / "output", "rankings", manifest["run_id"]).to_pylist()
    counted = [row for row in rows if (row["video_etag"], row["start"], row["end"]) in of_version]
    assert {"first.mp4", "renamed.mkv"} <= names_in(counted)
    assert "THIRD.MP4" not in names_in(counted)
    found = answers["DuckDB"]["Do editors publish what scores high?"]
    assert sum(row["labels"] for row in found) == len(counted)


def test_every_tool_answers_over_a_bucket_as_over_a_folder(
    nights: tuple[Path, Manifest], answers: Answers, moto_server: Server, tmp_path: Path
) -> None:
    """From a folder of its own, with nothing but the standard AWS variables."""
    upload(nights[0] / "output", moto_server.new_bucket("analysts"), "rankings")
    asked = ask(
        tmp_path,
        output="s3://analysts/rankings",
        AWS_ENDPOINT_URL=moto_server.endpoint,
        AWS_REGION="us-east-1",
        AWS_ACCESS_KEY_ID=moto_server.access_key,
        AWS_SECRET_ACCESS_KEY=moto_server.secret_key,
    )
    assert asked == answers


def alike(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float | int):
        return math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-3)
    return bool(a == b)
