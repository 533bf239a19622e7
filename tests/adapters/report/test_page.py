"""The report's page: everything is there, nothing is made up, and no text is ever code."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tasks.adapters.report.page import render
from tasks.core.speech.cuts import Cut
from tasks.core.speech.heard import Heard
from tasks.core.views import report
from tests.report import NASTY, SOURCE, answer, failure, in_moments, made_report, ranked_video, with_clips


class Page(HTMLParser):
    """All elements of a page with their attributes, and its text outside of style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.code: list[str] = []
        self._inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside in ("style", "script"):
            self.code.append(data)
        else:
            self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def find(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and wanted.items() <= attributes.items()
        ]


def test_a_card_is_of_the_cut_and_its_clip_begins_there() -> None:
    video = with_clips(ranked_video(answered=answer(), segments=1))
    cut = Cut(1300, 4750, is_clean=False, speech_ratio=1.0)
    whole = replace(video.scored.timeline, heard=Heard.of([(0, 9000)], end_ms=43_000))
    (segment,) = video.segments
    video = replace(
        video, segments=(replace(segment, cut=cut),), scored=replace(video.scored, timeline=whole)
    )
    html = render(made_report(video))
    assert 'data-copy="0:01.3-0:04.8"' in html
    assert "#t=1.2" in html  # the moment at 2.5 s
    later = replace(video, segments=tuple(replace(item, clip_span_s=(1.5, 4.0)) for item in video.segments))
    assert '#t=1" data-at="1.0"' in (moved := render(made_report(later)))
    assert 'data-copy="0:01.5-0:04"' in moved  # what the clip shows: not the flash that it is free of
    assert "Somebody is cut off." in html
    assert "Somebody is cut off." not in render(made_report(ranked_video()))


def test_every_ranked_moment_has_its_card_with_scores_and_reasons() -> None:
    page = Page(render(made_report(ranked_video(answered=answer("The dog jumps.")))))
    cards = page.find("li", **{"class": "card"})
    assert [card["data-score"] for card in cards] == ["90", "83", "76"]
    for said in ("The dog jumps.", "humour", "0:02.5", "Overall", "Hook", "Engagement"):
        assert page.text.count(said) >= 3, said
    copied = [button["data-copy"] for button in page.find("button", **{"class": "copy"})]
    assert copied[:3] == ["0:00-0:05", "0:02.5", "0:04"]
    assert len(page.find("img")) == 3
    assert len(page.find("polyline")) == 1
    assert len(page.find("circle")) == 6


def test_the_alternatives_of_a_moment_are_folded_into_its_card() -> None:
    page = Page(render(made_report(in_moments(ranked_video(answered=answer("The dog jumps."))))))
    assert len(page.find("details", **{"class": "alternatives"})) == 1
    assert "2 alternatives" in page.text
    assert "#2 0:02\N{EN DASH}0:07, #3 0:04\N{EN DASH}0:09" in page.text
    assert [card["data-score"] for card in page.find("li", **{"class": "card"})] == ["90", "83", "76"]
    assert "1 moment" in page.text
    assert "How many of 3 ranked segments" in page.text


def test_what_was_not_analysed_says_why_and_shows_no_number() -> None:
    page = Page(render(made_report(ranked_video(segments=1))))
    assert page.text.count("not analysed: out_of_memory") == 2
    assert "None" not in page.text
    assert len(page.find("svg", **{"class": "bar"})) == 1  # overall


def test_an_unchanged_video_is_there_without_a_curve_and_names_the_report_that_has_it() -> None:
    uri = f"{SOURCE}/dog.mp4"
    page = Page(render(made_report(ranked_video(uri), unchanged={uri: "20261121T03-x"})))
    assert page.find("polyline") == page.find("img") == []
    (link,) = (link["href"] for link in page.find("a") if "index.html" in str(link["href"]))
    assert re.fullmatch(r"\.\./20261121T03-x/index\.html#v\w{10}", str(link))
    assert len(page.find("li", **{"class": "card"})) == 3


def test_failures_are_listed_with_stage_reason_and_detail() -> None:
    page = Page(render(made_report(failures=(failure(),))))
    for said in ("probe", "rejected: empty", "The file is empty.", "Nothing was ranked"):
        assert said in page.text


def talking(text: str | None) -> str:
    """The page of a video in whose only segment this is said."""
    video = ranked_video(answered=answer(), segments=1)
    (segment,) = video.segments
    return render(made_report(replace(video, segments=(replace(segment, transcript=text),))))


@pytest.mark.parametrize("said", ["", None])
def test_where_nothing_is_said_nothing_is_shown_of_it(said: str | None) -> None:
    assert "What is said" not in talking(said)
    assert "What is said" in talking("So.")


NASTY_PLACES: dict[str, Callable[[str], str]] = {
    "answer": lambda text: render(made_report(ranked_video(answered=answer(text)))),
    "name": lambda text: render(made_report(ranked_video(f"{SOURCE}/{text}.mp4"))),
    "file": lambda text: render(made_report(ranked_video(f"file:///{text}.mp4"), source="file:///v")),
    "failure": lambda text: render(made_report(failures=(failure(text),))),
    "source": lambda text: render(made_report(source=text)),
    "transcript": talking,
}


@pytest.mark.parametrize("place", NASTY_PLACES)
@pytest.mark.parametrize("text", NASTY)
def test_no_text_becomes_an_element_an_attribute_or_a_link(place: str, text: str) -> None:
    page, plain = Page(NASTY_PLACES[place](text)), Page(NASTY_PLACES[place]("plain"))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert [set(attributes) for _, attributes in page.elements] == [set(a) for _, a in plain.elements]
    assert page.code == plain.code
    for _, attributes in page.elements:
        for name, value in attributes.items():
            if name in ("href", "src"):
                assert re.match(r"#|\.\./|file:///|data:image/webp;base64,", str(value)), value
    if videos := page.find("details", **{"class": "video"}):
        (row,) = {str(video["data-version"]) for video in videos}
        assert json.loads(row)[0] == {"name": f"{SOURCE}/{text}.mp4", "file": f"file:///{text}.mp4"}.get(
            place, f"{SOURCE}/dog.mp4"
        )
    visible = "".join(char for char in text if char.isprintable())
    assert visible.replace(" ", "") in page.text.replace(" ", "")
    assert not set(page.text) & {"\u202e", "\u0000", "\u0007"}


def test_the_policy_lets_only_the_pages_own_script_and_style_run() -> None:
    page = Page(render(made_report(ranked_video(answered=answer()))))
    ((policy),) = (meta["content"] for meta in page.find("meta", **{"http-equiv": "Content-Security-Policy"}))
    style, script = page.code
    for code in (style, script):
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in str(policy)
    assert str(policy).startswith("default-src 'none'; img-src data: 'self' file:; media-src 'self' file:;")
    assert "unsafe" not in str(policy)
    assert not any("style" in attributes for _, attributes in page.elements)
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_nothing_on_the_page_lies_elsewhere() -> None:
    html = render(made_report(with_clips(ranked_video(answered=answer())), failures=(failure(),)))
    assert "http://" not in html
    assert "https://" not in html
    assert Page(html).find("link") == []


def test_moments_of_a_clip_start_in_the_clip() -> None:
    page = Page(render(made_report(with_clips(ranked_video(answered=answer())))))
    clip = "../../clips/run/dog-1/01%20%23%3F.mp4"
    assert [link["href"] for link in page.find("a", **{"class": "play"})] == [clip] * 3
    links = [link["href"] for link in page.find("a", **{"class": "watch"})]
    assert links[:3] == [f"{clip}#t=0", f"{clip}#t=2.5", f"{clip}#t=4"]


def test_moments_of_a_file_start_in_the_file_and_those_of_a_bucket_are_copied_only() -> None:
    in_file = made_report(
        ranked_video("file:///videos/a b#1.mp4", answered=answer()), source="file:///videos"
    )
    links = [link["href"] for link in Page(render(in_file)).find("a", **{"class": "watch"})]
    assert links[:2] == ["file:///videos/a%20b%231.mp4#t=0", "file:///videos/a%20b%231.mp4#t=2.5"]
    in_bucket = Page(render(made_report(ranked_video(answered=answer()))))
    assert in_bucket.find("a", **{"class": "watch"}) == []


@pytest.mark.parametrize(
    ("fps", "timecode", "copied"),
    [
        (25.0, None, ["00:00:00:00-00:00:05:00", "00:00:02:12", "00:00:04:00"]),
        (25.0, "10:00:00:00", ["10:00:00:00-10:00:05:00", "10:00:02:12", "10:00:04:00"]),
        (29.97, "00:00:58;00", ["00:00:58;00-00:01:03;02", "00:01:00;16", "00:01:02;01"]),
        (None, "10:00:00:00", ["0:00-0:05", "0:02.5", "0:04"]),
    ],
)
def test_times_are_copied_as_the_timecode_of_the_file(
    fps: float | None, timecode: str | None, copied: list[str]
) -> None:
    page = Page(render(made_report(ranked_video(answered=answer()), fps=fps, timecode=timecode)))
    found = [button["data-copy"] for button in page.find("button", **{"class": "copy"})]
    assert found[:3] == copied


def test_moments_without_a_clip_are_played_where_browsers_find_the_videos() -> None:
    uri = f"{SOURCE}/2026/a b#1.mp4"
    report = made_report(ranked_video(uri, answered=answer()), media_base="https://host:8443/v/")
    page, base = Page(render(report)), "https://host:8443/v/2026/a%20b%231.mp4"
    played = [link["href"] for link in page.find("a", **{"class": "play"})]
    assert played[:2] == [f"{base}#t=0,5", f"{base}#t=2,7"]
    assert page.find("a", **{"class": "watch"})[1]["href"] == f"{base}#t=2.5"
    (policy,) = page.find("meta", **{"http-equiv": "Content-Security-Policy"})
    assert "media-src 'self' file: https://host:8443;" in str(policy["content"])
    elsewhere = made_report(ranked_video(), source="s3://other", media_base="https://host")
    assert Page(render(elsewhere)).find("a", **{"class": "play"}) == []


def test_a_video_links_to_its_timeline_for_editing_programs() -> None:
    video = ranked_video()
    written = [replace(item, timeline_uri="clips/run/dog-1/dog.edl") for item in video.segments]
    page = Page(render(made_report(replace(video, segments=tuple(written)), ranked_video(f"{SOURCE}/b.mp4"))))
    links = [link["href"] for link in page.find("a") if "download" in link]
    assert (links, "Download timeline (edl)" in page.text) == (["../../clips/run/dog-1/dog.edl"], True)


def test_the_poster_and_the_captions_of_a_clip_lie_beside_it() -> None:
    video, beside = with_clips(ranked_video()), "../../clips/run/dog-1/01%20%23%3F"
    captions = zip(video.segments, ("files", "burned", "no_words"), strict=True)
    said = tuple(replace(segment, clip_captions=kind) for segment, kind in captions)
    page = Page(render(made_report(replace(video, segments=said))))
    assert page.find("a", **{"class": "play"})[0]["data-poster"] == f"{beside}.jpg"
    links = [link["href"] for link in page.find("a") if "download" in link]
    assert links == [f"{beside}.{ending}" for ending in ("mp4", "srt", "vtt", "mp4", "mp4")]


def test_a_report_of_many_videos_has_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of all: where 500 videos are shown, a page stays below 40 MB."""
    monkeypatch.setattr(report, "MAX_VIDEOS", report.MAX_VIDEOS // 10)
    monkeypatch.setattr(report, "PICTURE_BYTES", report.PICTURE_BYTES // 10)
    videos = [ranked_video(f"{SOURCE}/{k}.mp4", segments=15, answered=answer()) for k in range(60)]
    html = render(made_report(*videos))
    assert html.count('<details class="video"') == 50
    assert "Not on this page: 10 more videos;" in html
    assert 50 <= html.count("<img") < 750
    assert len(html) < 4_000_000
