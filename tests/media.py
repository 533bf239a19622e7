"""Makes the videos that tests need, on the spot, with the ffmpeg binary of imageio-ffmpeg.

A *numbered* video carries in every frame its own number as a 4 x 4 board of black and white cells, which
survives scaling and compression: `read_number` reads it back.

    1 a b c      the first cell is always white, the last always black, so that a picture
    d e f g      lying on its side does not pass for an upright one;
    h i j k      a ... n are the bits of the number, the highest first
    l m n 0
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

CELLS = 4
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
"""H.264 in one line; `ultrafast` writes no B-frames."""


def run_ffmpeg(*arguments: str | Path, stdin: bytes | None = None) -> None:
    """Runs ffmpeg, which overwrites its output; its last words are in the error if it fails."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr.decode(errors='replace')[-2000:]}"


def board(number: int, *, width: int, height: int) -> npt.NDArray[np.uint8]:
    """The picture of a number, `height x width` uint8, grey."""
    bits = f"1{number:014b}0"
    cells = np.array([int(bit) for bit in bits], dtype=np.uint8).reshape(CELLS, CELLS) * 255
    rows = np.arange(height) * CELLS // height
    columns = np.arange(width) * CELLS // width
    picture: npt.NDArray[np.uint8] = cells[rows][:, columns]
    return picture


def read_number(frame: npt.NDArray[np.uint8]) -> int:
    """The number in a frame (`height x width x 3` uint8, any size); -1 where there is no board."""
    height, width = frame.shape[:2]
    grey = frame.astype(np.float32).mean(axis=2)
    bits = ""
    for row in range(CELLS):
        for column in range(CELLS):
            y, x = (2 * row + 1) * height // (2 * CELLS), (2 * column + 1) * width // (2 * CELLS)
            dy, dx = max(1, height // 20), max(1, width // 20)
            bits += "1" if grey[max(0, y - dy) : y + dy, max(0, x - dx) : x + dx].mean() > 127 else "0"
    return int(bits[1:-1], 2) if bits[0] == "1" and bits[-1] == "0" else -1


def numbered_video(
    path: Path,
    *,
    seconds: float,
    fps: str = "25",
    size: tuple[int, int] = (160, 96),
    codec: Sequence[str] = H264,
    filters: str = "null",
    quarter_turns: int = 0,
    sound_seconds: float = 0,
) -> Path:
    """A video whose frame k shows k.

    `fps` may be a fraction ("30000/1001"); `size` is the stored width and height; `codec` are ffmpeg's
    output options; `filters` go to -vf (`setpts=...` for another timing); `quarter_turns` turns the
    stored picture that often counter-clockwise (a display matrix may turn it back); `sound_seconds`
    adds a tone that starts at 0.
    """
    numerator, _, denominator = fps.partition("/")
    count = max(1, round(seconds * int(float(numerator) * 1000) / (1000 * int(denominator or 1))))
    width, height = size
    upright = (height, width) if quarter_turns % 2 else (width, height)
    boards = (board(k, width=upright[0], height=upright[1]) for k in range(count))
    frames = b"".join(np.rot90(picture, quarter_turns).tobytes() for picture in boards)
    sound = ["-f", "lavfi", "-t", str(sound_seconds), "-i", "sine"] if sound_seconds else []
    raw = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{width}x{height}", "-r", fps, "-i", "pipe:0"]
    run_ffmpeg(
        *raw, *sound, "-vf", filters, "-fps_mode", "passthrough", *codec, "-threads", "1", path, stdin=frames
    )
    return path


def with_display_rotation(source: Path, path: Path, *, degrees: int) -> Path:
    """The same stream, to be shown turned counter-clockwise by `degrees`."""
    run_ffmpeg("-display_rotation", str(degrees), "-i", source, "-c", "copy", path)
    return path


def cut_short(source: Path, path: Path, *, fraction: float) -> Path:
    """The first part of a file, as a broken-off upload leaves it."""
    content = source.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    return path


def sound_only(path: Path, *, seconds: float = 2) -> Path:
    """A tone with no picture."""
    run_ffmpeg("-f", "lavfi", "-t", str(seconds), "-i", "sine", path)
    return path


def sound_with_cover(path: Path, *, seconds: float = 2) -> Path:
    """An m4a with a cover picture: it has a video stream, yet it is no video."""
    cover = path.with_suffix(".png")
    still_image(cover)
    tone = ["-f", "lavfi", "-t", str(seconds), "-i", "sine"]
    attached = ["-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic"]
    run_ffmpeg(*tone, "-i", cover, *attached, path)
    cover.unlink()
    return path


def still_image(path: Path) -> Path:
    """A single picture, in the format its name says."""
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x64", "-frames:v", "1", "-update", "1", path)
    return path


def playlist(path: Path, *, neighbour: Path) -> Path:
    """An ffconcat list naming another file of the folder, as an attacker would name it."""
    path.write_text(f"ffconcat version 1.0\nfile {neighbour.name}\n")
    return path


def joined(path: Path, first: Path, *following: Path) -> Path:
    """The packets of several videos of one codec behind one another in one stream, as they are."""
    parts = path.with_suffix(".txt")
    parts.write_text("ffconcat version 1.0\n" + "".join(f"file {part}\n" for part in (first, *following)))
    run_ffmpeg("-f", "concat", "-safe", "0", "-i", parts, "-c", "copy", path)
    parts.unlink()
    return path


def remuxed(source: Path, path: Path, *, keep: Callable[[str, float], bool]) -> Path:
    """The same streams without some packets: `keep` is asked with the kind of stream and the second."""
    with av.open(str(source)) as before, av.open(str(path), "w") as after:
        streams = {stream: after.add_stream_from_template(stream) for stream in before.streams}
        start_s = (before.start_time or 0) / 1_000_000
        for packet in before.demux():
            if packet.size and keep(packet.stream.type, float(packet.pts * packet.time_base) - start_s):
                packet.stream = streams[packet.stream]
                after.mux(packet)
    return path


def program_table(maps: Mapping[int, int]) -> bytes:
    """The packet of a transport stream that lists its programs (ISO/IEC 13818-1, 2.4.4.3)."""
    programs = b"".join(number.to_bytes(2) + (0xE000 | pid).to_bytes(2) for number, pid in maps.items())
    section = b"\x00" + (0xB000 | len(programs) + 9).to_bytes(2) + b"\x00\x01\xc1\x00\x00" + programs
    crc = 0xFFFFFFFF
    for byte in section:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return (b"\x47\x40\x00\x10\x00" + section + crc.to_bytes(4)).ljust(188, b"\xff")
