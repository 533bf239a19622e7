"""Which videos may be asked for: hostile paths are refused, and nothing outside the sources is opened."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookline.api.access.places import Places
from hookline.api.contract.problems import Problem

opened: list[str] = []
watching = False


def note(event: str, arguments: tuple[object, ...]) -> None:
    if watching and event == "open":
        opened.append(str(arguments[0]))


sys.addaudithook(note)


@pytest.fixture
def media(tmp_path: Path) -> Iterator[Path]:
    """A source with a video, beside a folder that is none; links lead out of it and into it."""
    global watching
    media, secret = tmp_path / "media", tmp_path / "media-secret"
    for folder in (media / "show", secret):
        folder.mkdir(parents=True)
        (folder / "one.mp4").write_bytes(b"video")
    (secret / "list.txt").write_text("file:///etc/passwd")
    (media / "list.txt").write_text(f"file://{secret}/one.mp4")
    (media / "out.mp4").symlink_to(secret / "one.mp4")
    (media / "out").symlink_to(secret)
    (media / "in.mp4").symlink_to(media / "show/one.mp4")
    (media / "film.mp4").symlink_to(media / "list.txt")
    (media / "loop").symlink_to(media / "loop")
    (tmp_path / "mirror").symlink_to(media)
    watching = True
    yield media
    watching = False
    opened.clear()


HOSTILE = {
    "{media}/../media-secret/one.mp4": (403, "outside_sources"),
    "{media}/show/../../media-secret/one.mp4": (403, "outside_sources"),
    "{media}-secret/one.mp4": (403, "outside_sources"),
    "{media}/out.mp4": (403, "outside_sources"),
    "{media}/out/one.mp4": (403, "outside_sources"),
    "/etc/passwd": (403, "outside_sources"),
    "/proc/self/environ": (403, "outside_sources"),
    "{media}/%2e%2e/media-secret/one.mp4": (404, "not_found"),
    "{media}/show/..%2f..%2fmedia-secret/one.mp4": (404, "not_found"),
    "{media}/show": (404, "not_found"),
    "{media}": (404, "not_found"),
    "{media}/loop": (404, "not_found"),
    "{media}/none.mp4": (404, "not_found"),
    "{media}/" + "a" * 3000: (404, "not_found"),
    "{media}/" + "a/" * 50_000: (404, "not_found"),
    "{media}/one.mp4\0.mp4": (400, "invalid_path"),
    "{media}/one\n.mp4": (400, "invalid_path"),
    "{media}/\udcff.mp4": (400, "invalid_path"),
    "file://{media}/show/one.mp4": (400, "invalid_path"),
    "FILE:///etc/passwd": (400, "invalid_path"),
    "http://127.0.0.1/one.mp4": (400, "invalid_path"),
    "://": (400, "invalid_path"),
    "s3://": (400, "invalid_path"),
    "show/one.mp4": (400, "invalid_path"),
    "../media-secret/one.mp4": (400, "invalid_path"),
    "~/one.mp4": (400, "invalid_path"),
    "{media}/list.txt": (415, "not_a_video"),
    "{media}/LIST.TXT": (404, "not_found"),
    "{media}/list.txt/": (415, "not_a_video"),
    "{media}/show/../list.txt/.": (415, "not_a_video"),
    "{media}/film.mp4": (415, "not_a_video"),
    "s3://bucket/shows/list.CSV": (415, "not_a_video"),
    "s3://bucket/shows/list.parquet/": (415, "not_a_video"),
    "s3://other/one.mp4": (403, "outside_sources"),
    "s3://bucket-2/shows/one.mp4": (403, "outside_sources"),
    "s3://bucket/shows-2/one.mp4": (403, "outside_sources"),
    "s3://bucket/shows": (403, "outside_sources"),
    "s3://bucket/shows/../other/one.mp4": (400, "invalid_path"),
    "s3://bucket/shows/./one.mp4": (400, "invalid_path"),
    "s3://user:secret@bucket/shows/one.mp4": (400, "invalid_path"),
}


@pytest.mark.parametrize(("path", "refusal"), HOSTILE.items(), ids=lambda each: repr(each)[:60])
def test_a_hostile_path_is_refused(media: Path, path: str, refusal: tuple[int, str]) -> None:
    places = Places([str(media), "s3://bucket/shows"])
    opened.clear()
    with pytest.raises(Problem) as refused:
        places.video(path.replace("{media}", str(media)))
    assert (refused.value.status, refused.value.code) == refusal
    assert [path for path in opened if not path.startswith(f"{media}/")] == []
    assert "secret@" not in refused.value.detail


@pytest.mark.parametrize("path", ["show/one.mp4", "in.mp4", "show/../show/one.mp4", "./show//one.mp4"])
def test_a_video_has_one_name_however_it_is_written(media: Path, path: str) -> None:
    assert Places([str(media)]).video(f"{media}/{path}").uri == f"file://{media}/show/one.mp4"


def test_a_source_that_is_a_link_keeps_its_name_as_runs_have_it(media: Path) -> None:
    mirror = media.parent / "mirror"
    for path in (mirror / "show/one.mp4", media / "show/one.mp4"):
        assert Places([str(mirror)]).video(str(path)).uri == f"file://{mirror}/show/one.mp4"


def test_what_callers_are_told_names_no_other_folder(media: Path) -> None:
    said = Places([str(media)]).redacted(
        f"file:///srv/models/a is gone; {media}/show/one.mp4 is not, at s3://b/c; {media}-secret/x"
    )
    assert said == f"... is gone; {media}/show/one.mp4 is not, at s3://b/c; ..."
