"""The tests that documents name exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests import ROOT

NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
DOCUMENTS = {"docs/reliability.md": 20, "docs/storage.md": 6, "SECURITY.md": 10, "README.md": 1}
"""Each with how many tests it names at least."""


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_a_document_names_exists(document: str) -> None:
    named = NAMED.findall((ROOT / document).read_text())
    assert len(named) >= DOCUMENTS[document]
    for file, test in named:
        functions = {
            node.name
            for node in ast.walk(ast.parse((ROOT / file).read_text()))
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        }
        assert functions, file
        assert not test or test in functions, f"{file}::{test}"


def test_every_row_of_reliability_names_its_test() -> None:
    rows = [line for line in (ROOT / "docs/reliability.md").read_text().splitlines() if line.startswith("| ")]
    assert not [row for row in rows if "::test_" not in row and not row.endswith("| test |")]
