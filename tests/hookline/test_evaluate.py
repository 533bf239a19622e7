"""`hookline evaluate` measures what nights have left, and says what nobody knows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from hookline.cli import run
from tasks.core.tables.schemas import EVALUATIONS
from tests import FIXTURES
from tests.learning_world import World, publish_nights, reaching_the_bar

NIGHTS, VIDEOS = 2, 15


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights of a made-up library, with verdicts that go by the judge's score."""
    output = tmp_path_factory.mktemp("nights")
    publish_nights(output, World(dimensions=16), nights=NIGHTS, videos=VIDEOS)
    labels = []
    for path in sorted(output.glob("windows/*/*.parquet")):
        ranked = [row for row in pq.ParquetFile(path).read().to_pylist() if row["reason"] is None]
        for n, row in enumerate(ranked):
            published = row["deep_expected_score"] > 55
            about = {name: row[name] for name in ("video_uri", "video_etag", "start", "end")}
            verdict = "published" if published else "rejected"
            views = round(np.exp(row["deep_expected_score"] / 10)) if published else None
            if "/000-" in row["video_uri"]:  # labelled before it got this name
                about["video_uri"] = row["video_uri"].replace("world", "before")
            labels.append(about | {"verdict": verdict, "views": views} | ({"start": 1.5} if n == 0 else {}))
    table = pa.Table.from_pylist(labels).append_column("match", [["ranked"] * len(labels)])
    imported = pa.array([0] * len(labels)).cast(pa.timestamp("us", tz="UTC"))
    (output / "labels").mkdir()
    pq.write_table(table.append_column("imported_at", imported), output / "labels" / "one.parquet")
    return output


@pytest.fixture
def output(nights: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(nights, tmp_path / "out"))


def kept(output: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    (path,) = output.glob("evaluations/run_date=*/*.parquet")
    table = pq.ParquetFile(path).read()
    assert table.schema.remove_metadata().equals(EVALUATIONS)
    return {(row["metric"], row["score"], row["scope"]): row for row in table.to_pylist()}


def test_it_measures_every_score_beside_chance(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(output)]) == 0
    found = kept(output)
    world = World(dimensions=16)
    made = [list(world.videos(VIDEOS, first=VIDEOS * night)) for night in range(NIGHTS)]
    candidates, every = np.sum([*reaching_the_bar(output, made).values()], axis=0)
    recall, chance = (found["recall_at_own_bar", of, "all"] for of in ("fast", "random"))
    assert 0 < chance["value"] < 1
    truth = candidates / every
    assert recall["low"] <= truth <= recall["high"]
    assert recall["value"] == pytest.approx(truth, abs=0.1)
    assert recall["n_rows"] > 0
    assert recall["weighted"]
    order = {of: found["concordance_with_judge", of, "all"]["value"] for of in ("random", "position", "fast")}
    assert order["fast"] > max(order["random"], order["position"], 0.55)
    auc = {of: found["auc_of_verdicts", of, "all"]["value"] for of in ("random", "deep", "combined")}
    assert auc["deep"] == 1.0
    assert auc["deep"] > auc["combined"] > auc["random"]
    assert found["ndcg_at_15_of_views", "deep", "all"]["value"] == pytest.approx(1)
    # One label of each night is of no window.
    labels = NIGHTS * VIDEOS * 15
    counts = [found[name, "", "all"]["value"] for name in ("labels", "labels_joined")]
    assert counts == [labels, labels - NIGHTS]
    agreement = [row["value"] for (metric, _, scope), row in found.items() if metric == "spearman_fast_deep"]
    assert len(agreement) == 1 + NIGHTS
    text = " ".join(capsys.readouterr().out.split())
    assert "How good the scores are (salience)" in text
    assert "Night by night" in text
    (page,) = output.glob("reports/*/index.html")
    assert f"Kept in {page.as_uri()}" in text
    html = page.read_text()
    recall_by_night = [
        found["recall_at_own_bar", "fast", scope]["value"] for *_, scope in found if scope != "all"
    ]
    assert all(f"{value:.2f} (" in html or f"{value:.2f}, " in html for value in recall_by_night)


def test_without_audits_or_labels_it_is_unknown_and_no_bar_is_passed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_nights(tmp_path, World(dimensions=16), nights=1, videos=3, audited=False)
    bars = ["--fail-below", "recall_at_own_bar=0", "--fail-below", "auc_of_verdicts.deep=0"]
    assert run(["evaluate", str(tmp_path), *bars]) == 3
    row = kept(tmp_path)["recall_at_own_bar", "fast", "all"]
    assert (row["value"], row["note"]) == (None, "unknown: no audits")
    text = " ".join(capsys.readouterr().out.split())
    assert "recall_at_own_bar is unknown: no audits" in text
    assert "auc_of_verdicts.deep is unknown: no label is of a scored window" in text
    assert text.count("(too few videos for an interval)") == 2


def keep_only(verdict: str, output: Path) -> None:
    """Drop the labels with another verdict."""
    path = output / "labels" / "one.parquet"
    labels = pq.ParquetFile(path).read()
    pq.write_table(labels.filter(pc.equal(labels["verdict"], verdict)), path)


def test_labels_of_one_verdict_tell_nothing_and_that_is_said(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_only("published", output)
    assert run(["evaluate", str(output), "--fail-below", "auc_of_verdicts=0.1"]) == 3
    text = " ".join(capsys.readouterr().out.split())
    assert "published, AUC: unknown: one verdict only." in text
    assert "auc_of_verdicts is unknown: one verdict only, not 0.1 or more" in text


def test_why_a_metric_was_not_measured_is_said_as_it_is(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels that all reject tell something of the scores, and nothing of moments."""
    keep_only("rejected", output)
    bars = ["auc_of_verdicts=0.1", "hit_at_1=0.1", "kendall_with_curve.deep=0.1"]
    assert run(["evaluate", str(output), *(word for bar in bars for word in ("--fail-below", bar))]) == 3
    text = " ".join(capsys.readouterr().out.split())
    assert "auc_of_verdicts is unknown: one verdict only" in text
    assert "hit_at_1 is unknown: no label of a video that was scored says published" in text
    assert "kendall_with_curve.deep is unknown: there is no curve of a video that was scored" in text


@pytest.mark.parametrize(
    ("bar", "says"),
    [
        ("auc_of_verdicts.nonsense=0.1", "auc_of_verdicts is of the scores combined, deep, fast"),
        ("auc_of_verdicts=x", "write it as auc_of_verdicts=0.5"),
        ("auc_of_verdicts", "write it as auc_of_verdicts=0.5"),
        ("spearman_with_curve.nonsense=0.1", "spearman_with_curve is of the scores combined, deep, fast"),
        ("spearman_with_nonsense=0.1", "no such metric; there are ap_of_verdicts, auc_of_verdicts"),
    ],
)
def test_a_bar_that_is_none_is_refused_without_labels_too(
    output: Path, capsys: pytest.CaptureFixture[str], bar: str, says: str
) -> None:
    shutil.rmtree(output / "labels")
    assert run(["evaluate", str(output), "--fail-below", bar]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_a_bar_that_is_missed_fails_and_one_that_is_passed_does_not(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passed = ["--fail-below", "auc_of_verdicts.deep=0.9", "--fail-below", "recall_at_own_bar=0.01"]
    assert run(["evaluate", str(output), *passed]) == 0
    assert run(["evaluate", str(output), *passed, "--fail-below", "concordance_with_judge.random=0.9"]) == 3
    assert "concordance_with_judge.random is 0." in capsys.readouterr().out
    assert run(["evaluate", str(output), *passed, "--fail-below", "auc_of_verdicts.deep=nan"]) == 3


@pytest.mark.parametrize(
    ("bar", "says"),
    [
        ("nonsense=1", "no such metric; there are ap_of_verdicts, auc_of_verdicts"),
        ("auc_of_verdicts.depe=1", "auc_of_verdicts is of the scores combined, deep, fast"),
        ("auc_of_verdicts=x", "=0.5"),
    ],
)
def test_a_bar_that_is_none_is_refused(
    output: Path, capsys: pytest.CaptureFixture[str], bar: str, says: str
) -> None:
    assert run(["evaluate", str(output), "--fail-below", bar]) == 2
    assert says in " ".join(capsys.readouterr().err.split())
    assert not (output / "evaluations").exists()


@pytest.mark.parametrize(
    ("of", "name", "value"),
    [
        ("models", "videollama3_revision", "2"),
        ("settings", "speech", {"enabled": True, "transcribe": True, "in_prompt": False}),
        ("settings", "ranking", {"top_n": 15, "candidate_multiplier": 4, "max_overlap": "0.75"}),
        ("settings", "windows", {"window_seconds": [30]}),
    ],
)
def test_runs_that_ask_or_choose_otherwise_are_not_counted_together(
    output: Path, capsys: pytest.CaptureFixture[str], of: str, name: str, value: object
) -> None:
    newest = max(output.glob("runs/*.json"))
    manifest = json.loads(newest.read_text())
    manifest[of][name] = value
    newest.write_text(json.dumps(manifest))
    assert run(["evaluate", str(output)]) == 0
    assert kept(output)["spearman_fast_deep", "fast", "all"]["n_videos"] == VIDEOS
    text = " ".join(capsys.readouterr().out.split())
    assert f"Not counted together: {VIDEOS} videos of runs with another head, another judge" in text


def test_runs_of_earlier_versions_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = shutil.copytree(FIXTURES / "published-schema-2", tmp_path / "out")
    assert run(["evaluate", str(output)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "1 run of earlier versions did not keep what the deep model said" in text
    assert "Recall of the fast score: unknown: no windows" in text
    assert "left nothing out" not in text
    assert run(["evaluate", str(output), "--fail-below", "concordance_with_judge=0.1"]) == 3
    text = " ".join(capsys.readouterr().out.split())
    assert "concordance_with_judge is unknown: no windows of videos that no head was fitted on" in text


def test_an_output_without_a_run_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(tmp_path)]) == 1
    assert "hookline rank SOURCE" in " ".join(capsys.readouterr().err.split())
