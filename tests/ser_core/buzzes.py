"""Corpora of buzzes: each emotion is a pitch, each speaker a shift of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

from ser_core.corpora import Corpus, Utterance
from ser_core.models.recipes.calls.recipe import CallsRecipe

RATE_HZ = 16_000
PITCH_HZ = {"neutral": 110, "calm": 140, "happy": 330, "angry": 220}
LABELS = tuple(PITCH_HZ)
# Trains in seconds.
QUICK = CallsRecipe(feature_set="telephone", folds=2)


def make_corpus(
    folder: Path,
    name: str,
    speakers: Iterable[int],
    emotions: Iterable[str] = LABELS,
    *,
    tilt: float = 0.0,
    own: bool = False,
) -> Corpus:
    """A corpus with two clips of each speaker and emotion; `tilt` is that of its microphone."""
    random = np.random.default_rng(0)
    seconds = np.arange(int(0.6 * RATE_HZ)) / RATE_HZ
    utterances = []
    for emotion in emotions:
        for speaker in speakers:
            for repetition in ("01", "02"):
                hz = PITCH_HZ[emotion] * (1 + speaker / 99)
                tones = [np.sin(2 * np.pi * k * hz * seconds) / k**tilt for k in (1, 2, 3)]
                wave = 0.1 * np.sum(tones, axis=0) * (1 + 0.5 * np.sin(20 * seconds))
                wave += 0.01 * random.standard_normal(wave.size)
                path = folder / f"{speaker:02d}_{emotion}_{repetition}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, wave, RATE_HZ)
                sex = ("male", "female")[speaker % 2]
                who = f"{name.lower()}-{speaker:02d}"
                utterances.append(Utterance(path, emotion, who, name, sex, repetition=repetition))
    return Corpus(name, "CC0", tuple(utterances), {}, "made by tests", any_use=True, own=own)
