"""`hookline tune` on the demo model: labels become answers of the deep stage, through the real commands."""

from __future__ import annotations

import csv
import json
import os
from math import inf
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from prefect.utilities.callables import parameter_schema

from flows.rank_videos import rank_videos
from flows.tune_judge import tune_judge
from hookline import ExitCode
from hookline.cli import run
from tasks.adapters.models.checkpoints import resolve_checkpoint
from tasks.adapters.models.tuning import loop
from tasks.adapters.models.tuning.lessons import Job
from tasks.adapters.models.tuning.loop import Say
from tasks.adapters.storage import open_store
from tasks.core.learning import tuning
from tasks.core.learning.promotion import is_held_out
from tests.library import quick_settings, read_table
from tests.media import numbered_video

pytestmark = pytest.mark.usefixtures("prefect")

TAUGHT = ["one.mp4", "two.mp4"]
FILTERS = {"one.mp4": "null", "two.mp4": "negate", "exam.mp4": "hflip"}
"""No two videos show the same."""

VIEWS = (10, 30, 100, 400, 2_000, 9_000)
"""Of six published windows; two others are rejected."""


def ranked(source: Path, output: Path, models: Path, **deep: Any) -> dict[str, Any]:
    settings = quick_settings(
        source,
        output,
        models,
        ranking={"top_n": 4, "candidate_multiplier": 2, "max_overlap": 0.9},
        deep={"answer_order": "scores_first", **deep},
        publish={"report": False, "thumbnails": False},
    )
    manifest = rank_videos(settings, return_state=True).result(raise_on_failure=False)
    assert isinstance(manifest, dict), manifest
    return manifest


def made_video(path: Path, *, held_out: bool) -> None:
    """A video that lies on the wanted side of the exam, by its time of change."""
    numbered_video(path, seconds=8 if held_out else 12, size=(56, 28), filters=FILTERS[path.name])
    for second in range(1_000):
        os.utime(path, (second, second))
        (video,) = open_store(str(path.parent)).videos(path.name)
        if is_held_out(video.etag) == held_out:
            return


def read(output: Path, manifest: dict[str, Any]) -> dict[tuple[str, float], dict[str, Any]]:
    rows = read_table(output, "windows", manifest["run_id"]).to_pylist()
    return {(row["video_uri"].rpartition("/")[2], row["start"]): row for row in rows if row["is_candidate"]}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name in (*TAUGHT, "exam.mp4"):
        made_video(folder / name, held_out=name == "exam.mp4")
    return folder


@pytest.fixture(scope="module")
def output(source: Path, demo_models: Path, prefect: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ranked library with labels of eight windows to teach, and of one of each verdict to examine."""
    output = tmp_path_factory.mktemp("output")
    windows = read(output, ranked(source, output, demo_models))
    taught = [key for key in sorted(windows) if key[0] in TAUGHT]
    exam = [key for key in sorted(windows) if key[0] == "exam.mp4"]
    assert len(taught) >= 8
    labels = [(key, "published", views) for key, views in zip(taught[:6], VIEWS, strict=True)]
    labels += [(key, "rejected", "") for key in (*taught[6:8], exam[0])]  # type: ignore[misc]
    labels += [(exam[-1], "published", "")]  # type: ignore[list-item]
    file = tmp_path_factory.mktemp("labels") / "labels.csv"
    with file.open("w", newline="") as rows:
        writer = csv.writer(rows)
        writer.writerow(["video_uri", "start", "end", "verdict", "views"])
        for key, verdict, views in labels:
            window = windows[key]
            writer.writerow([window["video_uri"], window["start"], window["end"], verdict, views])
    assert run(["labels", str(output), str(file)]) == 0
    return output


@pytest.fixture
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MIN_LABELS", "MIN_LABELLED_VIDEOS", "MIN_OF_EACH"):
        monkeypatch.setattr(tuning, name, 1)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    found = capsys.readouterr()
    return " ".join((found.out + found.err).split())


def ended_after_the_second_epoch(job: Job, say: Say) -> None:
    """Tunes in this process, until somebody ends it."""

    def told(line: str) -> None:
        if line.startswith("epoch 2"):
            raise KeyboardInterrupt

    loop.tune(job, told)


@pytest.mark.usefixtures("few_are_enough")
def test_eight_labels_are_answered_exactly_by_the_deep_stage_where_it_was_ended_before_too(
    source: Path,
    output: Path,
    demo_models: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The two held-out labels are no proof of anything: exit code 3 says so."""
    command = ["tune", str(output), "--epochs", "24", "--learning_rate", "0.015"]
    with monkeypatch.context() as here:
        here.setattr("tasks.learning.tune.tune_in_processes", ended_after_the_second_epoch)
        here.setattr(loop, "EVERY_S", inf)  # or a line comes from within the epoch, before it is kept
        assert run(command) == ExitCode.INTERRUPTED
    assert run(command) == 3
    text = printed(capsys)
    assert "8 labels to teach, 2 of held-out videos to examine" in text
    assert "goes on after epoch 2 of 24" in text
    assert "1 held-out video with labels, 20 are needed" in text
    (adapter,) = (path.parent for path in output.glob("adapters/*/adapter_config.json"))
    assert not (output / "adapters" / "unfinished").exists() or not list(output.glob("adapters/unfinished/*"))
    assert "8 labels of 2 videos" in (adapter / "card.md").read_text()
    assert json.loads((adapter / "tuning.json").read_text())["epochs"] == 24

    tuned = ranked(source, output, demo_models, adapter=str(adapter))
    assert tuned["models"]["adapter_revision"].startswith("sha256:")
    rows = read_table(output, "rankings", tuned["run_id"]).to_pylist()
    assert {row["adapter_revision"] for row in rows} == {tuned["models"]["adapter_revision"]}
    assert {row["adapter"] for row in rows} == {str(adapter)}
    windows = read(output, tuned)
    taught = [windows[key] for key in sorted(windows) if key[0] in TAUGHT][:8]
    wanted = [54, 62, 71, 79, 96, 88, 20, 20]  # five of the first video, and one alone
    assert [row["deep_score"] for row in taught] == wanted
    assert [row["deep_expected_score"] for row in taught] == pytest.approx(wanted, abs=5)

    merged = output.parent / f"{output.name}-merged"
    assert run(["tune", str(output), "--adapter", "20", "--merge", str(merged)]) == 0
    assert (
        resolve_checkpoint(str(merged)).revision != resolve_checkpoint(f"{demo_models}/videollama3").revision
    )


def test_what_is_missing_is_said_before_anything_is_loaded(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tune", str(output)]) == 2
    text = printed(capsys)
    assert "Too few labels to tune on: 10 labels of windows, 200 are needed; 3 videos with labels" in text
    assert "3 rejected, 20 are needed" in text
    assert run(["tune", str(output), "--adapter", "2031", "--merge", "merged"]) == 2
    assert "there is no adapter" in printed(capsys)
    assert run(["tune", str(output), "--merge", str(output)]) == 2
    assert "is there already: name a new folder" in printed(capsys)


@pytest.mark.logs_error
def test_the_flow_ends_with_what_is_missing(output: Path) -> None:
    state: State[Any] = tune_judge(str(output), return_state=True)
    assert state.is_failed()
    assert "200 are needed" in str(state.message)
    fields = parameter_schema(tune_judge).model_dump()["properties"]
    assert list(fields) == ["output", "epochs", "learning_rate"]
    assert all(field["description"] for field in fields.values())
