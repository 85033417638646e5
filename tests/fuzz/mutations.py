"""Mutates bytes, repeatably: the same seed and number give the same file."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ser_core.audio import ogg

# Values at the edges of integers, which headers hold as sizes and counts.
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
# Most mutations are made in the headers.
_HEADER_BYTES = 256


def mutate(seeds: Sequence[bytes], number: int, seed: int = 0) -> bytes:
    """The file of this number: one of the seeds, changed in up to eight places."""
    rng = random.Random(f"{seed}/{number}")
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 3, 5, 8))):
        rng.choice(_MUTATIONS)(data, rng, seeds)
    return _with_checksums(bytes(data)) if rng.random() < 0.7 else bytes(data)


def _with_checksums(data: bytes) -> bytes:
    """The same with right checksums of Ogg pages: else no damage gets to the codecs in them."""
    pages = data.split(ogg.MAGIC)
    for i, page in enumerate(pages[1:], start=1):
        if len(page) > 22:
            content = ogg.MAGIC + page[:18] + bytes(4) + page[22:]
            checksum = ogg._checksum(content).to_bytes(4, "little")
            pages[i] = page[:18] + checksum + page[22:]
    return ogg.MAGIC.join(pages)


def _place(data: bytearray, rng: random.Random) -> int:
    limit = min(len(data), _HEADER_BYTES) if rng.random() < 0.6 else len(data)
    return rng.randrange(limit) if limit else 0


def _flip_a_bit(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    if data:
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _set_an_integer(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    at, size = _place(data, rng), rng.choice((1, 2, 4, 8))
    value = rng.choice((*_EXTREMES, rng.getrandbits(32))) & (1 << 8 * size) - 1
    data[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _overwrite(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    at, size = _place(data, rng), rng.choice((4, 32, 500))
    data[at : at + size] = rng.randbytes(len(data[at : at + size]))


def _delete(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 16, 400))]


def _insert(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    at = _place(data, rng)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 16, 400)))


def _repeat(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    at = _place(data, rng)
    data[at:at] = data[at : at + rng.choice((4, 60, 400))] * rng.choice((1, 2, 9))


def _cut(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _splice(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    other = rng.choice(seeds)
    data[_place(data, rng) :] = other[rng.randrange(len(other) + 1) :]


_MUTATIONS = (
    _flip_a_bit, _flip_a_bit, _set_an_integer, _set_an_integer, _set_an_integer, _overwrite,
    _delete, _insert, _repeat, _cut, _splice,
)  # fmt: skip
