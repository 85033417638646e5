"""A corpus in which each emotion is a tone of its own, for tests of trainings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from ser_core.emotions import RAVDESS_EIGHT

RATE_HZ = 22_050
PITCH_HZ = {"happy": 1_760, "sad": 110, "angry": 440}


def speak(folder: Path, actors: int = 6) -> None:
    """A corpus in RAVDESS's form in which each emotion is a tone of its own."""
    random = np.random.default_rng(0)
    seconds = np.arange(int(0.25 * RATE_HZ)) / RATE_HZ
    for emotion, hz in PITCH_HZ.items():
        for actor in range(1, actors + 1):
            for repetition in (1, 2):
                code = RAVDESS_EIGHT.index(emotion) + 1
                name = f"03-01-{code:02d}-01-01-{repetition:02d}-{actor:02d}.wav"
                wave = 0.2 * np.sin(2 * np.pi * hz * (1 + actor / 1_000) * seconds)
                wave += 0.02 * random.standard_normal(wave.size)
                path = folder / f"Actor_{actor:02d}" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, wave, RATE_HZ)
