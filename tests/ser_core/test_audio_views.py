"""Parts of a file that are read as a file of their own."""

from __future__ import annotations

import io

from ser_core.audio.views import View


def test_no_more_room_is_made_than_there_is_to_read():
    """A damaged header may ask for terabytes."""
    view = View(io.BytesIO(b"0123456789"), [(2, 5), (8, 10)], prefix=b"ab")
    assert view.read(2**45) == b"ab23489"
    assert view.read(2**45) == b""
    assert view.seek(100) == 100
    assert view.read(5) == b""
    view.seek(1)
    assert (view.read(3), view.read()) == (b"b23", b"489")
