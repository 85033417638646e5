"""Properties of the audio of utterances: length, level, faults.

No audio is kept, so a corpus of any size needs the memory of one clip.
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

# Percentiles of the levels of 20 ms frames: loud speech, and the gaps between words.
LOUD_PERCENTILE, QUIET_PERCENTILE = 95, 10
# Speech is cut off if the edge of a clip is louder than both limits: `CUT_DB` below loud speech,
# and `CUT_ABOVE_QUIET_DB` above the gaps between words. Set by ear and eye on a copy of EMO-DB that
# is cut at 2 s; clips that are not cut end 40 dB below loud speech.
CUT_DB, CUT_ABOVE_QUIET_DB = 20.0, 6.0


@dataclass(frozen=True)
class Sound:
    """Properties of the samples of one utterance.

    Parameters
    ----------
    fault : str
        Why no features can be computed; empty if they can. With a fault, the rest may be 0.
    seconds : float
    rate_hz : int
    level_db : float
        Level of loud speech in dB re full scale: the 95th percentile of 20 ms frames.
    clipped : float in [0, 1]
        Share of samples within 2 % of full scale.
    offset : float
        Mean of all samples, full scale at 1.0.
    begins_cut, ends_cut : bool
        Whether the first, or the last, 20 ms are as loud as speech.
    digest : str
        Hash of the samples; empty for silence.
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


def measure(
    utterances: Sequence[Utterance], *, jobs: int | None = None, progress: Progress | None = None
) -> list[Sound]:
    """Measure the audio of all utterances.

    Parameters
    ----------
    utterances : sequence of n utterances
    jobs : int >= 1, optional
        Number of processes. Default: one per core.
    progress : callable, optional
        Called with the name of the stage, the number of utterances done and their total.

    Returns
    -------
    list of n Sound
        With a fault for each file that cannot be read.
    """
    import joblib

    sounds: list[Sound] = []
    with joblib.parallel_config("loky", n_jobs=jobs or os.cpu_count(), inner_max_num_threads=1):
        work = joblib.Parallel(return_as="generator")(
            joblib.delayed(_measure)(utterance) for utterance in utterances
        )
        for sound in work:
            sounds.append(sound)
            if progress:
                progress("samples", len(sounds), len(utterances))
    return sounds


def describe(samples: np.ndarray, rate: int) -> Sound:
    """Measure the samples of one utterance.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
        One channel, full scale at 1.0.
    rate : int > 0
        In Hz.
    """
    if len(samples) == 0:
        return Sound("no samples", rate_hz=rate)
    if not np.isfinite(samples).all():
        return Sound("samples that are not numbers", len(samples) / rate, rate)
    offset = float(np.mean(samples, dtype=np.float64))
    length = min(len(samples), max(1, round(LEVEL_FRAME_S * rate)))
    centred = samples - np.float32(offset)
    whole = len(samples) // length * length
    levels = _db(centred[:whole].reshape(-1, length))
    loud, quiet = np.percentile(levels, [LOUD_PERCENTILE, QUIET_PERCENTILE])
    speech_db = max(loud - CUT_DB, quiet + CUT_ABOVE_QUIET_DB)
    audible = loud > SILENT_DB
    return Sound(
        seconds=len(samples) / rate,
        rate_hz=rate,
        level_db=float(loud),
        clipped=float(np.mean(np.abs(samples) >= CLIPPED_FROM)),
        offset=offset,
        begins_cut=bool(audible and _db(centred[None, :length])[0] > speech_db),
        ends_cut=bool(audible and _db(centred[None, -length:])[0] > speech_db),
        digest=hashlib.blake2b(samples.tobytes(), digest_size=16).hexdigest() if audible else "",
    )


def _measure(utterance: Utterance) -> Sound:
    try:
        return describe(*read_clip(utterance))
    except Exception as error:  # the other files are measured whatever the fault
        return Sound((str(error).splitlines() or [type(error).__name__])[0])


def _db(frames: np.ndarray) -> np.ndarray:
    """Levels of frames [n, length] in dB re full scale, at least `SILENT_DB`."""
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    return 10 * np.log10(np.maximum(power, 10 ** (SILENT_DB / 10)))
