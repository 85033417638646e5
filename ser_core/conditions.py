"""Recording conditions (lines, codecs, noise, packet loss) in one table.

Models are tested under `CONDITIONS`, which have fixed strengths, and trained on `COPIES`, which
have random strengths. Some copies are cut to the speech that a night would find in them. `degrade`
seeds the random generator with a key of the clip, so the same clip always gives the same result.

To add a condition, add a line to `TABLE` and a function to `ser_core.degradations`. That module is
imported only when a clip is degraded, so reading the names does not import numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

# Part of the keys of cached vectors. Increase it when a condition changes its meaning, or when
# `ser_core.speech` finds other speech.
VERSION = 1


@dataclass(frozen=True)
class Condition:
    """A condition that a clip can be recorded under.

    Parameters
    ----------
    title : str
        Its name in tables and pages.
    degradation : str or None
        Name of a function in `ser_core.degradations`, for clips at 8 kHz. None changes nothing.
    for_training : bool
        Whether it makes training copies. Otherwise models are tested under it.
    cut : bool
        Whether the clip is cut to its longest segment, as `ser_core.speech` finds them at night.
        A clip without a segment stays whole.
    """

    title: str
    degradation: str | None
    for_training: bool = False
    cut: bool = False


TABLE: dict[str, Condition] = {
    "clean": Condition("as recorded", None),
    "8khz": Condition("8 kHz", "unchanged"),
    "mulaw": Condition("G.711 mu-law", "mulaw"),
    "alaw": Condition("G.711 A-law", "alaw"),
    "gsm": Condition("GSM 06.10", "gsm"),
    "opus": Condition("Opus, 12 kbit/s", "opus"),
    "mp3": Condition("MP3, 16 kbit/s", "mp3"),
    "hard": Condition("hard line", "hard_line"),
    "packet_loss": Condition("mu-law, 5 % of packets lost", "mulaw_with_loss"),
    "copy_line_any": Condition("random line and codec", "random_line", for_training=True),
    "copy_codec": Condition("GSM or Opus, random level", "gsm_or_opus", for_training=True),
    "copy_noisy": Condition("room noise, random codec", "noisy", for_training=True),
    "copy_cut": Condition(
        "cut, mu-law, random level", "mulaw_at_random_level", for_training=True, cut=True
    ),
    "copy_cut_line": Condition(
        "cut, random line and codec", "random_line", for_training=True, cut=True
    ),
    "copy_cut_noisy": Condition(
        "cut, room noise, random codec", "noisy", for_training=True, cut=True
    ),
}
CONDITIONS = {name: row for name, row in TABLE.items() if not row.for_training}
COPIES = {name: row for name, row in TABLE.items() if row.for_training}


def degrade(
    samples: np.ndarray, rate: int, condition: str, *, key: str, noise: Path | None = None
) -> tuple[np.ndarray, int]:
    """Degrade a clip as if it had been recorded under a condition.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
        One channel, full scale at 1.0.
    rate : int > 0
        Sample rate in Hz.
    condition : str
        One of `TABLE`.
    key : str
        Seed of the random generator, together with the condition's name; such as a hash of the
        file.
    noise : Path, optional
        Folder of recorded noises, for the training copies that use them. Without it, noise is
        generated.

    Returns
    -------
    samples : np.ndarray [shape=(m,)], float32
    rate : int
        8,000 Hz, or the rate of the clip where the condition changes nothing.

    Examples
    --------
    >>> import numpy as np
    >>> samples, rate = degrade(np.zeros(16_000), 16_000, "mulaw", key="a.wav")
    >>> len(samples), rate
    (8000, 8000)
    """
    import hashlib

    import numpy as np

    from ser_core import degradations

    samples = np.asarray(samples, dtype=np.float32)
    name = TABLE[condition].degradation
    if name is not None:
        seed = hashlib.sha256(f"{VERSION} {condition} {key}".encode()).digest()
        random = np.random.default_rng(list(seed))
        samples = degradations.resample_to_8k(samples, rate)
        samples = getattr(degradations, name)(samples, random, noise)
        rate = degradations.TELEPHONE_RATE_HZ
    if TABLE[condition].cut:
        samples = _longest_segment(samples, rate)
    return np.ascontiguousarray(samples, dtype=np.float32), rate


def _longest_segment(samples: np.ndarray, rate: int) -> np.ndarray:
    """The longest segment of speech; all samples if there is none."""
    from ser_core import speech

    longest = max(speech.find(samples, rate), key=lambda segment: segment.seconds, default=None)
    if longest is None:
        return samples
    return samples[round(longest.start_s * rate) : round(longest.end_s * rate)]
