"""A chunk's shares: everything once, and no process with much more to do than another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.steps.dealing import _OPENING_BYTES, deal
from pipelines.stored import Key, Stored
from ser_core.examine import Source


def sources(sizes):
    return [Source(f"/calls/{i}.wav", size, 0) for i, size in enumerate(sizes)]


@given(st.lists(st.none() | st.integers(0, 10**9), max_size=60), st.integers(1, 8))
def test_shares_hold_everything_once_and_differ_by_one_recording_at_most(sizes, shares):
    chunk = sources(sizes)
    dealt = deal(chunk, shares)
    assert sorted((source.uri for _, source in dealt)) == sorted(source.uri for source in chunk)
    assert {share for share, _ in dealt} <= set(range(shares))
    sums = [0] * shares
    for share, source in dealt:
        sums[share] += (source.size_bytes or 0) + _OPENING_BYTES
    # Of greedy shares, the fullest without its last recording is no fuller than any other.
    last = {share: (source.size_bytes or 0) + _OPENING_BYTES for share, source in dealt}
    fullest = max(range(shares), key=lambda share: sums[share])
    assert sums[fullest] - last.get(fullest, 0) <= min(sums)


def test_one_long_call_leaves_the_short_ones_to_others():
    dealt = deal(sources([100_000] * 50 + [230_000_000] + [100_000] * 50), 2)
    long = next(share for share, source in dealt if source.size_bytes == 230_000_000)
    assert sum(share == long for share, _ in dealt) == 1


def test_stored_parts_count_by_their_recordings():
    keys = [tuple(Key(str(i), "r1", "r1") for i in range(n)) for n in (1, 5, 2, 4)]
    parts = [Stored(group, ("r",), ("s",), "f") for group in keys]
    shares = {len(part.uris): share for share, part in deal(parts, 2)}
    assert shares[5] == shares[1] != shares[4] == shares[2]
