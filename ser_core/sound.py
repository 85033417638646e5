"""The samples of a recording, decoded by a child behind the fence, block by block.

It is for pages and clips: what they show is decoded like a night's recordings, and the process that
makes them meets samples only.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np

from ser_core import audio
from ser_core.audio.stream import MAX_RATE_HZ, MIN_RATE_HZ
from ser_core.errors import AudioError
from ser_core.examine import Source, unreadable
from ser_core.guarded import NO_RESULT, DiedError, Guard, Guarded
from ser_core.header import Header, Opening
from ser_core.messages import Block, End, Listening, Message, Opened

# More than any recording has: a week.
_MAX_S = 7 * 86_400


@dataclass
class Sound:
    """An open recording.

    Parameters
    ----------
    rate : int
        Sample rate in Hz.
    channels : int
    declared_s : float or None
        Its length by its header.
    ended : bool
        Whether all blocks were read.
    """

    rate: int
    channels: int
    declared_s: float | None
    _reader: SoundReader
    _uri: str
    ended: bool = False

    def blocks(self) -> Iterator[np.ndarray]:
        """Decode the samples, block by block and in order. It can be called once.

        Yields
        ------
        np.ndarray [shape=(channels, m)], float32

        Raises
        ------
        AudioError
            As for `audio.AudioStream.blocks`; and `crashed` or `timed_out`.
        """
        heard = 0
        while not self.ended:
            self.ended = True
            message = self._reader.next_of(self._uri, more=True)
            if isinstance(message, Block) and message.samples is not None:
                heard += message.samples.shape[1]
                if len(message.samples) != self.channels or heard > _MAX_S * self.rate:
                    raise self._reader.breach(self._uri)
                self.ended = False
                yield message.samples
            elif not (isinstance(message, End) and heard):
                raise self._reader.breach(self._uri)


class SoundReader(Guarded):
    """Decodes recordings one after another in a child.

    Use as a context manager, or call `close`.

    Parameters
    ----------
    guard : Guard, optional
    """

    def __init__(self, guard: Guard | None = None) -> None:
        super().__init__(Listening(), guard)

    @contextmanager
    def open(
        self,
        path: str,
        uri: str,
        *,
        limits: audio.Limits | None = None,
        raw: tuple[audio.RawFormat, ...] = (),
    ) -> Iterator[Sound]:
        """Open a recording; the arguments are those of `audio.open`.

        Raises
        ------
        AudioError
            It is rejected, or the child did not survive it.
        SerError
            No child could be started.
        """
        try:
            file = audio.open_regular(path)
        except OSError as error:
            raise unreadable(error, uri) from error
        with file:
            opening = Opening(limits or audio.Limits(), raw)
            self._ask(Source(uri, None, None), opening, file)
            opened = self.next_of(uri)
            if not (
                isinstance(opened, Opened)
                and MIN_RATE_HZ <= opened.rate <= MAX_RATE_HZ
                and 1 <= opened.channels <= opening.limits.max_channels
            ):
                raise self.breach(uri)
            sound = Sound(opened.rate, opened.channels, opened.declared_s, self, uri)
            try:
                yield sound
            finally:
                self._stop(sound)

    def breach(self, uri: str) -> AudioError:
        """The rejection of a recording whose child says what it cannot; the child ends."""
        self.close()
        return AudioError("crashed", NO_RESULT, uri)

    def _stop(self, sound: Sound) -> None:
        """Tell the child, which waits for a word, that no more is wanted."""
        if not sound.ended and self._child is not None:
            try:
                self._child.pipe.send(False)
            except OSError:
                self.close()

    def next_of(self, uri: str, *, more: bool = False) -> Message:
        """The child's next message about a recording; with `more` it is asked for first."""
        try:
            if self._child is None:
                raise DiedError("crashed", NO_RESULT)
            pipe = self._child.pipe
            if more:
                pipe.send(True)
            message = self._receive(pipe)
        except (DiedError, ConnectionError) as error:
            self.close()
            reason, detail = (
                (error.reason, error.detail) if isinstance(error, DiedError)
                else ("crashed", NO_RESULT)
            )  # fmt: skip
            raise AudioError(reason, detail, uri) from error
        except BaseException:
            self.close()  # its answer would be taken for that of the next recording
            raise
        if isinstance(message, Header) and message.reason is not None:
            raise AudioError(message.reason, message.detail or "", uri)
        return message


def reader() -> SoundReader:
    """The reader of this process, whose child is started once."""
    return _reader_of(os.getpid())


@cache
def _reader_of(_: int) -> SoundReader:
    made = SoundReader()
    atexit.register(made.close)
    return made
