"""What the samples of a corpus's utterances tell, beyond their labels: length, level, faults.

Nothing of the audio is kept: a corpus of any size is gone through in the memory of one clip.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ser_core.audio import CLIPPED_FROM, LEVEL_FRAME_S, SILENT_DB
from ser_core.corpora.clips import read_clip
from ser_core.corpora.corpus import Progress, Utterance

# Percentiles of the levels of 20 ms frames: loud speech, and what is between the words.
LOUD_PERCENTILE, QUIET_PERCENTILE = 95, 10
# An end that is no softer than this below loud speech, and above what is between the words, has
# speech in it. By ear and eye on a copy of EMO-DB that is cut at 2 s: whole clips end 40 dB below.
CUT_DB, CUT_ABOVE_QUIET_DB = 20.0, 6.0


@dataclass(frozen=True)
class Sound:
    """What the samples of one utterance tell.

    Parameters
    ----------
    fault : str
        Why it gives no features; empty where it does. With a fault all else may be 0.
    seconds : float
    rate_hz : int
    level_db : float
        Of loud speech, dB relative to full scale: 95th percentile of frames of 20 ms.
    clipped : float in [0, 1]
        Share of samples within 2 % of full scale.
    offset : float
        Mean of all samples, 1 at full scale.
    begins_cut, ends_cut : bool
        The first, or the last, 20 ms are as loud as speech.
    digest : str
        Equal for equal samples; empty where there is nothing but silence.
    """

    fault: str = ""
    seconds: float = 0.0
    rate_hz: int = 0
    level_db: float = SILENT_DB
    clipped: float = 0.0
    offset: float = 0.0
    begins_cut: bool = False
    ends_cut: bool = False
    digest: str = ""


def listen(
    utterances: Sequence[Utterance], *, jobs: int | None = None, progress: Progress | None = None
) -> list[Sound]:
    """Go through the samples of all utterances.

    Parameters
    ----------
    utterances : sequence of n utterances
    jobs : int >= 1, optional
        Processes; one a core unless given.
    progress : callable, optional
        Called with a stage, how many are done, and of how many.

    Returns
    -------
    list of n Sound
        Of what cannot be read, with a fault.
    """
    import joblib

    found: list[Sound] = []
    with joblib.parallel_config("loky", n_jobs=jobs or os.cpu_count(), inner_max_num_threads=1):
        work = joblib.Parallel(return_as="generator")(
            joblib.delayed(_sound)(utterance) for utterance in utterances
        )
        for one in work:
            found.append(one)
            if progress:
                progress("samples", len(found), len(utterances))
    return found


def describe(samples: np.ndarray, rate: int) -> Sound:
    """What samples tell.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
        One channel, full scale at 1.0.
    rate : int > 0
        In Hz.
    """
    if len(samples) == 0:
        return Sound("holds no samples", rate_hz=rate)
    if not np.isfinite(samples).all():
        return Sound("samples that are not numbers", len(samples) / rate, rate)
    offset = float(np.mean(samples, dtype=np.float64))
    length = min(len(samples), max(1, round(LEVEL_FRAME_S * rate)))
    centred = samples - np.float32(offset)
    whole = len(samples) // length * length
    levels = _db(centred[:whole].reshape(-1, length))
    loud, quiet = np.percentile(levels, [LOUD_PERCENTILE, QUIET_PERCENTILE])
    as_speech = max(loud - CUT_DB, quiet + CUT_ABOVE_QUIET_DB)
    sounds = loud > SILENT_DB
    return Sound(
        seconds=len(samples) / rate,
        rate_hz=rate,
        level_db=float(loud),
        clipped=float(np.mean(np.abs(samples) >= CLIPPED_FROM)),
        offset=offset,
        begins_cut=bool(sounds and _db(centred[None, :length])[0] > as_speech),
        ends_cut=bool(sounds and _db(centred[None, -length:])[0] > as_speech),
        digest=hashlib.blake2b(samples.tobytes(), digest_size=16).hexdigest() if sounds else "",
    )


def _sound(utterance: Utterance) -> Sound:
    try:
        return describe(*read_clip(utterance))
    except Exception as error:  # whatever is wrong, the other files are looked at too
        return Sound((str(error).splitlines() or [type(error).__name__])[0])


def _db(frames: np.ndarray) -> np.ndarray:
    """Levels of frames [n, length] in dB relative to full scale, at least `SILENT_DB`."""
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    return 10 * np.log10(np.maximum(power, 10 ** (SILENT_DB / 10)))
