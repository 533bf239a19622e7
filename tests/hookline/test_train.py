"""`hookline train` fits a head on nights, promotes it if it is better, and names what is missing if not."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from math import comb
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hookline.cli import run
from tasks.adapters.models.head import find_head, kept_heads, load_head
from tasks.adapters.storage import open_store
from tasks.core.learning.metrics import Estimate
from tasks.core.learning.promotion import Exam
from tasks.core.records import WindowFeatures
from tasks.learning.train import MIN_HELD_OUT, reasons
from tests import FIXTURES
from tests.learning_world import STATES, World, publish_nights, publish_plain_night, recall_of, taken_over

VIDEOS = 370
"""So many that 60 of them are held out."""


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights of which embeddings tell much of what the judge says."""
    output = tmp_path_factory.mktemp("taught")
    for number in range(2):
        publish_plain_night(output, videos=VIDEOS // 2, number=number)
    return output


@pytest.fixture
def output(taught: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(taught, tmp_path / "out"))


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    found = capsys.readouterr()
    return " ".join((found.out + found.err).split())


def test_a_head_that_is_better_scores_from_now_on(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_head("latest", str(output)) is None
    assert run(["train", str(output)]) == 0
    text = printed(capsys)
    assert "Promoted: runs with --fast.head latest score by it" in text
    (name,) = kept_heads(open_store(str(output)))
    head = find_head("latest", str(output))
    assert head
    assert head.revision == load_head(str(output / "heads" / name)).revision
    assert head.uri.endswith(f"/heads/{name}")
    # The judge goes by the first number of an embedding, whatever the video.
    embeddings = np.zeros((4, 8), np.float32) + 100
    embeddings[:, 0] = [3, 1, 2, 0]
    assert head(WindowFeatures(embeddings, np.zeros(4, np.float32))) == [87, 37, 62, 12]
    assert head.fast_kind == "head_percentile"
    about = json.loads((output / "heads" / name / "head.json").read_text())
    assert about["gain"] > 0.2
    assert about["videos"] + about["held_out_videos"] == VIDEOS // 2 * 2
    assert about["held_out_videos"] >= 60
    assert "held-out videos" in (output / "heads" / name / "card.md").read_text()


def test_the_same_nights_give_the_same_bytes(output: Path) -> None:
    for promote in ("always", "never"):
        assert run(["train", str(output), "--promote", promote]) == 0
        name = kept_heads(open_store(str(output)))[-1]
        (output / "heads" / name).rename(output / promote)
        if promote == "always":
            (output / "heads" / "latest.json").unlink()
    for file in ("head.safetensors", "head.json", "card.md"):
        assert (output / "always" / file).read_bytes() == (output / "never" / file).read_bytes()


def test_a_head_finds_more_of_what_the_judge_likes_than_salience(tmp_path: Path) -> None:
    """On videos of their own: of the fifteen best, those that would be candidates.

    Where known answers stand in for others nearby, fewer than half of these candidates are new.
    """
    world = World(dimensions=STATES)
    publish_nights(tmp_path, world, nights=1, videos=120)
    assert run(["train", str(tmp_path), "--promote", "never"]) == 0
    (name,) = kept_heads(open_store(str(tmp_path)))
    unseen = list(world.videos(40, first=1000))
    salience, chance = recall_of(None, unseen)
    head = load_head(str(tmp_path / "heads" / name))
    of_head, _ = recall_of(head, unseen)
    assert of_head - 0.03 > salience > chance
    found = taken_over([None, head], unseen[:20])
    assert found.new < 0.5 < 0.75 < found.new_alone
    assert abs(found.best - found.best_alone) < 1


def test_a_head_that_is_no_better_is_kept_and_not_promoted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_plain_night(tmp_path, videos=VIDEOS, learnable=0)
    assert run(["train", str(tmp_path)]) == 3
    text = printed(capsys)
    assert "Not promoted:" in text
    assert "it may be no better" in text
    (name,) = kept_heads(open_store(str(tmp_path)))
    assert find_head("latest", str(tmp_path)) is None
    assert run(["heads", str(tmp_path), "--promote", name[:12]]) == 0
    assert f"{name} since" in printed(capsys)
    assert find_head("latest", str(tmp_path))


def test_one_head_a_week_may_take_over(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(output)]) == 0
    assert run(["train", str(output)]) == 3
    assert "one a week may take over" in printed(capsys)
    name = max(kept_heads(open_store(str(output))))
    tried = datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    compared = Exam(Estimate(0.1, 0.05, videos=100), Estimate(0.1), cut=1)
    later = tried + timedelta(days=7, seconds=-30)  # a weekly schedule does not begin to the second
    assert reasons(open_store(str(output)), compared, later, "auto") == []


def test_heads_are_listed_and_an_earlier_one_comes_back(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["heads", str(output)]) == 0
    assert "There is no head" in printed(capsys)
    assert run(["heads", str(output), "--promote", "2027"]) == 2
    assert "there is no head under" in printed(capsys)
    assert run(["train", str(output)]) == 0
    (name,) = kept_heads(open_store(str(output)))
    shutil.copytree(output / "heads" / name, output / "heads" / "20270101T000000Z-abcdef")
    assert run(["heads", str(output), "--promote", "2027"]) == 0
    pointer = json.loads((output / "heads" / "latest.json").read_text())
    assert (pointer["head"], pointer["replaces"]) == ("20270101T000000Z-abcdef", name)
    assert run(["heads", str(output), "--promote", name]) == 0
    assert json.loads((output / "heads" / "latest.json").read_text())["head"] == name
    capsys.readouterr()
    assert run(["heads", str(output), "--promote", "20"]) == 2
    assert "there are 2 heads '20'" in printed(capsys)


@pytest.mark.parametrize("written", [b"{", b"[1, 2]", b"\xff", b'{"gain": "[/b]", "rows": "[/b]"}'])
def test_a_head_that_cannot_be_read_is_listed_as_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: bytes
) -> None:
    folder = tmp_path / "heads" / "20270101T000000Z-abcdef"
    folder.mkdir(parents=True)
    (folder / "head.json").write_bytes(written)
    assert run(["heads", str(tmp_path)]) == 0
    assert ("head.json cannot be read: put it back" in printed(capsys)) is not written.startswith(b'{"')
    assert run(["heads", str(tmp_path), "--promote", "2027"]) == 1
    assert "is not a score head" in printed(capsys)


def test_too_little_is_refused_with_the_numbers_that_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_plain_night(tmp_path, videos=30)
    assert run(["train", str(tmp_path)]) == 2
    text = printed(capsys)
    assert "Too little to learn from in 1 run" in text
    assert "videos to fit on, with 5 judged windows or more, 40 are needed" in text
    assert "600 judged windows, 1,000 are needed. Rank more videos with the deep stage, about 130" in text
    for least, found in zip(
        (MIN_HELD_OUT, 60), re.findall(r"(\d+) (?:videos in all|before)", text), strict=True
    ):
        few = sum(comb(int(found), n) * 0.2**n * 0.8 ** (int(found) - n) for n in range(least))
        assert few < 0.1, "of so many videos, enough are held out nearly always"
    assert not (tmp_path / "heads").exists()


def test_nights_without_a_deep_model_teach_nothing(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in output.glob("runs/*.json"):
        manifest = json.loads(path.read_text())
        manifest["models"]["videollama3"] = None
        path.write_text(json.dumps(manifest))
    assert run(["train", str(output)]) == 2
    assert "No run had a deep model" in printed(capsys)


def test_a_judge_that_says_the_same_of_everything_is_refused(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in output.glob("windows/*/*.parquet"):
        table = pq.ParquetFile(path).read()
        at = table.schema.get_field_index("deep_expected_score")
        same = pa.array([50.0] * len(table), pa.float32())
        pq.write_table(table.set_column(at, table.schema.field(at), same), path)
    assert run(["train", str(output)]) == 2
    assert "spread by 0.00 points, 1 are needed" in printed(capsys)


@pytest.mark.parametrize("model", ["videollama3_revision", "prompt_hash", "videomae_revision"])
def test_nights_of_several_models_are_named_and_not_mixed(
    output: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    since = publish_plain_night(output, videos=VIDEOS, number=9, **{model: "another"})
    assert run(["train", str(output)]) == 2
    text = printed(capsys)
    assert f"The nights have several {model}" in text
    assert f"another up to {since}" in text
    assert run(["train", str(output), "--since", since]) == 0
    assert run(["train", str(output), "--since", "2031"]) == 1
    assert f"no complete run since 2031 under {output.as_uri()}: the newest is {since}" in printed(capsys)


def test_nights_in_which_the_judge_knew_what_is_said_are_others(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = max(output.glob("runs/*.json"))
    manifest = json.loads(newest.read_text())
    assert manifest["settings"]["speech"]["in_prompt"] is True
    manifest["settings"]["speech"]["in_prompt"] = False
    newest.write_text(json.dumps(manifest))
    assert run(["train", str(output)]) == 2
    assert "The nights have several speech.in_prompt" in printed(capsys)


def test_a_head_of_another_videomae_is_no_champion(tmp_path: Path) -> None:
    """It cannot score these embeddings, as many numbers as they may have."""
    for number, revision in enumerate(("one", "two")):
        since = publish_plain_night(tmp_path, videos=VIDEOS, number=number, videomae_revision=revision)
        assert run(["train", str(tmp_path), "--since", since, "--promote", "always"]) == 0
        head = find_head("latest", str(tmp_path))
        assert head
        assert head.fitted_on == revision
        about = json.loads((tmp_path / "heads" / head.uri.rpartition("/")[2] / "head.json").read_text())
        assert (about["videomae_revision"], about["compared_with"]) == (revision, "salience")


def test_embeddings_that_are_no_numbers_are_named(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = max(output.glob("windows/*/*.parquet"))
    table = pq.ParquetFile(path).read()
    values = table["embedding"].combine_chunks().flatten().to_numpy().copy()
    values[100] = np.nan
    at = table.schema.get_field_index("embedding")
    broken = pa.FixedSizeListArray.from_arrays(pa.array(values), 8)
    pq.write_table(table.set_column(at, table.schema.field(at), broken), path)
    assert run(["train", str(output)]) == 2
    assert "00000.mp4 in run" in printed(capsys)


def test_nights_of_earlier_versions_are_refused_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = shutil.copytree(FIXTURES / "published-schema-2", tmp_path / "out")
    assert run(["train", str(output)]) == 2
    assert "No run here kept what the deep model said" in printed(capsys)
