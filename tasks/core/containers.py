"""The containers that are decoded, and the endings of their files: one list for pattern and decoder."""

from __future__ import annotations

CONTAINERS = {
    "mov,mp4,m4a,3gp,3g2,mj2": ("mp4", "m4v", "mov", "qt", "3gp", "3gpp", "3g2", "f4v", "insv"),
    "matroska,webm": ("mkv", "webm", "mk3d"),
    "avi": ("avi", "divx"),
    "mpegts": ("ts", "mts", "m2ts", "m2t", "trp"),
    "mpeg": ("mpg", "mpeg", "mpe", "m2p", "vob"),
    "flv": ("flv",),
    "ogg": ("ogv", "ogm"),
    "asf": ("wmv", "asf"),
    "mxf": ("mxf",),
}
"""FFmpeg's name of a container, and the endings of videos in it.

They hold all their content: no playlists, no image sequences. Endings of sound alone are left out.
"""

FORMATS = ",".join(CONTAINERS)
"""FFmpeg's whitelist."""

VIDEO_FILES = f"**/*.{{{','.join(ending for endings in CONTAINERS.values() for ending in endings)}}}"
"""The pattern that takes all of them."""
