"""The scale of recordings in floating point, whose samples may lie far outside [-1, 1].

Some programs write the integers of a sound card as floating point, without dividing by full scale.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ser_core.errors import AudioError

# Peaks up to here are overshoot (12 dB), and are clipped.
MAX_OVERSHOOT = 4.0
# Full scale of 16, 24 and 32 bits.
INTEGER_SCALES = (2.0**15, 2.0**23, 2.0**31)
# Above this, the peak may be that of integers: 256 is -42 dBFS of 16 bits.
MIN_INTEGER_PEAK = 256.0
# At least this share of the samples that are not 0 reach 1 in a file of integers. Damage that
# gives a few large numbers does not.
MIN_INTEGER_RATIO = 0.1


@dataclass(frozen=True)
class Scale:
    """What to divide samples by, and the remark about it."""

    full_scale: float = 1.0
    remark: str | None = None


def measure(blocks: Iterable[np.ndarray], uri: str) -> Scale:
    """Scale of a recording, from all of its samples.

    Parameters
    ----------
    blocks : iterable of np.ndarray
        All samples, in floating point.
    uri : str
        For messages.

    Raises
    ------
    AudioError
        `out_of_range`: the peak is far above 1, and the samples are no integers.
    """
    peak = 0.0
    nonzero = large = 0
    all_integers = True
    for block in blocks:
        if not block.size:
            continue
        sizes = np.abs(block)
        largest = float(sizes.max())
        if not np.isfinite(largest):
            return Scale()  # rejected as `not_finite` by whoever reads that block
        peak = max(peak, largest)
        nonzero += int(np.count_nonzero(sizes))
        if largest > 1:
            large += int((sizes >= 1).sum())
        all_integers = all_integers and not np.mod(sizes, 1).any()
    if peak <= 1:
        return Scale()
    mostly_large = peak >= MIN_INTEGER_PEAK and large >= MIN_INTEGER_RATIO * nonzero
    if peak <= INTEGER_SCALES[-1] and (all_integers or mostly_large):
        full_scale = next(scale for scale in INTEGER_SCALES if peak <= scale)
        bits = round(np.log2(full_scale)) + 1
        return Scale(full_scale, f"samples up to {peak:,.0f} are read as integers of {bits} bits")
    if peak <= MAX_OVERSHOOT:
        return Scale()
    raise AudioError(
        "out_of_range",
        f"samples up to {peak:.3g} found, -1 to 1 expected, or integers in floating point",
        uri,
    )
