"""The frames of an AMR file (RFC 4867, section 5).

Each frame of 20 ms begins with a byte that tells its length. FFmpeg takes any byte for one, so that
damage of some bytes would become minutes.
"""

from __future__ import annotations

from typing import BinaryIO

from ser_core.audio.views import View

# Bytes of a frame by its type: speech, comfort noise, and for some types nothing but that byte.
_MAGICS: dict[bytes, dict[int, int]] = {
    b"#!AMR\n": dict(enumerate((13, 14, 16, 18, 20, 21, 27, 32, 6))) | {15: 1},
    b"#!AMR-WB\n": dict(enumerate((18, 24, 33, 37, 41, 47, 51, 59, 61, 6))) | {14: 1, 15: 1},
}
MAGICS = tuple(_MAGICS)
# A byte begins a frame by chance in one case of 13; so many in a row do not.
_FRAMES_IN_A_ROW = 8
_WINDOW_BYTES = 1 << 20
_MAX_FRAME_BYTES = 61


def spans(file: BinaryIO | View, start: int, end: int) -> list[tuple[int, int]]:
    """Where the header and the frames of the AMR file at `start` are, without what is damaged."""
    file.seek(start)
    header = file.read(len(max(MAGICS, key=len)))
    magic = next(magic for magic in MAGICS if header.startswith(magic))
    lengths = _lengths(_MAGICS[magic])
    found = [(start, start + len(magic))]
    window, base, at = b"", start, start + len(magic)
    in_sync = True
    while at < end:
        if at - base + _FRAMES_IN_A_ROW * _MAX_FRAME_BYTES > len(window) and (
            base + len(window) < end
        ):
            file.seek(at)
            window, base = file.read(min(_WINDOW_BYTES, end - at)), at
            if not window:
                break
        i = at - base
        length = lengths[window[i]]
        if not length or not (in_sync or _follows(window, i, lengths)):
            in_sync = False
            at += 1
            continue
        if i + length > len(window):
            break  # the last frame is cut
        if length > 1 and not any(window[i : i + length]):
            in_sync = False  # padding, or a hole in the file
            at += 1
            continue
        if not in_sync:
            found.append((at, at))
            in_sync = True
        at += length
        found[-1] = found[-1][0], at
    return found


def _lengths(by_type: dict[int, int]) -> list[int]:
    """Length of the frame that begins with each byte; 0 where none does."""
    # One bit for "more", 4 for the type, one for quality, and two of padding.
    return [0 if byte & 0x83 else by_type.get(byte >> 3 & 15, 0) for byte in range(256)]


def _follows(window: bytes, i: int, lengths: list[int]) -> bool:
    """Whether frames follow one another from `i` on, or to the end."""
    for _ in range(_FRAMES_IN_A_ROW):
        if i >= len(window):
            return i == len(window)
        length = lengths[window[i]]
        if not length or (length > 1 and not any(window[i : i + length])):
            return False
        i += length
    return True
