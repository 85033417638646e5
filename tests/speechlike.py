"""Synthetic speech for tests: a pulse train through moving formants, in syllables."""

from __future__ import annotations

import numpy as np
import scipy.signal


def voice(
    seconds: float, rate: int = 8_000, *, f0_hz: float = 120.0, level_db: float = -20.0, seed=0
):
    """A signal that a voice activity detector accepts as speech: float32 [seconds * rate]."""
    random = np.random.default_rng(seed)
    n = round(seconds * rate)
    t = np.arange(n) / rate
    f0 = f0_hz * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * t + random.uniform(0, 6)))
    pulses = np.diff(np.floor(np.cumsum(f0) / rate), prepend=0.0)
    sound = np.zeros(n)
    piece = rate // 5
    for start in range(0, n, piece):
        part = slice(start, min(n, start + piece))
        excitation = pulses[part] + 0.02 * random.standard_normal(len(pulses[part]))
        for formant, width in ((random.uniform(300, 800), 80), (random.uniform(900, 2300), 120)):
            pole = np.exp(-np.pi * width / rate) * np.exp(2j * np.pi * formant / rate)
            excitation = scipy.signal.lfilter([1], np.poly([pole, pole.conj()]).real, excitation)
        sound[part] = excitation / (np.abs(excitation).max() + 1e-9)
    sound *= 0.35 + 0.65 * np.abs(np.sin(2 * np.pi * 2.2 * t))
    sound *= 10 ** (level_db / 20) / np.sqrt(np.mean(sound**2))
    return np.clip(sound, -1, 1).astype(np.float32)


def call(
    turns,
    seconds: float,
    rate: int = 8_000,
    *,
    noise_db: float = -65.0,
    f0_hz: float = 120.0,
    seed: int = 0,
):
    """One channel of a call: turns (start_s, end_s, level_db) over line noise, float32 [n].

    Voices of one `f0_hz` repeat each other, whatever the seed.
    """
    random = np.random.default_rng(seed)
    samples = 10 ** (noise_db / 20) * random.standard_normal(round(seconds * rate))
    for i, (start, end, level_db) in enumerate(turns):
        first = round(start * rate)
        spoken = voice(end - start, rate, f0_hz=f0_hz, level_db=level_db, seed=seed + i)
        samples[first : first + len(spoken)] += spoken
    return np.clip(samples, -1, 1).astype(np.float32)
