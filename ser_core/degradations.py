"""The signal processing of `ser_core.conditions`: what lines, codecs, noise and loss do at 8 kHz.

A function that the table of conditions names takes samples at 8 kHz, a generator for what is
random, and a folder of recorded noises or None; it gives samples at 8 kHz. Codecs are the real
ones, by libsndfile.
"""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np

from ser_core.conditions import TELEPHONE_RATE_HZ

NOISE_FILES = (".flac", ".ogg", ".opus", ".wav", ".mp3")


def narrow(samples: np.ndarray, rate: int) -> np.ndarray:
    """To 8 kHz with soxr's HQ setting."""
    import soxr

    if rate == TELEPHONE_RATE_HZ:
        return samples
    return soxr.resample(samples, rate, TELEPHONE_RATE_HZ, quality="HQ")


def through(samples: np.ndarray, container: str, codec: str, **options) -> np.ndarray:
    """Encode at 8 kHz and decode again; what is over full scale is clipped, as on a line."""
    import soundfile

    file = io.BytesIO()
    clipped = np.clip(samples, -1.0, 1.0)
    soundfile.write(file, clipped, TELEPHONE_RATE_HZ, format=container, subtype=codec, **options)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def mulaw(samples: np.ndarray, *_: object) -> np.ndarray:
    """G.711 mu-law at 8 kHz."""
    return through(samples, "WAV", "ULAW")


def alaw(samples: np.ndarray, *_: object) -> np.ndarray:
    """G.711 A-law at 8 kHz."""
    return through(samples, "WAV", "ALAW")


def gsm(samples: np.ndarray, *_: object) -> np.ndarray:
    """GSM 06.10 full rate, 13 kbit/s."""
    return through(samples, "WAV", "GSM610")


def opus(samples: np.ndarray, *_: object, kbits_per_s: float = 12.0) -> np.ndarray:
    """Opus; libsndfile takes 6 to 256 kbit/s a channel as a level from 1 to 0."""
    level = 1.0 - (kbits_per_s - 6.0) / 250.0
    return through(samples, "OGG", "OPUS", compression_level=level)


def mp3(samples: np.ndarray, *_: object) -> np.ndarray:
    """MP3 at a constant 16 kbit/s."""
    return through(samples, "MP3", "MPEG_LAYER_III", compression_level=0.9, bitrate_mode="CONSTANT")


def band_pass(samples: np.ndarray, low_hz: float = 300.0, high_hz: float = 3_400.0) -> np.ndarray:
    """A telephone's band: Butterworth of order 4, at 8 kHz."""
    from scipy.signal import butter, sosfilt

    filters = butter(4, (low_hz, high_hz), "bandpass", fs=TELEPHONE_RATE_HZ, output="sos")
    return sosfilt(filters, samples).astype(np.float32)


def at_level(samples: np.ndarray, dbfs: float) -> np.ndarray:
    """At that mean power; silence stays."""
    return samples * np.float32(10 ** (dbfs / 20) / max(_rms(samples), 1e-6))


def with_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """With noise so many dB below the clip's mean power."""
    gain = _rms(samples) / max(_rms(noise), 1e-6) * 10 ** (-snr_db / 20)
    return samples + noise * np.float32(gain)


def line_noise(count: int, random: np.random.Generator) -> np.ndarray:
    """White noise, at 8 kHz."""
    return random.standard_normal(count).astype(np.float32)


def room_noise(count: int, random: np.random.Generator, folder: Path | None) -> np.ndarray:
    """A stretch of a recorded noise, repeated where it is short; else invented: 1/f, at 8 kHz."""
    clips = _noises(folder) if folder else ()
    if clips:
        clip = clips[random.integers(len(clips))]
        return np.resize(np.roll(clip, -random.integers(len(clip))), count)
    spectrum = np.fft.rfft(random.standard_normal(count))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    return np.fft.irfft(spectrum, count).astype(np.float32)


def at_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """Faster, and higher, by a factor: as a tape."""
    import soxr

    return soxr.resample(samples, factor, 1.0, quality="HQ")


def lossy(samples: np.ndarray, random: np.random.Generator, share: float = 0.05) -> np.ndarray:
    """Packets of 20 ms get lost, in bursts of two on average; silence in their place."""
    size = TELEPHONE_RATE_HZ // 50
    kept = samples.copy()
    lost = False
    for start in range(0, len(samples), size):
        # Two states; the chances make `share` of the packets lost.
        lost = random.random() < (0.5 if lost else 0.5 * share / (1 - share))
        if lost:
            kept[start : start + size] = 0
    return kept


def unchanged(samples: np.ndarray, *_: object) -> np.ndarray:
    """At 8 kHz, and nothing else."""
    return samples


def hard_line(samples: np.ndarray, random: np.random.Generator, noise: Path | None) -> np.ndarray:
    """Band-pass, level, line noise, mu-law: a bad line."""
    x = at_level(band_pass(samples), random.uniform(-26, -14))
    x = with_noise(x, line_noise(len(x), random), random.uniform(20, 30))
    return mulaw(x)


def mulaw_with_loss(
    samples: np.ndarray, random: np.random.Generator, noise: Path | None
) -> np.ndarray:
    """G.711 mu-law of which 5 % of the packets are lost."""
    return lossy(mulaw(samples), random)


def mulaw_at_any_level(
    samples: np.ndarray, random: np.random.Generator, noise: Path | None
) -> np.ndarray:
    """G.711 mu-law after a random level."""
    return mulaw(at_level(samples, random.uniform(-30, -14)))


def any_line(samples: np.ndarray, random: np.random.Generator, noise: Path | None) -> np.ndarray:
    """A random band, level, line noise and codec."""
    x = band_pass(samples, random.uniform(150, 350), random.uniform(3_000, 3_600))
    x = at_level(x, random.uniform(-30, -12))
    x = with_noise(x, line_noise(len(x), random), random.uniform(15, 35))
    return _any_codec(x, random)


def gsm_or_opus(samples: np.ndarray, random: np.random.Generator, noise: Path | None) -> np.ndarray:
    """One of two codecs that leave things out, after a random level."""
    codec = (gsm, lambda x: opus(x, kbits_per_s=random.uniform(6, 16)))[random.integers(2)]
    return codec(at_level(samples, random.uniform(-28, -16)))


def slow(samples: np.ndarray, random: np.random.Generator, noise: Path | None) -> np.ndarray:
    """Slower and lower by 3 to 10 %, then any codec."""
    return _any_speed(samples, random, 0.9, 0.97)


def fast(samples: np.ndarray, random: np.random.Generator, noise: Path | None) -> np.ndarray:
    """Faster and higher by 3 to 10 %, then any codec."""
    return _any_speed(samples, random, 1.03, 1.1)


def noisy(samples: np.ndarray, random: np.random.Generator, noise: Path | None) -> np.ndarray:
    """A random level, the noise of a room, any codec."""
    x = at_level(samples, random.uniform(-30, -16))
    x = with_noise(x, room_noise(len(x), random, noise), random.uniform(8, 20))
    return _any_codec(x, random)


def _any_codec(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    codecs = (
        mulaw, alaw, gsm, lambda x: opus(x, kbits_per_s=random.uniform(6, 20)), unchanged,
    )  # fmt: skip
    return codecs[random.choice(len(codecs), p=(0.35, 0.15, 0.2, 0.2, 0.1))](samples)


def _any_speed(
    samples: np.ndarray, random: np.random.Generator, low: float, high: float
) -> np.ndarray:
    x = at_speed(samples, random.uniform(low, high))
    return _any_codec(at_level(x, random.uniform(-30, -14)), random)


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


@cache
def _noises(folder: Path) -> tuple[np.ndarray, ...]:
    """Every recorded noise in a folder, at 8 kHz; silent ones left out."""
    import soundfile

    clips = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in NOISE_FILES:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
            clip = narrow(samples.mean(axis=1), rate)
            if _rms(clip) > 1e-4:
                clips.append(clip)
    return tuple(clips)
