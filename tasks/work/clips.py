"""Clips on their way from a video on this disk to the output, with what is said in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.adapters.storage import Store
from tasks.adapters.video.clips.cutting import Clip, cut_clip
from tasks.core.settings import Limits, Publish
from tasks.core.speech.heard import Word
from tasks.core.views.captions import cues, srt, vtt, words_between
from tasks.core.views.pictures import Cut, Framing, crop_ratio

GB = 10**9


@dataclass(frozen=True, slots=True)
class KeptClip:
    """A clip under the output, the cut that was made for it, and what became of its captions.

    `captions` is what `publish.captions` says, `no_words` where there are none; None where none were wanted.
    """

    name: str
    start_s: float
    end_s: float
    captions: str | None


def keep_clip(
    source: Path,
    cut: Cut,
    name: str,
    store: Store,
    *,
    video: str,
    words: Sequence[Word],
    publish: Publish,
    limits: Limits,
    scratch: Path,
    framing: Sequence[Framing] = (),
) -> KeptClip:
    """Cut a clip out of `source`, which messages call `video`, and keep it under `name`, with its poster.

    `words` are those of the whole video, on its own clock; `framing` is as in `cut_clip`, and goes before
    `publish.crop_follow`. Where the crop lies is kept beside a clip whose crop moves.

    Raises:
        DecodeFailed: it cannot be cut.
        StorageError: it cannot be written.
    """
    wanted = words if publish.captions != "none" else ()
    with TemporaryDirectory(dir=scratch, prefix="clip-") as folder:
        clip = cut_clip(
            source,
            Path(folder),
            cut,
            name=video,
            crop=crop_ratio(publish.crop),
            framing=framing,
            follow=publish.crop_follow and not framing,
            words=words_near(wanted, cut) if publish.captions == "burned" else (),
            loudness=publish.loudness,
            enlarged=publish.size == "1080",
            deadline_s=limits.deadline_seconds,
            memory_bytes=int(limits.memory_gb * GB),
        )
        stem, span = name.removesuffix(".mp4"), (round(clip.start_s * 1000), round(clip.end_s * 1000))
        captions = cues(words_between(wanted, span), end_ms=span[1] - span[0])
        if publish.captions == "files" and captions:
            store.write_bytes(f"{stem}.srt", srt(captions).encode())
            store.write_bytes(f"{stem}.vtt", vtt(captions).encode())
        if publish.crop_follow or framing:
            store.write_bytes(f"{stem}.json", shots_json(clip, publish.crop, video=video).encode())
        store.publish(clip.poster, f"{stem}.jpg")
        store.publish(clip.video, name)
    outcome = publish.captions if captions else "no_words"
    return KeptClip(name, clip.start_s, clip.end_s, outcome if publish.captions != "none" else None)


def shots_json(clip: Clip, crop: str, *, video: str) -> str:
    """Where the crop of a clip lies, shot by shot: what `hookline clip --shots` cuts it again with."""
    shots = [{"start": each.start_s, "crop_x": each.crop_x, "found": each.found} for each in clip.framing]
    span = {"start": round(clip.start_s, 3), "end": round(clip.end_s, 3)}
    known = {"video": video, **span, "crop": crop, "shots": shots}
    return json.dumps(known, indent=2, ensure_ascii=False) + "\n"


def words_near(words: Sequence[Word], cut: Cut) -> list[Word]:
    """The words that may be heard in a cut."""
    return [word for word in words if word.end_ms >= cut.start_s * 1000 and word.start_ms <= cut.end_s * 1000]
