"""What people type, and write into files, becomes the settings they meant, or a clear error."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from hookline.cli import rank, run
from hookline.options import Groups
from tasks.core.settings import Settings

Typed = Callable[..., Settings]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Typed:
    """The settings of `hookline rank` with some options, in the moment before a run would begin."""

    def settings(*options: str) -> Settings:
        made: list[Settings] = []
        with monkeypatch.context() as patched:
            patched.setattr("hookline.run.run_embedded", lambda made_of, **_: made.append(made_of) or 0)
            assert run(["rank", *options]) == 0
        return made[0]

    return settings


def test_every_group_of_settings_is_an_option(typed: Typed) -> None:
    options = {*Groups.model_fields, *inspect.signature(rank).parameters}
    assert set(Settings.model_fields) <= options
    assert not typed("a", "b", "--speech.enabled=false").speech.enabled


@pytest.mark.parametrize(
    "options",
    [
        ["--windows.window_seconds", "15", "59"],
        ["--windows.window_seconds", "15,59"],
        ["--windows.window_seconds=15,59"],
        ["--windows.window_seconds", "15", "--windows.window_seconds", "59"],
        ["--windows.window_seconds=15", "59"],
    ],
    ids=" ".join,
)
def test_several_window_lengths_are_given_in_any_way(options: list[str], typed: Typed) -> None:
    for arguments in (["in", "out", *options], [*options, "in", "out"]):
        made = typed(*arguments)
        assert made.windows.window_seconds == (15, 59)
        assert (made.source, made.output) == ("in", "out")


def test_a_switch_takes_its_value_after_a_space(typed: Typed) -> None:
    made = typed("in", "out", "--deep.enabled", "false", "--publish.clips", "--dry_run")
    assert (made.deep.enabled, made.publish.clips, made.dry_run) == (False, True, True)


def test_a_file_means_what_it_says(typed: Typed, tmp_path: Path) -> None:
    """Also where YAML 1.1 reads another thing: `off` as a boolean, and 9:16 as a number."""
    file = tmp_path / "settings.yaml"
    file.write_text(
        "windows: {window_seconds: 15}\n"
        "deep: {cache: off, enabled: true}\n"
        "publish:\n  crop: 9:16\n  clips: yes\n"
        "ranking: {top_n: 3, max_overlap: 0.5}\n"
    )
    made = typed("in", "out", "--settings", str(file), "--ranking.top_n=4")
    assert made.windows.window_seconds == (15,)
    assert (made.deep.cache, made.deep.enabled) == ("off", True)
    assert (made.publish.crop, made.publish.clips) == ("9:16", True)
    assert (made.ranking.top_n, float(made.ranking.max_overlap)) == (4, 0.5)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("ranking: {top_n: 3\nfast: x\n", "settings.yaml, line 2, column 5: this is no YAML"),
        ("ranking:\n\ttop_n: 3\n", "settings.yaml, line 2, column 1: this is no YAML"),
        ("- a\n- b\n", "settings.yaml must hold settings by their names"),
        ("ranking: {topn: 3}\n", "settings.yaml. Did you mean --ranking.top_n?"),
        ("source: videos\n", "settings.yaml: source is given on the command line, not in the file"),
        ("ranking: {top_n: many}\n", "ranking.top_n: Input should be a valid integer"),
    ],
)
def test_a_wrong_file_is_named_with_the_place(
    content: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings.yaml").write_text(content)
    assert run(["rank", "in", "out", "--settings", str(tmp_path / "settings.yaml")]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rank", "in", "out", "more"], "'more' is one argument too many"),
        (["rank", "in", "out", "--windows.window_seconds", "0"], "window_seconds.0: Input should be greater"),
        (["show", "out", "--settings", "settings.yaml"], "Unknown option: --settings"),
    ],
    ids=str,
)
def test_one_mistake_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


@pytest.mark.parametrize("command", ["", "show", "diff", "labels", "demo", "demo-models"])
def test_settings_are_no_option_where_they_do_not_count(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command.split(), "--help"]) == 0
    assert "--settings" not in capsys.readouterr().out


@pytest.mark.logs_error
@pytest.mark.usefixtures("prefect")
def test_folders_are_named_without_a_word_of_aws(
    tmp_path: Path, demo_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    for source, output, says in (
        ("nowhere", "out", "there is no file or folder of this name"),
        ("videos", "file/out", "a part of this path is a file, where a folder should be"),
    ):
        models = [
            "--fast.model",
            str(demo_models / "videomae"),
            "--deep.enabled=false",
            "--speech.transcribe=false",
        ]
        assert run(["rank", str(tmp_path / source), str(tmp_path / output), *models]) == 1
        text = capsys.readouterr().err
        assert says in text
        assert "AWS" not in text
        assert "bucket" not in text
