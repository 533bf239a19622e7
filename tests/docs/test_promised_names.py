"""What documents name is there: commands, options, settings, variables, reasons, and what links point to."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import prefect.settings
import pytest

from hookline.api.contract.settings import Serve
from hookline.cli import app
from hookline.options import joined
from tasks.adapters.video.clips import sound
from tasks.adapters.workers.dask import NO_WORKERS_TIMEOUT_S
from tasks.adapters.workers.dask_cluster import FIRST_WORKER_TIMEOUT_S, MAX_WANTED
from tasks.core.learning import promotion, tuning
from tasks.core.listing import LATE_AFTER
from tasks.core.settings import Settings
from tasks.core.speech.transcripts import MAX_QUOTED_CHARS
from tasks.core.tables.labels import TOLERANCE_S
from tasks.core.tables.library import KEPT_DAYS
from tasks.core.tables.parquet_options import ROW_GROUP_ROWS
from tasks.core.tables.run_ranking import MIN_OF_VERDICT
from tasks.core.tables.schemas import windows_schema
from tasks.core.throughput import DeepThroughput, FastThroughput
from tasks.core.views import report
from tasks.learning.train import MIN_FITTED, MIN_HELD_OUT, MIN_WINDOWS
from tests import ROOT
from tests.hookline.test_cli import paths

PAGES = ["README.md", "SECURITY.md", "CONTRIBUTING.md", "deployments/README.md"]
PAGES += sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
TEXTS = {page: (ROOT / page).read_text() for page in PAGES}
DEPLOYED = [
    path.read_text()
    for path in (ROOT / "deployments").rglob("*")
    if path.is_file() and path.suffix not in (".md", ".pyc")
]

BLOCK = re.compile(r"^```\w*\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
OF_OTHERS = {"--limit", "--memory-limit", "--from-file", "--full-size", "--rehearse"}
"""Options of Prefect, Dask, kubectl and the benchmarks."""


def quoted(text: str) -> list[str]:
    """What stands between backticks within sentences."""
    return re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))


def commands(text: str) -> Iterator[list[str]]:
    """What is typed after `hookline`, in blocks and within sentences."""
    typed = [line for block in BLOCK.findall(text) for line in block.replace("\\\n", "").splitlines()]
    for line in (*typed, *quoted(text)):
        if command := re.match(r"\s*(?:[\d*]+ )*hookline ([a-z].*)", line):
            yield shlex.split(command[1], comments=True)


def options_of(command: str) -> set[str]:
    arguments = app[command].assemble_argument_collection()
    return {"--help", *(name for each in arguments for name in map(spelt, each.names))}


def spelt(option: str) -> str:
    """An option as it is compared: `--fail-below=1` and `--fail_below` are one."""
    return option[:2] + option[2:].partition("=")[0].replace("-", "_")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists_with_its_options(page: str) -> None:
    for command, *arguments in commands(TEXTS[page]):
        assert command in app, command
        options = {spelt(each) for each in joined(arguments) if each.startswith("--")}
        assert options <= options_of(command), (command, arguments)


@pytest.mark.parametrize("page", PAGES)
def test_every_option_is_one_of_some_command(page: str) -> None:
    named = {spelt(text.split()[0]) for text in quoted(TEXTS[page]) if text.startswith("--")}
    known = set().union(*map(options_of, (name for name in app if not name.startswith("-"))))
    assert named <= known | set(map(spelt, OF_OTHERS))


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_is_one(page: str) -> None:
    """Or a column of a table that is called as a group is."""
    known = {*paths(Settings), *paths(Serve, "serve.")}
    known |= {f"windows.{name}" for name in windows_schema(1).names}
    known |= {f"fast.{name}" for name in FastThroughput.model_fields}
    known |= {f"deep.{name}" for name in DeepThroughput.model_fields}
    groups = "|".join([*Settings.model_fields, "serve"])
    dotted = re.compile(rf"(?<![\w./-])(?:--)?((?:{groups})\.[a-z_0-9]+)(?![\w.]*\.[a-z]|\()")
    named = {name for text in quoted(TEXTS[page]) for name in dotted.findall(text)}
    assert {name for name in named if name not in known} == set()


@pytest.mark.parametrize("page", PAGES)
def test_a_default_that_is_named_beside_its_setting_is_one(page: str) -> None:
    defaults = Settings(source="in", output="out").model_dump()
    named = re.findall(r"`([a-z]+)\.(\w+)` (?:is |= )?\(?(\d[\d.,]*\d|\d)\b", " ".join(TEXTS[page].split()))
    wrong = [name for name in named if name[0] in defaults and defaults[name[0]][name[1]] != Decimal(name[2])]
    assert wrong == []


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("README.md", f"up to {report.MAX_VIDEOS} videos"),
        ("README.md", f"{report.PICTURE_BYTES / 1e6:.0f} MB of pictures"),
        ("README.md", f"{sound.TARGET_LUFS} LUFS, true peaks"),
        ("README.md", f"louder by up to {sound.MAX_GAIN_DB} dB"),
        ("README.md", f"at most {MAX_QUOTED_CHARS:,} characters"),
        ("docs/data.md", f"after {KEPT_DAYS} days without one it is forgotten"),
        ("docs/data.md", f"give or take {TOLERANCE_S} s"),
        ("docs/data.md", f"**row groups** of {ROW_GROUP_ROWS:,}"),
        (
            "docs/data.md",
            f"{MIN_OF_VERDICT} of them were published, or fewer than {MIN_OF_VERDICT}",
        ),
        (
            "docs/learning.md",
            f"{MIN_OF_VERDICT} ranked segments were published and {MIN_OF_VERDICT} ",
        ),
        ("docs/learning.md", f"fewer than {MIN_FITTED} videos to fit on, {MIN_HELD_OUT} to compare on"),
        ("docs/learning.md", f"or {MIN_WINDOWS:,} judged windows"),
        ("docs/learning.md", f"fewer than {tuning.MIN_LABELS} labels of windows, of"),
        (
            "docs/learning.md",
            f"{tuning.MIN_LABELLED_VIDEOS} videos, or {tuning.MIN_OF_EACH} of either",
        ),
        ("docs/learning.md", f"at least +{promotion.MIN_GAIN:g}, its lower bound"),
        ("docs/learning.md", f"on {promotion.MIN_HELD_OUT} held-out videos or more"),
        ("docs/operations.md", f"({MAX_WANTED} at the most)"),
        ("docs/operations.md", f"waits {FIRST_WORKER_TIMEOUT_S / 60:.0f} minutes for it"),
        ("docs/operations.md", f"comes within {NO_WORKERS_TIMEOUT_S / 60:.0f} minutes each time"),
        ("docs/storage.md", f"older than {LATE_AFTER / timedelta(hours=1):.0f} hours"),
    ],
)
def test_a_bound_is_that_of_the_code(page: str, says: str) -> None:
    assert says in " ".join(TEXTS[page].split())


def test_a_run_waits_for_its_server_as_long_as_the_guide_says() -> None:
    """Prefect waits 2, 4, 8 and more seconds after each try."""
    (deployed,) = re.findall(r'PREFECT_CLIENT_MAX_RETRIES: "(\d+)"', (ROOT / "prefect.yaml").read_text())
    by_hand = prefect.settings.PREFECT_CLIENT_MAX_RETRIES.default()
    night_s, own_s = (sum(2**n for n in range(1, tries + 1)) for tries in (int(deployed), by_hand))
    assert night_s >= 5 * 60 > own_s >= 60
    assert (
        "within five minutes; a `hookline rank` of your own waits one minute" in TEXTS["docs/operations.md"]
    )


def test_every_reason_is_given_somewhere() -> None:
    table = TEXTS["README.md"].split("| kind | meaning | examples of `reason` |")[1].split("\n\n")[0]
    reasons = set(re.findall(r"`(\w+)`", table)) - {"rejected", "failed"}
    assert len(reasons) > 15
    source = "".join(path.read_text() for path in (ROOT / "tasks").rglob("*.py"))
    assert {reason for reason in reasons if f'"{reason}"' not in source} == set()


def test_every_extra_is_one() -> None:
    """pip takes no notice of others. Error messages name them, too."""
    files = (path for part in ("hookline", "tasks") for path in (ROOT / part).rglob("*.py"))
    text = "".join([*TEXTS.values(), *(path.read_text() for path in files)])
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"hookline\[([a-z0-9]+)\]", text)) == {*extras} - {"dev"}


@pytest.mark.parametrize("page", PAGES)
def test_every_program_and_make_target_is_there(page: str) -> None:
    text, folders = TEXTS[page], "benchmarks|examples|flows|tasks|tests|deployments|hookline"
    programs = re.findall(rf"(?<![\w./])((?:{folders})/[\w/]+\.py)\b", text)
    modules = re.findall(rf"python -m ((?:{folders})[\w.]+)", text)
    programs += [f"{name.replace('.', '/')}.py" for name in modules]
    assert [name for name in programs if not (ROOT / name).exists()] == []
    made = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, flags=re.MULTILINE)) <= made


def test_every_variable_is_read() -> None:
    named = set(re.findall(r"\bHOOKLINE_[A-Z_]+", "".join(TEXTS.values())))
    assert len(named) >= 5
    files = (path for part in ("hookline", "tasks") for path in (ROOT / part).rglob("*.py"))
    read = set(re.findall(r'"(HOOKLINE_\w+)"', "".join(path.read_text() for path in files)))
    assert named <= read | set(re.findall(r"\bHOOKLINE_\w+", "".join(DEPLOYED)))


def test_every_variable_of_prefect_is_a_setting_of_it() -> None:
    """Prefect takes no notice of one that it does not know: neither of those that documents name."""
    texts = [*TEXTS.values(), *DEPLOYED, (ROOT / "prefect.yaml").read_text()]
    texts.append((ROOT / "hookline" / "embedded.py").read_text())
    named = set(re.findall(r"\bPREFECT_[A-Z0-9_]+", "".join(texts)))
    assert len(named) > 12
    named -= {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"}  # of its logging.yml
    assert {name for name in named if not hasattr(prefect.settings, name)} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", TEXTS[page])):
        if "://" not in target:
            name, _, anchor = target.partition("#")
            path = (ROOT / page).parent / name if name else ROOT / page
            assert path.exists(), target
            assert not anchor or anchor in anchors(path.read_text()), target


def anchors(text: str) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
