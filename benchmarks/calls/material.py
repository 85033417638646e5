"""The material of built calls: utterances of the corpora, and music on hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from benchmarks.calls.sound import band_pass, speech_spans
from ser_core.corpora import Utterance, open_corpus
from ser_core.emotions import RAVDESS_EIGHT

ROOT = Path(__file__).resolve().parents[2]
# Fixed, so that the same calls are built whatever corpora are added later.
DEFAULT_CORPORA = ("ravdess", "emodb", "emovo")


def default_data() -> Path:
    """Folder of the corpora: SER_DATA, or ../shared/data beside the repository."""
    return Path(os.environ.get("SER_DATA") or ROOT.parent / "shared" / "data")


def find_utterances(data: Path, names: Sequence[str] = ()) -> list[Utterance]:
    """Utterances of the corpora in `data`, by name or those of `DEFAULT_CORPORA`.

    Emotions that RAVDESS does not have, such as boredom, are left out.

    Raises
    ------
    FileNotFoundError
        None of them was found.
    """
    wanted = names or DEFAULT_CORPORA
    corpora = [open_corpus(name, data / name) for name in sorted(wanted) if (data / name).is_dir()]
    if not corpora:
        raise FileNotFoundError(
            f"no corpus in {data}: {' or '.join(wanted)} expected; "
            "set SER_DATA to the folder that holds them"
        )
    return [
        utterance
        for corpus in corpora
        for utterance in corpus.utterances
        if utterance.emotion in RAVDESS_EIGHT
    ]


def find_music(folders: Sequence[Path]) -> list[Path]:
    """WAV files below the folders.

    Raises
    ------
    FileNotFoundError
        A folder has none.
    """
    found = [(folder, sorted(folder.rglob("*.wav"))) for folder in folders]
    for folder, files in found:
        if not files:
            raise FileNotFoundError(f"no music in {folder}: a folder with .wav files expected")
    return [file for _, files in found for file in files]


@lru_cache(maxsize=32)
def load_music(path: Path, rate: int) -> np.ndarray:
    """A piece of music at the bandwidth of a line: float64 [n]."""
    samples, own_rate = soundfile.read(path, always_2d=True)
    return band_pass(soxr.resample(samples.mean(axis=1), own_rate, rate), rate)


@lru_cache(maxsize=64)
def load_utterance(path: Path, rate: int) -> tuple[np.ndarray, tuple[tuple[float, float], ...]]:
    """An utterance at the bandwidth of a line, without the silence around it.

    Returns
    -------
    samples : np.ndarray [shape=(n,)]
    spans : tuple of (start_s, end_s)
        Its speech, from the first of `samples`; empty for silence.
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
