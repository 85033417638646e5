"""The files of built calls: codecs and containers, with reproducible bytes."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile


@dataclass(frozen=True)
class Codec:
    """Storage format of a call: libsndfile's names, and the sample rate in Hz."""

    extension: str
    format: str
    subtype: str
    rate: int = 8000
    settings: dict = field(default_factory=dict)
    gsm_leg: bool = False  # both sides are coded by GSM 6.10 first, as from a mobile phone


# libsndfile writes GSM 6.10 in mono only, so two-channel calls use it per channel.
CODECS = {
    "mulaw": Codec("wav", "WAV", "ULAW"),
    "alaw": Codec("wav", "WAV", "ALAW"),
    "gsm": Codec("wav", "WAV", "PCM_16", gsm_leg=True),
    "opus": Codec("opus", "OGG", "OPUS", settings={"compression_level": 0.95}),
    "pcm16k": Codec("wav", "WAV", "PCM_16", rate=16_000),
}
CODEC_SHARES = {"mulaw": 0.6, "alaw": 0.1, "gsm": 0.1, "opus": 0.1, "pcm16k": 0.1}


def through_gsm(samples: np.ndarray) -> np.ndarray:
    """Encode samples [n] at 8 kHz by GSM 6.10 and decode them."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 8000, format="WAV", subtype="GSM610")
    buffer.seek(0)
    return soundfile.read(buffer)[0][: len(samples)]


def write_call(path: Path, channels: np.ndarray, codec: Codec) -> None:
    """Write a call: float [shape=(channels, n)] at `codec.rate`, full scale at 1.0."""
    channels = np.clip(channels, -1.0, 1.0 - 2.0**-15)
    if codec.gsm_leg:
        channels = np.stack([through_gsm(channel) for channel in channels])
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(
        path,
        channels.T,
        codec.rate,
        format=codec.format,
        subtype=codec.subtype,
        **codec.settings,
    )
    if codec.format == "OGG":
        _fix_ogg_serial(path)


def _fix_ogg_serial(path: Path) -> None:
    """Set the serial number of the stream to 1, since libsndfile takes it from the clock."""
    data = bytearray(path.read_bytes())
    page = 0
    while page < len(data):
        lengths = data[page + 27 : page + 27 + data[page + 26]]
        end = page + 27 + len(lengths) + sum(lengths)
        data[page + 14 : page + 18] = struct.pack("<I", 1)
        data[page + 22 : page + 26] = bytes(4)
        crc = 0
        for byte in data[page:end]:
            crc = (crc << 8 & 0xFFFFFFFF) ^ _ogg_crc_table()[crc >> 24 ^ byte]
        data[page + 22 : page + 26] = struct.pack("<I", crc)
        page = end
    path.write_bytes(data)


@lru_cache(maxsize=1)
def _ogg_crc_table() -> tuple[int, ...]:
    """Table for the CRC-32 of Ogg (RFC 3533): polynomial 0x04C11DB7, bits not reflected."""
    table = []
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
        table.append(crc)
    return tuple(table)
