"""Small files of every format that the project makes: what the fuzzers change."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import soundfile

from benchmarks import formats
from tests.av_files import AudioTrack, make

SECONDS = 0.5
# The rest of what libsndfile writes: container, codec.
_MORE = (
    ("WAV", "FLOAT"), ("WAV", "DOUBLE"), ("WAV", "PCM_24"), ("WAV", "ALAW"), ("WAV", "MS_ADPCM"),
    ("WAV", "MPEG_LAYER_III"), ("WAVEX", "PCM_16"), ("AIFF", "FLOAT"), ("AU", "ULAW"),
    ("NIST", "PCM_16"), ("VOC", "ULAW"), ("MP3", "MPEG_LAYER_II"), ("CAF", "ALAC_16"),
)  # fmt: skip
# And of what FFmpeg writes.
_TRACKS = (("matroska", "aac"), ("matroska", "flac"), ("mov", "alac"), ("mpegts", "mp2"),
           ("nut", "pcm_s16le"), ("flv", "aac"), ("asf", "wmav1"), ("avi", "mp2"))  # fmt: skip


@cache
def recordings() -> dict[str, bytes]:
    """Name -> bytes of a recording of half a second."""
    rng = np.random.default_rng(0)
    t = np.arange(int(SECONDS * formats.RATE_HZ)) / formats.RATE_HZ
    voice = 0.3 * np.sin(2 * np.pi * 150 * t) * np.sin(2 * np.pi * 3 * t)
    samples = voice + 0.01 * rng.standard_normal(len(t))
    found = {}
    for format in formats.FORMATS:
        found[format.name + format.extension] = format.encode(samples, 1)
    for container, codec in _MORE:
        buffer = io.BytesIO()
        try:
            soundfile.write(
                buffer, np.stack([samples, -samples], axis=1), 8_000, codec, format=container
            )
        except (soundfile.LibsndfileError, ValueError):
            continue  # an older libsndfile
        found[f"{container} {codec}"] = buffer.getvalue()
    for container, codec in _TRACKS:
        tracks = [AudioTrack(samples[None], 8_000 if codec == "pcm_s16le" else 48_000, codec)]
        if container == "matroska":
            tracks *= 2
        found[f"{container} {codec}"] = make(container, *tracks)
    return found
