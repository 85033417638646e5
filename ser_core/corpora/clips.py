"""The samples of an utterance, a whole file or a part of a recording; and ids of its content.

Whole files are read with soundfile rather than with the decoder of recordings: files of a corpus
are clean, and the original article uses `librosa.load`, which averages channels.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from ser_core import audio, sound
from ser_core.corpora.corpus import Utterance
from ser_core.errors import AudioError


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
    with sound.reader().open(str(path), str(path)) as stream:
        rate = stream.rate
        if channel is not None and channel >= stream.channels:
            raise AudioError(
                "corrupt",
                f"channel {channel} expected, {stream.channels} channels found",
                str(path),
            )
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


def recording_id(utterance: Utterance) -> str:
    """SHA-256 of the bytes of an utterance's file, as in the tables of the nightly job.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    stat = utterance.path.stat()
    return _sha256(utterance.path, stat.st_size, stat.st_mtime_ns)


def clip_id(utterance: Utterance) -> str:
    """SHA-256 of the file's bytes or, for a part, of these and of the part's bounds.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    content = recording_id(utterance)
    if not utterance.is_part:
        return content
    part = f"{content} {utterance.channel} {utterance.start_s!r} {utterance.end_s!r}"
    return hashlib.sha256(part.encode()).hexdigest()


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    with audio.open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
