"""The examples run as their first lines say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from examples.rank_from_python import main
from tests.library import quick_settings
from tests.media import numbered_video

pytestmark = pytest.mark.usefixtures("prefect")


def test_videos_are_ranked_from_python(
    demo_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, output, file = tmp_path / "videos", tmp_path / "out", tmp_path / "settings.yaml"
    videos.mkdir()
    numbered_video(videos / "one.mp4", seconds=9)
    quick = quick_settings(videos, output, demo_models).model_dump(mode="json", exclude={"source", "output"})
    file.write_text(yaml.safe_dump(quick))
    main(str(videos), str(output), str(file))
    state, best, second = capsys.readouterr().out.splitlines()
    assert state == "Completed: 1 of 1 video ranked, 0 rejected, 0 failed"
    assert best.startswith("1. ")
    assert f"file://{videos}/one.mp4" in second
