"""Sound that a page holds itself."""

from __future__ import annotations

import io

import numpy as np


def mp3(samples: np.ndarray, rate_hz: int) -> bytes:
    """A short clip as MP3, which every browser plays; about 4 kB a second at 16 kHz.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
        Full scale at 1.0.
    rate_hz : int
        One of the rates of MP3, such as 8,000 or 16,000 Hz.
    """
    import soundfile

    file = io.BytesIO()
    soundfile.write(
        file, np.clip(samples, -1, 1), rate_hz, format="MP3", subtype="MPEG_LAYER_III",
        compression_level=0.8,
    )  # fmt: skip
    return file.getvalue()
