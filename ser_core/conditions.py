"""What happens to a clip on its way to a recording: lines, codecs, noise, level, loss.

`CONDITIONS` are what models are tested under, each with a fixed strength; `COPIES` are what they
are trained on, with random strengths. Whatever is random comes from a generator that `degrade`
seeds by the clip's own bytes, so a clip always comes out the same. Codecs are the real ones, by
libsndfile.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

TELEPHONE_RATE_HZ = 8_000
NOISE_FILES = (".flac", ".ogg", ".opus", ".wav", ".mp3")
# A change of what a name means is a new number: kept vectors are found by it.
VERSION = 1

Clip = tuple[np.ndarray, int]
Way = Callable[[np.ndarray, int, np.random.Generator, Path | None], Clip]


def degrade(
    samples: np.ndarray, rate: int, condition: str, *, key: str, noise: Path | None = None
) -> Clip:
    """A clip as it comes out of a condition.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
        One channel, full scale at 1.0.
    rate : int > 0
        In Hz.
    condition : str
        One of `CONDITIONS` or `COPIES`.
    key : str
        What randomness is seeded by, with the condition's name; such as a hash of the file.
    noise : Path, optional
        Folder of recorded noises for the copies that want some; invented noise without.

    Returns
    -------
    tuple of float32 [m] and its rate in Hz
    """
    seed = hashlib.sha256(f"{VERSION} {condition} {key}".encode()).digest()
    random = np.random.default_rng(list(seed))
    way = CONDITIONS.get(condition) or COPIES[condition]
    changed, rate = way(np.asarray(samples, dtype=np.float32), rate, random, noise)
    return np.ascontiguousarray(changed, dtype=np.float32), rate


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


def mulaw(samples: np.ndarray) -> np.ndarray:
    """G.711 mu-law at 8 kHz."""
    return through(samples, "WAV", "ULAW")


def alaw(samples: np.ndarray) -> np.ndarray:
    """G.711 A-law at 8 kHz."""
    return through(samples, "WAV", "ALAW")


def gsm(samples: np.ndarray) -> np.ndarray:
    """GSM 06.10 full rate, 13 kbit/s."""
    return through(samples, "WAV", "GSM610")


def opus(samples: np.ndarray, kbits_per_s: float = 12.0) -> np.ndarray:
    """Opus; libsndfile takes 6 to 256 kbit/s a channel as a level from 1 to 0."""
    level = 1.0 - (kbits_per_s - 6.0) / 250.0
    return through(samples, "OGG", "OPUS", compression_level=level)


def mp3(samples: np.ndarray) -> np.ndarray:
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


def _hard(x, rate, random, noise):
    """Band-pass, level, line noise, mu-law: a bad line."""
    x = at_level(band_pass(narrow(x, rate)), random.uniform(-26, -14))
    x = with_noise(x, line_noise(len(x), random), random.uniform(20, 30))
    return mulaw(x), TELEPHONE_RATE_HZ


def _telephone(change: Callable[[np.ndarray], np.ndarray]) -> Way:
    return lambda x, rate, random, noise: (change(narrow(x, rate)), TELEPHONE_RATE_HZ)


CONDITIONS: dict[str, Way] = {
    "clean": lambda x, rate, random, noise: (x, rate),
    "8khz": _telephone(lambda x: x),
    "mulaw": _telephone(mulaw),
    "alaw": _telephone(alaw),
    "gsm": _telephone(gsm),
    "opus": _telephone(opus),
    "mp3": _telephone(mp3),
    "hard": _hard,
    "packet_loss": lambda x, rate, random, noise: (
        lossy(mulaw(narrow(x, rate)), random),
        TELEPHONE_RATE_HZ,
    ),
}


def _any_codec(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    ways = (mulaw, alaw, gsm, lambda x: opus(x, random.uniform(6, 20)), lambda x: x)
    return ways[random.choice(len(ways), p=(0.35, 0.15, 0.2, 0.2, 0.1))](x)


def _speed(low: float, high: float) -> Way:
    def way(x, rate, random, noise):
        x = at_speed(narrow(x, rate), random.uniform(low, high))
        return _any_codec(at_level(x, random.uniform(-30, -14)), random), TELEPHONE_RATE_HZ

    return way


def _noisy(x, rate, random, noise):
    x = at_level(narrow(x, rate), random.uniform(-30, -16))
    x = with_noise(x, room_noise(len(x), random, noise), random.uniform(8, 20))
    return _any_codec(x, random), TELEPHONE_RATE_HZ


def _line(x, rate, random, noise):
    x = band_pass(narrow(x, rate), random.uniform(150, 350), random.uniform(3_000, 3_600))
    x = at_level(x, random.uniform(-30, -12))
    x = with_noise(x, line_noise(len(x), random), random.uniform(15, 35))
    return _any_codec(x, random), TELEPHONE_RATE_HZ


COPIES: dict[str, Way] = {
    "copy_clean": CONDITIONS["8khz"],
    "copy_mulaw": lambda x, rate, random, noise: (
        mulaw(at_level(narrow(x, rate), random.uniform(-30, -14))),
        TELEPHONE_RATE_HZ,
    ),
    "copy_line": _hard,
    "copy_line_any": _line,
    "copy_codec": lambda x, rate, random, noise: (
        (gsm, lambda x: opus(x, random.uniform(6, 16)))[random.integers(2)](
            at_level(narrow(x, rate), random.uniform(-28, -16))
        ),
        TELEPHONE_RATE_HZ,
    ),
    "copy_slow": _speed(0.9, 0.97),
    "copy_fast": _speed(1.03, 1.1),
    "copy_noisy": _noisy,
}


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
