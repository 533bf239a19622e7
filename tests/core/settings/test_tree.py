"""The settings tree: strict, frozen, and explained field by field."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from tasks.core.errors import SettingsError
from tasks.core.settings import Settings
from tasks.core.uris import split_uri

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
LIKELY = st.booleans() | st.integers(0, 100) | st.floats(0, 1) | st.text() | st.lists(st.integers(5, 90))
"""Of these one in eight is a setting that a field takes; of any JSON hardly one in a hundred."""


def settings(**groups: Any) -> Settings:
    return Settings.model_validate({"source": "videos", "output": "rankings", **groups})


def every_field(model: type[BaseModel], path: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, field in model.model_fields.items():
        found.append((f"{path}{name}", field))
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += every_field(field.annotation, f"{path}{name}.")
    return found


def test_only_source_and_output_must_be_given() -> None:
    assert [path for path, field in every_field(Settings) if field.is_required()] == ["source", "output"]


@pytest.mark.parametrize(("path", "field"), every_field(Settings), ids=lambda value: str(value)[:40])
def test_every_field_has_a_title_and_every_value_a_description(path: str, field: Any) -> None:
    assert field.title
    is_group = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    assert field.description or (is_group and field.annotation.__doc__)


def test_the_defaults_are_those_of_the_contract() -> None:
    made = settings()
    assert made.windows.window_seconds == (59,)
    assert (made.windows.stride_seconds, made.windows.sample_fps, made.windows.min_window_seconds) == (
        3,
        1,
        5,
    )
    assert (made.ranking.top_n, made.ranking.candidate_multiplier, made.ranking.candidates) == (15, 2, 30)
    assert (made.ranking.deep_weight, made.ranking.fast_weight) == (Decimal("0.6"), Decimal("0.4"))
    assert (made.ranking.viral_threshold, made.ranking.max_overlap) == (70, Decimal("0.75"))
    assert made.fast.model == "MCG-NJU/videomae-base-finetuned-kinetics"
    assert (made.deep.model, made.deep.max_frames) == ("DAMO-NLP-SG/VideoLLaMA3-2B", 128)


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ({"rankin": {}}, "rankin"),
        ({"ranking": {"top": 3}}, "top"),
        ({"ranking": {"top_n": 0}}, "greater than or equal to 1"),
        ({"ranking": {"deep_weight": 0.7}}, "set fast_weight to 0.3"),
        ({"ranking": {"deep_weight": "1.5", "fast_weight": "-0.5"}}, "less than or equal to 1"),
        ({"windows": {"window_seconds": []}}, "at least 1 item"),
        ({"windows": {"stride_seconds": 0}}, "greater than or equal to 1"),
        ({"source": ""}, "at least 1 character"),
        ({"source": "gs://bucket"}, "s3://bucket/prefix, or a folder"),
        ({"output": "s3://"}, "s3://bucket/prefix, or a folder"),
        ({"select": {"pattern": "*.{mp4"}}, "mp4"),
        ({"deep": {"max_new_tokens": 10}}, "greater than or equal to 160"),
        ({"audit": {"most": 1}}, "audit.most 1 is less than audit.windows 2, what one video takes: raise it"),
        ({"publish": {"crop": "16:9"}}, "none|9:16"),
        ({"publish": {"media_base": "cdn/videos"}}, "'cdn/videos' is no URL to which names can be added"),
        ({"publish": {"media_base": "https://h/v?a=1"}}, "write it as https://host/folder"),
        ({"publish": {"media_base": "https://h; script-src */v"}}, "is no URL to which names"),
        ({"publish": {"media_base": "https://me:pw@host/v"}}, "carries credentials"),
        ({"publish": {"captions": "files"}}, "captions is about clips: set publish.clips to true as well"),
        ({"publish": {"crop_follow": True}}, "crop_follow is about clips: set publish.clips to true as well"),
        (
            {"publish": {"crop_follow": True, "clips": True}},
            "crop_follow moves a crop: set publish.crop as well",
        ),
        ({"publish": {"loudness": True}}, "loudness is about clips: set publish.clips to true as well"),
        (
            {"publish": {"captions": "burned", "clips": True}, "speech": {"transcribe": False}},
            "set speech.enabled and speech.transcribe to true",
        ),
        (
            {"deep": {"adapter": "a", "quantization": "int8"}},
            "weights of quantization int8: set quantization",
        ),
        ({"deep": {"adapter": "ftp://host/a"}}, "no place for files: write s3://bucket/prefix, or a folder"),
        ({"deep": {"cache": "on"}}, "'on' is no analysis cache: write output, off, or redis://host"),
        ({"deep": {"cache": "redis://me:pass@host"}}, "set HOOKLINE_REDIS_PASSWORD"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(groups: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        settings(**groups)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().ranking.top_n = 3  # type: ignore[misc]


def test_weights_given_as_floats_are_taken_as_written() -> None:
    made = settings(ranking={"deep_weight": 0.1, "fast_weight": 0.9})
    assert (made.ranking.deep_weight, made.ranking.fast_weight) == (Decimal("0.1"), Decimal("0.9"))


def test_settings_survive_json() -> None:
    made = settings(
        ranking={"deep_weight": "0.75", "fast_weight": "0.25"}, windows={"window_seconds": [15, 59]}
    )
    assert Settings.model_validate_json(made.model_dump_json()) == made


def test_the_digest_names_what_decides_the_rows_and_nothing_else() -> None:
    assert settings().digest() == settings(output="elsewhere", engine={"workers": 7}).digest()
    assert settings().digest() != settings(ranking={"top_n": 14}).digest()
    assert settings().digest() == settings(select={"rescore": True}).digest()
    assert settings().digest() == settings(fast={"head": "latest"}).digest()  # which has a revision
    assert settings().digest() != settings(speech={"enabled": False}).digest()
    assert settings().digest() != settings(speech={"threshold": 0.5}).digest()
    assert settings().digest() == settings(publish={"clips": True, "crop": "9:16"}).digest()
    assert settings().digest() == settings(deep={"adapter": "anywhere"}).digest()  # its hash tells
    spelled_out = {"deep_weight": "0.60", "fast_weight": "0.400", "max_overlap": 0.75}
    assert settings().digest() == settings(ranking=spelled_out).digest()


@pytest.mark.parametrize("cache", ["off", "redis://cache.internal:6379/0"])
def test_where_analyses_are_kept_does_not_change_the_digest(cache: str) -> None:
    assert settings(deep={"cache": cache}).deep.cache == cache
    assert settings(deep={"cache": cache}).digest() == settings().digest()
    changed = settings(deep={"cache": cache, "max_frames": 64})
    assert changed.digest() == settings(deep={"max_frames": 64}).digest() != settings().digest()


def test_a_refused_password_is_not_repeated() -> None:
    with pytest.raises(ValidationError) as caught:
        settings(deep={"cache": "redis://me:s3cret@host:6379/0"})
    [wrong] = caught.value.errors()
    assert "s3cret" not in wrong["msg"]


@given(st.dictionaries(st.sampled_from([*Settings.model_fields, "other"]), ANY_JSON))
def test_whatever_is_given_is_a_setting_or_named_as_wrong(groups: dict[str, Any]) -> None:
    try:
        made = settings(**groups)
    except ValidationError:
        return
    assert Settings.model_validate_json(made.model_dump_json()) == made


@given(st.sampled_from(sorted(path for path, _ in every_field(Settings) if "." in path)), LIKELY | ANY_JSON)
def test_one_odd_value_is_a_setting_or_named_as_wrong(path: str, value: object) -> None:
    group, field = path.split(".")
    try:
        made = settings(**{group: {field: value}})
    except ValidationError:
        return
    assert Settings.model_validate_json(made.model_dump_json()) == made


@given(st.text())
def test_any_place_is_split_or_refused(uri: str) -> None:
    with suppress(SettingsError):
        scheme, rest = split_uri(uri)
        assert scheme in ("s3", "file")
        assert uri.endswith(rest)
