"""Signal processing for `ser_core.conditions`: lines, codecs, noise and packet loss at 8 kHz.

The functions that the table of conditions names take samples at 8 kHz, a random generator, and a
folder of recorded noises or None; they return samples at 8 kHz. The codecs are those of libsndfile.
"""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

TELEPHONE_RATE_HZ = 8_000
NOISE_FILES = (".flac", ".ogg", ".opus", ".wav", ".mp3")


def resample_to_8k(samples: np.ndarray, rate: int) -> np.ndarray:
    """Resample to 8 kHz with the HQ setting of soxr."""
    import soxr

    if rate == TELEPHONE_RATE_HZ:
        return samples
    return soxr.resample(samples, rate, TELEPHONE_RATE_HZ, quality="HQ")


def encode_and_decode(
    samples: np.ndarray, container: str, codec: str, **options: Any
) -> np.ndarray:
    """Encode at 8 kHz and decode again. Samples above full scale are clipped, as on a line."""
    import soundfile

    file = io.BytesIO()
    clipped = np.clip(samples, -1.0, 1.0)
    soundfile.write(file, clipped, TELEPHONE_RATE_HZ, format=container, subtype=codec, **options)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def mulaw(samples: np.ndarray, *_: object) -> np.ndarray:
    """G.711 mu-law at 8 kHz."""
    return encode_and_decode(samples, "WAV", "ULAW")


def alaw(samples: np.ndarray, *_: object) -> np.ndarray:
    """G.711 A-law at 8 kHz."""
    return encode_and_decode(samples, "WAV", "ALAW")


def gsm(samples: np.ndarray, *_: object) -> np.ndarray:
    """GSM 06.10 full rate, 13 kbit/s."""
    return encode_and_decode(samples, "WAV", "GSM610")


def opus(samples: np.ndarray, *_: object, kbits_per_s: float = 12.0) -> np.ndarray:
    """Opus. libsndfile expects 6 to 256 kbit/s per channel as a level from 1 to 0."""
    level = 1.0 - (kbits_per_s - 6.0) / 250.0
    return encode_and_decode(samples, "OGG", "OPUS", compression_level=level)


def mp3(samples: np.ndarray, *_: object) -> np.ndarray:
    """MP3 at a constant 16 kbit/s."""
    return encode_and_decode(
        samples, "MP3", "MPEG_LAYER_III", compression_level=0.9, bitrate_mode="CONSTANT"
    )


def band_pass(samples: np.ndarray, low_hz: float = 300.0, high_hz: float = 3_400.0) -> np.ndarray:
    """Telephone bandwidth: a Butterworth filter of order 4 at 8 kHz."""
    from scipy.signal import butter, sosfilt

    filters = butter(4, (low_hz, high_hz), "bandpass", fs=TELEPHONE_RATE_HZ, output="sos")
    return sosfilt(filters, samples).astype(np.float32)


def set_level(samples: np.ndarray, dbfs: float) -> np.ndarray:
    """Scale to a mean power in dB re full scale. Silence stays silence."""
    return samples * np.float32(10 ** (dbfs / 20) / max(_rms(samples), 1e-6))


def add_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Add noise at a signal-to-noise ratio in dB, by mean power."""
    gain = _rms(samples) / max(_rms(noise), 1e-6) * 10 ** (-snr_db / 20)
    return samples + noise * np.float32(gain)


def line_noise(count: int, random: np.random.Generator) -> np.ndarray:
    """White noise at 8 kHz."""
    return random.standard_normal(count).astype(np.float32)


def room_noise(count: int, random: np.random.Generator, folder: Path | None) -> np.ndarray:
    """A recorded noise from a folder, repeated if it is too short; 1/f noise without a folder."""
    clips = _noises(folder) if folder else ()
    if clips:
        clip = clips[random.integers(len(clips))]
        return np.resize(np.roll(clip, -random.integers(len(clip))), count)
    spectrum = np.fft.rfft(random.standard_normal(count))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    return np.fft.irfft(spectrum, count).astype(np.float32)


def lose_packets(
    samples: np.ndarray, random: np.random.Generator, share: float = 0.05
) -> np.ndarray:
    """Replace packets of 20 ms by silence, in bursts of two on average (a Gilbert model)."""
    size = TELEPHONE_RATE_HZ // 50
    kept = samples.copy()
    lost = False
    for start in range(0, len(samples), size):
        # Two states, with transition probabilities that lose `share` of the packets.
        lost = random.random() < (0.5 if lost else 0.5 * share / (1 - share))
        if lost:
            kept[start : start + size] = 0
    return kept


def unchanged(samples: np.ndarray, *_: object) -> np.ndarray:
    """No change beyond the resampling to 8 kHz."""
    return samples


def hard_line(samples: np.ndarray, random: np.random.Generator, noise: Path | None) -> np.ndarray:
    """A bad line: band-pass, level, line noise, mu-law."""
    x = set_level(band_pass(samples), random.uniform(-26, -14))
    x = add_noise(x, line_noise(len(x), random), random.uniform(20, 30))
    return mulaw(x)


def mulaw_with_loss(
    samples: np.ndarray, random: np.random.Generator, noise: Path | None
) -> np.ndarray:
    """G.711 mu-law with 5 % packet loss."""
    return lose_packets(mulaw(samples), random)


def mulaw_at_random_level(
    samples: np.ndarray, random: np.random.Generator, noise: Path | None
) -> np.ndarray:
    """G.711 mu-law at a random level."""
    return mulaw(set_level(samples, random.uniform(-30, -14)))


def random_line(samples: np.ndarray, random: np.random.Generator, noise: Path | None) -> np.ndarray:
    """Random bandwidth, level, line noise and codec."""
    x = band_pass(samples, random.uniform(150, 350), random.uniform(3_000, 3_600))
    x = set_level(x, random.uniform(-30, -12))
    x = add_noise(x, line_noise(len(x), random), random.uniform(15, 35))
    return _random_codec(x, random)


def gsm_or_opus(samples: np.ndarray, random: np.random.Generator, noise: Path | None) -> np.ndarray:
    """One of two lossy speech codecs, at a random level."""
    codec = (gsm, lambda x: opus(x, kbits_per_s=random.uniform(6, 16)))[random.integers(2)]
    return codec(set_level(samples, random.uniform(-28, -16)))


def noisy(samples: np.ndarray, random: np.random.Generator, noise: Path | None) -> np.ndarray:
    """Random level, room noise and a random codec."""
    x = set_level(samples, random.uniform(-30, -16))
    x = add_noise(x, room_noise(len(x), random, noise), random.uniform(8, 20))
    return _random_codec(x, random)


def _random_codec(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    codecs = (
        mulaw, alaw, gsm, lambda x: opus(x, kbits_per_s=random.uniform(6, 20)), unchanged,
    )  # fmt: skip
    return codecs[random.choice(len(codecs), p=(0.35, 0.15, 0.2, 0.2, 0.1))](samples)


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


@cache
def _noises(folder: Path) -> tuple[np.ndarray, ...]:
    """The recorded noises in a folder, at 8 kHz, without silent ones."""
    import soundfile

    clips = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in NOISE_FILES:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
            clip = resample_to_8k(samples.mean(axis=1), rate)
            if _rms(clip) > 1e-4:
                clips.append(clip)
    return tuple(clips)
