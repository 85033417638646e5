"""What built calls are made of: utterances of the corpora, and music on hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from benchmarks.calls.sound import band_pass, speech_spans
from ser_core.corpora import Utterance, corpus_names, open_corpus
from ser_core.emotions import RAVDESS_EIGHT

ROOT = Path(__file__).resolve().parents[2]


def default_data() -> Path:
    """The corpora's folder: SER_DATA, else ../shared/data beside the repository."""
    return Path(os.environ.get("SER_DATA") or ROOT.parent / "shared" / "data")


def find_utterances(data: Path, names: Sequence[str] = ()) -> list[Utterance]:
    """The utterances of some corpora under `data`; of all that are there unless named.

    Emotions that RAVDESS has no name for, such as boredom, are left out.

    Raises
    ------
    FileNotFoundError
        None of them is there.
    """
    wanted = names or corpus_names()
    there = [open_corpus(name, data / name) for name in sorted(wanted) if (data / name).is_dir()]
    if not there:
        raise FileNotFoundError(
            f"no corpus in {data}: expected {' or '.join(wanted)} there; "
            "set SER_DATA to the folder that holds them"
        )
    return [one for own in there for one in own.utterances if one.emotion in RAVDESS_EIGHT]


def find_music(folders: Sequence[Path]) -> list[Path]:
    """The WAV files below some folders.

    Raises
    ------
    FileNotFoundError
        A folder without any.
    """
    found = [(folder, sorted(folder.rglob("*.wav"))) for folder in folders]
    for folder, files in found:
        if not files:
            raise FileNotFoundError(f"no music in {folder}: a folder with .wav files expected")
    return [file for _, files in found for file in files]


@lru_cache(maxsize=32)
def load_music(path: Path, rate: int) -> np.ndarray:
    """A piece of music as a line carries it: float64 [n]."""
    samples, own_rate = soundfile.read(path, always_2d=True)
    return band_pass(soxr.resample(samples.mean(axis=1), own_rate, rate), rate)


@lru_cache(maxsize=64)
def load_utterance(path: Path, rate: int) -> tuple[np.ndarray, tuple[tuple[float, float], ...]]:
    """An utterance as a line carries it, without the silence around it.

    Returns
    -------
    samples : np.ndarray [shape=(n,)]
    spans : tuple of (start_s, end_s)
        Its speech, counted from the first of `samples`; empty where there is none.
    """
    samples, own_rate = soundfile.read(path, always_2d=True)
    samples = band_pass(soxr.resample(samples.mean(axis=1), own_rate, rate), rate)
    spans = speech_spans(samples, rate)
    if not spans:
        return samples[:0], ()
    first, last = round(spans[0][0] * rate), round(spans[-1][1] * rate)
    samples = samples[first:last].copy()
    fade = np.linspace(0.0, 1.0, min(len(samples), round(0.005 * rate)))
    samples[: len(fade)] *= fade
    samples[len(samples) - len(fade) :] *= fade[::-1]
    return samples, tuple((start - first / rate, end - first / rate) for start, end in spans)
