"""Dealing a chunk out to the processes of one machine, so that they end at about the same time."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from pipelines.stored import Stored
from ser_core.examine import Source

# Fixed cost of opening a recording, as bytes of telephone audio.
_OPENING_BYTES = 20_000


def deal(chunk: Sequence[Source | Stored], shares: int) -> list[tuple[int, Source | Stored]]:
    """Assign each element to a share: the largest element first, to the smallest share so far.

    Parameters
    ----------
    chunk : sequence of Source or Stored
        A Source weighs its bytes and a fixed cost, a Stored the number of its recordings.
    shares : int >= 1

    Returns
    -------
    list of (int, Source or Stored)
        Number of the share, and the element.

    References
    ----------
    Longest processing time first: R. L. Graham 1969, "Bounds on multiprocessing timing anomalies",
    SIAM J. Applied Mathematics 17(2).

    Examples
    --------
    >>> deal([Source("/a.wav", 900_000, 0), Source("/b.wav", 800_000, 0)], 2)[1][0]
    1
    """
    heap = [(0, share) for share in range(shares)]
    dealt = []
    for element in sorted(chunk, key=_weight, reverse=True):
        weight, share = heapq.heappop(heap)
        dealt.append((share, element))
        heapq.heappush(heap, (weight + _weight(element), share))
    return dealt


def _weight(element: Source | Stored) -> int:
    if isinstance(element, Stored):
        return len(element.uris)
    return (element.size_bytes or 0) + _OPENING_BYTES
