"""How the ffmpeg program is given a video file: only that file, with the times that its packets carry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ffmpeg

from tasks.adapters.video.containers.clock import Clock
from tasks.adapters.video.containers.joined import protocols, readable
from tasks.adapters.video.probe import MAX_PIXELS
from tasks.core.containers import FORMATS


def ffmpeg_input(source: Path, clocks: Mapping[int, Clock], **options: object) -> Any:
    """The input of an ffmpeg command; `clocks` are those of the streams that it decodes."""
    filters = {f"bsf:{index}": clock.bitstream_filter() for index, clock in clocks.items()}
    url = readable(source).url
    return ffmpeg.input(
        url,
        protocol_whitelist=protocols(url),
        format_whitelist=FORMATS,
        max_pixels=MAX_PIXELS,
        copyts=None,
        **{name: value for name, value in filters.items() if value},
        **options,
    )
