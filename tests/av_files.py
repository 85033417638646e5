"""Recordings in the containers of FFmpeg, made by PyAV."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

# Samples of one frame that is encoded.
FRAME = 1024
_LAYOUTS = {1: "mono", 2: "stereo", 8: "7.1", 16: "hexadecagonal"}


@dataclass(frozen=True)
class AudioTrack:
    """A track to be written: samples [channels, n], from `start_s` on, without packets in gaps."""

    samples: np.ndarray
    rate_hz: int
    codec: str = "aac"
    start_s: float = 0.0
    gaps: Sequence[tuple[float, float]] = ()


def make(
    container: str, *tracks: AudioTrack, interleaved: bool = True, video: bool = False
) -> bytes:
    """A file of a container (FFmpeg's name), as bytes. The test is skipped without PyAV."""
    av = pytest.importorskip("av", reason="PyAV (the extra `av`) makes and reads these files")
    buffer = io.BytesIO()
    options = {} if interleaved else {"max_interleave_delta": "1"}
    with av.open(buffer, "w", format=container, options=options) as output:
        streams = []
        for track in tracks:
            layout = _LAYOUTS[len(track.samples)]
            streams.append(output.add_stream(track.codec, rate=track.rate_hz, layout=layout))
            streams[-1].bit_rate = 48_000 * len(track.samples)
        packets = _picture(av, output) if video else []
        for stream, track in zip(streams, tracks, strict=True):
            packets += _packets(av, stream, track)
        if interleaved:
            packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            output.mux(packet)
    return buffer.getvalue()


def _packets(av, stream, track: AudioTrack) -> list:
    layout = _LAYOUTS[len(track.samples)]
    packets = []
    for at in range(0, track.samples.shape[1], FRAME):
        piece = np.asarray(track.samples[:, at : at + FRAME], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(piece.T.reshape(1, -1).copy(), "flt", layout)
        frame.rate, frame.pts = track.rate_hz, at + round(track.start_s * track.rate_hz)
        packets += stream.encode(frame)
    packets += stream.encode(None)
    return [
        packet
        for packet in packets
        if not any(start <= packet.pts * packet.time_base < end for start, end in track.gaps)
    ]


def _picture(av, output) -> list:
    stream = output.add_stream("mpeg4", rate=5)
    stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
    packets = []
    for _ in range(20):
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        packets += stream.encode(frame)
    return packets + list(stream.encode(None))
