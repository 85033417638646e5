"""Open recordings in a child process, without decoding them (`guarded`)."""

from __future__ import annotations

from typing import BinaryIO

from ser_core import audio
from ser_core.examine import Source, unreadable
from ser_core.guarded import NO_RESULT, DiedError, Guard, Guarded
from ser_core.header import Header, Opening, answer
from ser_core.messages import Wanted


class HeaderReader(Guarded):
    """Opens recordings one after another in a child, without decoding them.

    Use as a context manager, or call `close`.

    Parameters
    ----------
    limits : audio.Limits
    guard : Guard, optional
    raw : tuple of audio.RawFormat
        Formats of files without a header.
    """

    def __init__(
        self,
        limits: audio.Limits,
        guard: Guard | None = None,
        *,
        raw: tuple[audio.RawFormat, ...] = (),
    ) -> None:
        super().__init__(Opening(limits, raw), guard)

    def read(self, file: str | BinaryIO, uri: str) -> Header:
        """Read a header; rejected where the child did not survive it.

        Parameters
        ----------
        file : path, or binary file object
            The child reads a file object through this process, piece by piece.
        uri : str

        Raises
        ------
        Exception
            Whatever the file object raises.
        SerError
            No child could be started.
        """
        source = Source(uri, None, None)
        if not isinstance(file, str):
            return self._read(source, file)
        try:
            opened = audio.open_regular(file)
        except OSError as error:
            rejection = unreadable(error, uri)
            return Header(reason=rejection.reason, detail=rejection.detail)
        with opened:
            return self._read(source, opened, is_handed_over=True)

    def _read(self, source: Source, file: BinaryIO, is_handed_over: bool = False) -> Header:
        pipe = self._ask(source, file=file if is_handed_over else None)
        try:
            while not isinstance(message := self._receive(pipe), Header):
                if is_handed_over or not isinstance(message, Wanted):
                    self.close()
                    raise DiedError("crashed", NO_RESULT)
                try:
                    piece = answer(file, message.offset, message.length)
                    assert self._child is not None
                    with self._watched(self._child):
                        pipe.send(piece)
                except BaseException:
                    self.close()  # it waits for an answer
                    raise
            return message
        except DiedError as error:
            return Header(reason=error.reason, detail=error.detail)
