"""The pages as a site, and the page of settings, which is made from the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hookline.api.contract.settings import Serve
from tasks.core.settings import Settings
from tests import ROOT
from tests.docs.settings_page import page


def test_the_page_of_settings_is_what_the_code_says() -> None:
    """If this fails: python -m tests.docs.settings_page > docs/settings.md"""
    made = page()
    assert (ROOT / "docs" / "settings.md").read_text() == made
    groups = Settings.model_json_schema()["$defs"] | {"Serve": Serve.model_json_schema()}
    assert set(re.findall(r"^## (\w+)$", made, flags=re.MULTILINE)) == {name.lower() for name in groups}
    for group, schema in groups.items():
        assert all(f"| `{group.lower()}.{name}` |" in made for name in schema["properties"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    return folder


def test_every_page_of_the_docs_is_in_the_site(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert {path.parent.name for path in site.glob("*/index.html")} == pages
    front = (site / "index.html").read_text()
    assert all(f'href="{name}/"' in front for name in pages)
    first = (ROOT / "docs" / "index.md").read_text()
    assert {name for name in pages if f"]({name}.md)" not in first} == set()


def test_a_page_loads_nothing_from_another_host(site: Path) -> None:
    loaded = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
    pages = list(site.rglob("*.html"))
    assert len(pages) > 5
    assert [tag for page in pages for tag in loaded.findall(page.read_text())] == []
    sheets = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", sheets)
