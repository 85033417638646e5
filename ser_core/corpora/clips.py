"""The samples of an utterance: a whole file, or a part of a recording.

Whole files are read with soundfile rather than with the decoder of recordings: files of a corpus
are clean, and the original article uses `librosa.load`, which averages channels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ser_core import audio
from ser_core.corpora.corpus import Utterance


def read_clip(utterance: Utterance) -> tuple[np.ndarray, int]:
    """The samples of an utterance, float32 [n], and their rate in Hz.

    A whole file is read as by `librosa.load`: the mean of its channels. A part of a recording is
    decoded as in the nightly job.

    Raises
    ------
    AudioError, soundfile.LibsndfileError, OSError
        The file cannot be read.
    """
    if utterance.is_part:
        return read_part(utterance.path, utterance.channel, utterance.start_s, utterance.end_s)
    import soundfile

    samples, rate = soundfile.read(utterance.path, dtype="float32", always_2d=True)
    return samples.mean(axis=1), rate


def read_part(
    path: Path, channel: int | None, start_s: float, end_s: float | None
) -> tuple[np.ndarray, int]:
    """Decode a part of a recording in the same way as the nightly job.

    Parameters
    ----------
    path : Path
    channel : int or None
        None takes the mean of all channels.
    start_s, end_s : float
        Seconds from the start of the recording. `end_s` None means its end.

    Returns
    -------
    samples : np.ndarray [shape=(n,)], float32
    rate : int
        Sample rate in Hz.

    Raises
    ------
    AudioError
        The file cannot be decoded.
    """
    with audio.open(path) as stream:
        rate = stream.rate
        start, end = round(start_s * rate), None if end_s is None else round(end_s * rate)
        parts, position = [], 0
        for block in stream.blocks():
            samples = block.mean(axis=0) if channel is None else block[channel]
            last = None if end is None else max(end - position, 0)
            parts.append(samples[max(start - position, 0) : last])
            position += len(samples)
            if end is not None and position >= end:
                break
    return np.concatenate(parts), rate
