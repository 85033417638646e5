"""What the decoding child tells its parent, as data: JSON, and behind it vectors or samples.

A decoder that a hostile recording has taken over speaks through this pipe, to a process without a
fence. So the parent unpickles nothing: it takes numbers, texts and the dataclasses below, each
field checked against its type, of a limited size.
"""

from __future__ import annotations

import json
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ser_core.errors import REJECTION_REASONS
from ser_core.examine import Examined, Settings, Source
from ser_core.fence import Fence
from ser_core.header import Header, Opening

# Vectors of 4 h of 8 channels in segments of a second have this much.
MAX_BYTES = 1 << 30
# The text of these has a quarter of this; as objects it takes 30 times as much.
_MAX_TEXT_BYTES = 64 << 20
# Ten seconds of 8 channels of 192 kHz.
_MAX_BLOCK_BYTES = 64 << 20
_MAX_CHARACTERS = 100_000
_RECORDING_ID = re.compile("[0-9a-f]{64}")
_LENGTH_BYTES = 4
NO_FENCE = Fence()


@dataclass(frozen=True)
class Listening:
    """Decoding for somebody who listens or looks; how, comes with each recording."""


@dataclass(frozen=True)
class Task:
    """What a child is for, as its parent sends it first.

    Parameters
    ----------
    work : Settings, Opening or Listening
        To examine by settings, to read headers, or to decode.
    memory_mb : int
        On top of the warm process.
    fence : str
        One of `fence.MODES`.
    parent : int
        Id of the process that the child ends with.
    """

    work: Settings | Opening | Listening
    memory_mb: int
    fence: str
    parent: int


class MessageError(Exception):
    """What came is no message."""


@dataclass(frozen=True)
class Ready:
    """The child has warmed up; or what prevents it.

    Parameters
    ----------
    fence : Fence
        What is closed round it; as text, the column `fence` of `runs`.
    dimensions : int
        Of the feature set; 0 where no features are extracted.
    problem : str or None
    """

    fence: Fence = NO_FENCE
    dimensions: int = 0
    problem: str | None = None


@dataclass(frozen=True)
class Beat:
    """A sign of life, with the id of the recording as soon as it is known."""

    recording_id: str | None


@dataclass(frozen=True)
class Wanted:
    """Bytes of the recording that only the parent can read; its size where `offset` is None."""

    offset: int | None
    length: int


@dataclass(frozen=True)
class Done:
    """A recording was examined."""

    examined: Examined
    peak_memory_mb: float


@dataclass(frozen=True)
class Opened:
    """A recording was opened; its samples come on request."""

    rate: int
    channels: int
    declared_s: float | None


@dataclass(frozen=True)
class Block:
    """The next samples, float32 [channels, m] in [-1, 1]."""

    samples: np.ndarray | None


@dataclass(frozen=True)
class End:
    """A recording has no more samples."""


Message = Ready | Beat | Wanted | Done | Header | Opened | Block | End
_KINDS: Mapping[str, type] = {kind.__name__: kind for kind in typing.get_args(Message)}
# Stands for the source of the recording, which the parent knows.
_NO_SOURCE = Source("", None, None)


def send(pipe: Connection, message: Message) -> None:
    """Send a message to the parent."""
    values = None
    if isinstance(message, Done):
        values = message.examined.vectors
        message = replace(
            message, examined=replace(message.examined, vectors=None, source=_NO_SOURCE)
        )
    elif isinstance(message, Block):
        values, message = message.samples, Block(None)
    about = {"kind": type(message).__name__, "message": _plain(message)}
    if values is not None:
        values = np.ascontiguousarray(values, dtype="<f4")
        about["rows"] = len(values)
    text = json.dumps(about, default=_number).encode()
    length = len(text).to_bytes(_LENGTH_BYTES, "little")
    pipe.send_bytes(b"".join([length, text, b"" if values is None else values.tobytes()]))


def receive(pipe: Connection, dimensions: int = 0) -> Message:
    """The next message of the child.

    Parameters
    ----------
    pipe : Connection
    dimensions : int
        Of the vectors that may come.

    Raises
    ------
    MessageError
        What came is no message.
    EOFError, ConnectionError
        The child has ended.
    """
    try:
        data = pipe.recv_bytes(MAX_BYTES)
    except EOFError:
        raise
    except OSError as error:
        if isinstance(error, ConnectionError):
            raise
        if error.errno is None and "end of file" in str(error):
            raise EOFError("in the middle of a message") from error
        raise MessageError(f"more than {MAX_BYTES >> 20:,} MB: {error}") from error
    try:
        return _parse(data, dimensions)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise MessageError(f"{type(error).__name__}: {error}") from error


def _parse(data: bytes, dimensions: int) -> Message:
    start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    if start > _MAX_TEXT_BYTES:
        raise ValueError(f"a text of {start:,} bytes")
    about = json.loads(data[_LENGTH_BYTES:start])
    message = _built(_KINDS[about["kind"]], about["message"])
    if isinstance(message, Block):
        if not 0 < len(data) - start <= _MAX_BLOCK_BYTES:
            raise ValueError(f"samples of {len(data) - start:,} bytes")
        samples = np.frombuffer(data, dtype="<f4", offset=start).reshape(about["rows"], -1)
        if not (np.abs(samples) <= 1).all():
            raise ValueError("a sample outside [-1, 1]")
        return Block(samples.copy())
    if isinstance(message, Beat | Done):
        found_id = (
            message.recording_id if isinstance(message, Beat) else message.examined.recording_id
        )
        if found_id is not None and not _RECORDING_ID.fullmatch(found_id):
            raise ValueError(f"recording id {found_id[:40]!r}")
    if isinstance(message, Header | Done):
        found = message if isinstance(message, Header) else message.examined
        if found.reason is not None and found.reason not in REJECTION_REASONS:
            raise ValueError(f"reason {found.reason[:40]!r}")
    if not isinstance(message, Done):
        return message
    found = message.examined
    if "rows" not in about:
        if found.segments:
            raise ValueError("segments without vectors")
        return message
    vectors = np.frombuffer(data, dtype="<f4", offset=start)
    if vectors.size != len(found.segments) * dimensions or about["rows"] != len(found.segments):
        raise ValueError(f"{vectors.size:,} values for {len(found.segments):,} segments")
    if not np.isfinite(vectors).all():
        raise ValueError("a vector with NaN or infinity")
    vectors = vectors.reshape(len(found.segments), dimensions).copy()
    return replace(message, examined=replace(found, vectors=vectors))


def _plain(value: Any) -> Any:
    """A dataclass as a dictionary."""
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} found, a number or text expected")


@cache
def _types(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _built(expected: Any, value: Any) -> Any:
    """A value of the type expected, made of what JSON has.

    Raises
    ------
    ValueError
        It is of another type.
    """
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if is_dataclass(expected) and isinstance(value, dict):
        hints = _types(typing.cast(type, expected))
        if value.keys() == hints.keys():
            return typing.cast(type, expected)(
                **{name: _built(hint, value[name]) for name, hint in hints.items()}
            )
    elif origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _built(next(kind for kind in arguments if kind is not type(None)), value)
    elif origin is tuple and isinstance(value, list):
        return tuple(_built(arguments[0], item) for item in value)
    elif origin is dict and isinstance(value, dict):
        return {str(name): _built(arguments[1], item) for name, item in value.items()}
    elif expected is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    elif expected is int and type(value) is int and abs(value) < 1 << 63:
        return value
    elif expected is str and type(value) is str and len(value) <= _MAX_CHARACTERS:
        value.encode()  # no lone surrogates
        return value
    elif expected is bool and type(value) is bool:
        return value
    name = getattr(expected, "__name__", expected)
    raise ValueError(f"{str(value)[:40]!r} found, {name} expected")
