"""What a decoder is, and how it says that it does not read a file."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Decoder(Protocol):
    """An open file that gives samples in order.

    `frames` is the length that the header declares, None where it declares none. `remarks` tell
    what of the file could not be used, or was read otherwise than as it is; complete at the end.
    `filled_s` are the seconds of silence that were put into gaps, so far, and `missing_s` these and
    the seconds that were damaged or left out. Where `tracks`, the
    number of audio tracks, is above 1, each is a channel. `is_mixed` tells whether the only channel
    was, so far, mixed of several. `start_s` is the presentation time of its start, None where none
    is stored.
    """

    rate_hz: int
    channels: int
    codec: str
    frames: int | None
    remarks: list[str]
    tracks: int
    start_s: float | None

    @property
    def filled_s(self) -> float: ...

    @property
    def missing_s(self) -> float: ...

    @property
    def is_mixed(self) -> bool: ...

    def read(self, frames: int) -> np.ndarray:
        """Give the next samples: float32 [m, channels], m <= frames; m == 0 at the end."""
        ...

    def close(self) -> None: ...


class RefusedError(Exception):
    """A decoder does not read this file; the message is the library's own."""


class DamagedError(RefusedError):
    """A decoder knows the format of this file, and finds it damaged."""
