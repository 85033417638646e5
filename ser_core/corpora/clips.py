"""The samples of an utterance: a whole file, or a part of a recording.

Whole files are read with soundfile, not with the decoder of recordings: a corpus is clean, and the
recipe of the article is `librosa.load`, which averages channels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ser_core import audio
from ser_core.corpora.corpus import Utterance


def read_clip(utterance: Utterance) -> tuple[np.ndarray, int]:
    """The samples of an utterance, float32 [n], and their rate in Hz.

    A file is read as `librosa.load` does, by the mean of its channels; a part of one as the
    nightly job decodes recordings.

    Raises
    ------
    AudioError, soundfile.LibsndfileError, OSError
        It cannot be read.
    """
    if utterance.is_part:
        return read_part(utterance.path, utterance.channel, utterance.start_s, utterance.end_s)
    import soundfile

    samples, rate = soundfile.read(utterance.path, dtype="float32", always_2d=True)
    return samples.mean(axis=1), rate


def read_part(
    path: Path, channel: int | None, start_s: float, end_s: float | None
) -> tuple[np.ndarray, int]:
    """A part of a recording, as the nightly job decodes it.

    Parameters
    ----------
    path : Path
    channel : int or None
        None: the mean of all.
    start_s, end_s : float
        From the start of the recording; None: its end.

    Returns
    -------
    samples float32 [n], and their rate in Hz

    Raises
    ------
    AudioError
        A file that cannot be decoded.
    """
    with audio.open(path) as stream:
        rate = stream.rate
        start, end = round(start_s * rate), None if end_s is None else round(end_s * rate)
        parts, at = [], 0
        for block in stream.blocks():
            one = block.mean(axis=0) if channel is None else block[channel]
            parts.append(one[max(start - at, 0) : None if end is None else max(end - at, 0)])
            at += len(one)
            if end is not None and at >= end:
                break
    return np.concatenate(parts), rate
