"""An adapter of `hookline tune` is found by the beginning of its id."""

from __future__ import annotations

from pathlib import Path

import pytest

from hookline.tuning import adapter_called
from tasks.adapters.storage import open_store
from tasks.core.errors import SettingsError

ONE, OTHER = "20261101T010000Z-aaaaaa", "20261102T010000Z-bbbbbb"


@pytest.mark.parametrize(
    ("there", "named", "says"),
    [
        ([], "2026", r"--adapter 2026: there is no adapter under .* yet: hookline tune trains one"),
        ([ONE], "2031", rf"there is no adapter '2031' under .*; the newest are {ONE}"),
        ([ONE, OTHER], "2026", rf"there are 2 adapters '2026' under .*; the newest are {ONE}, {OTHER}"),
    ],
)
def test_an_adapter_that_is_not_named_clearly_is_refused(
    tmp_path: Path, there: list[str], named: str, says: str
) -> None:
    keep(tmp_path, *there)
    with pytest.raises(SettingsError, match=says):
        adapter_called(open_store(str(tmp_path)), named)


@pytest.mark.parametrize("named", [OTHER, OTHER[:8]])
def test_an_adapter_is_found_by_the_beginning_of_its_id(tmp_path: Path, named: str) -> None:
    keep(tmp_path, ONE, OTHER)
    assert adapter_called(open_store(str(tmp_path)), named) == OTHER


def keep(output: Path, *adapters: str) -> None:
    """Adapters under an output, beside one that is not finished."""
    for file in (*(f"{name}/adapter_config.json" for name in adapters), "unfinished/20261103.safetensors"):
        (output / "adapters" / file).parent.mkdir(parents=True, exist_ok=True)
        (output / "adapters" / file).touch()
