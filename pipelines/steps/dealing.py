"""Dealing a chunk out to the processes of one machine, so that they end at about the same time."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from pipelines.ledger import Stored
from ser_core.examine import Source

# What a recording costs beside its content, in bytes of telephone audio.
_OPENING_BYTES = 20_000


def deal(chunk: Sequence[Source | Stored], shares: int) -> list[tuple[int, Source | Stored]]:
    """Each element with the share that it goes to: the largest first, to whoever has least.

    (LPT: R. L. Graham 1969, "Bounds on multiprocessing timing anomalies", SIAM J. Applied
    Mathematics 17(2).) A recording counts by its bytes, stored ones by their number, and each a
    little for being opened.
    """
    heap = [(0, share) for share in range(shares)]
    dealt = []
    for element in sorted(chunk, key=_work, reverse=True):
        done, share = heapq.heappop(heap)
        dealt.append((share, element))
        heapq.heappush(heap, (done + _work(element), share))
    return dealt


def _work(element: Source | Stored) -> int:
    if isinstance(element, Stored):
        return len(element.uris)
    return (element.size_bytes or 0) + _OPENING_BYTES
