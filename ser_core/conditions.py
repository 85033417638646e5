"""Conditions: what happens to a clip on its way to a recording, as one table.

Models are tested under `CONDITIONS`, each of a fixed strength, and trained on `COPIES`, of random
strengths. Whatever is random comes from a generator that `degrade` seeds by the clip's own bytes,
so a clip always comes out the same.

A condition is added here, as a line of `TABLE`, with a function in `ser_core.degradations`. That
module is imported only where a clip is degraded: the names alone cost no numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

TELEPHONE_RATE_HZ = 8_000
# A change of what a name means is a new number: kept vectors are found by it.
VERSION = 1


@dataclass(frozen=True)
class Condition:
    """A line of the table.

    Parameters
    ----------
    title : str
        For tables, pages and `--help`.
    degradation : str or None
        A function of `ser_core.degradations`, for clips at 8 kHz; None leaves a clip as it is.
    for_training : bool
        Whether copies to train on are made with it; else models are tested under it.
    """

    title: str
    degradation: str | None
    for_training: bool = False


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
    "copy_clean": Condition("8 kHz", "unchanged", for_training=True),
    "copy_mulaw": Condition("mu-law, any level", "mulaw_at_any_level", for_training=True),
    "copy_line": Condition("hard line", "hard_line", for_training=True),
    "copy_line_any": Condition("any line, any codec", "any_line", for_training=True),
    "copy_codec": Condition("GSM or Opus, any level", "gsm_or_opus", for_training=True),
    "copy_slow": Condition("slower, any codec", "slow", for_training=True),
    "copy_fast": Condition("faster, any codec", "fast", for_training=True),
    "copy_noisy": Condition("noise of a room, any codec", "noisy", for_training=True),
}
CONDITIONS = {name: row for name, row in TABLE.items() if not row.for_training}
COPIES = {name: row for name, row in TABLE.items() if row.for_training}


def degrade(
    samples: np.ndarray, rate: int, condition: str, *, key: str, noise: Path | None = None
) -> tuple[np.ndarray, int]:
    """A clip as it comes out of a condition.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
        One channel, full scale at 1.0.
    rate : int > 0
        In Hz.
    condition : str
        One of `TABLE`.
    key : str
        What randomness is seeded by, with the condition's name; such as a hash of the file.
    noise : Path, optional
        Folder of recorded noises for the copies that want some; invented noise without.

    Returns
    -------
    tuple of float32 [m] and its rate in Hz
    """
    import hashlib

    import numpy as np

    from ser_core import degradations

    samples = np.asarray(samples, dtype=np.float32)
    name = TABLE[condition].degradation
    if name is not None:
        seed = hashlib.sha256(f"{VERSION} {condition} {key}".encode()).digest()
        random = np.random.default_rng(list(seed))
        narrow = degradations.narrow(samples, rate)
        samples, rate = getattr(degradations, name)(narrow, random, noise), TELEPHONE_RATE_HZ
    return np.ascontiguousarray(samples, dtype=np.float32), rate
