"""The sound of a call for its page and picture: its waves, its address, a copy of it."""

from __future__ import annotations

import datetime as dt
import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import numpy as np

from pipelines.storage import files
from pipelines.storage.originals import ReplacedError, open_original, verify_local
from ser_core import audio, sound
from ser_core.audio.formats import container_of
from ser_core.errors import AudioError, SerError
from ser_core.examine import Source
from ser_core.report.call import Call
from ser_core.report.call_page import Playback

# A long call's wave is reduced to about this many points, the extremes of short stretches.
WAVE_POINTS = 200_000
# Rates that Opus has, and what a copy takes: speech over the telephone needs no more.
_OPUS_RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)
_OPUS_KBPS_A_CHANNEL = 16
_HEADER_BYTES = 64
# What Chromium plays, measured; Firefox and Safari play no less of it but for newer Safari's Opus.
_PLAYED_IN = {
    "WAV": ("pcm_u8", "pcm_s16", "pcm_s24", "pcm_s32", "pcm_f32", "mulaw", "alaw"),
    "MP4 or M4A": ("aac", "mp3", "opus", "flac"),
    "Matroska or WebM": ("opus", "vorbis"),
    "Ogg": ("opus", "vorbis"),
    "FLAC": None,
    None: ("mp3", "aac"),
}
CLIPS = "“ser show --html --clips” puts a copy into the page."
_GONE = "the audio no longer exists"
_REPLACED = "the audio was replaced after it was labelled"


class NoSoundError(Exception):
    """The original cannot be read; the message says why, as part of a sentence."""


@contextmanager
def _opened(call: Call) -> Iterator[sound.Sound]:
    """The original of a call, block by block.

    Raises
    ------
    NoSoundError
    """
    if not (call.duration_s and call.recording_id and call.codec):
        raise NoSoundError("the recording could not be decoded")
    if not call.by_channel:
        raise NoSoundError("its row names no channel")
    try:
        raw = audio.RawFormat.of_row(
            call.uri, call.codec, call.sample_rate_hz or 0, call.channels or 0
        )
    except SerError as error:
        raise NoSoundError(f"its row contradicts itself: {error}") from error
    # A recording that a night has examined is not too large here.
    limits = audio.Limits(max_duration_s=math.inf, max_bytes=1 << 62)
    try:
        with (
            open_original(_source(call), call.recording_id) as path,
            sound.reader().open(path, call.uri, limits=limits, raw=raw) as stream,
        ):
            if len(call.by_channel) > stream.channels:
                raise NoSoundError(
                    f"its row names {len(call.by_channel)} channels, and {stream.channels} found"
                )
            yield stream
    except ReplacedError:
        raise NoSoundError(_REPLACED) from None
    except FileNotFoundError:
        raise NoSoundError(_GONE) from None
    except AudioError as error:
        raise NoSoundError(f"it cannot be decoded: {error.reason}, {error.detail}") from error
    except OSError as error:
        raise NoSoundError(f"it cannot be read: {files.error_text(error)}") from error


def _source(call: Call) -> Source:
    modified_us = None
    if call.modified_at is not None:
        since = call.modified_at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        modified_us = since // dt.timedelta(microseconds=1)
    return Source(call.uri, call.size_bytes, modified_us)


def read_waves(call: Call) -> tuple[np.ndarray, int]:
    """Waves [channels, n], reduced to the extremes of short stretches, and their rate in Hz.

    Raises
    ------
    NoSoundError
    """
    duration_s = call.duration_s or 1.0
    step = max(1, int(duration_s * (call.sample_rate_hz or 1) * 2 / WAVE_POINTS))
    with _opened(call) as stream:
        # Channels that hold the same are one.
        rows = len(call.by_channel)
        blocks = [_extremes(block[:rows], step) for block in stream.blocks()]
    waves = np.concatenate(blocks, axis=1)
    return waves, max(1, round(waves.shape[1] / duration_s))


def _extremes(block: np.ndarray, step: int) -> np.ndarray:
    """Minimum and maximum of every `step` samples."""
    if step < 4:
        return block
    whole = block.shape[1] // step * step
    stretches = block[:, :whole].reshape(len(block), -1, step)
    return np.stack([stretches.min(axis=2), stretches.max(axis=2)], axis=2).reshape(len(block), -1)


def find_original(call: Call, page: str) -> Playback:
    """Where a page finds the recording itself, or why a browser cannot play it.

    Parameters
    ----------
    call : Call
    page : str
        Absolute path of the page, or its address in an object store.
    """
    if files.is_remote(call.uri):
        if call.uri.lower().startswith(("http://", "https://")):
            return Playback((call.uri,))
        where = "The recording is in an object store, which a browser cannot read"
        return Playback(problem=f"{where}: {CLIPS}")
    if call.recording_id is None:
        return Playback(problem="The recording could not be read.")
    try:
        path = verify_local(_source(call), call.recording_id)
        with audio.open_regular(path) as file:
            header = os.read(file.fileno(), _HEADER_BYTES)
    except ReplacedError:
        return Playback(problem=f"{_sentence(_REPLACED)}.")
    except OSError:
        return Playback(problem=f"{_sentence(_GONE)}.")
    if format_name := not_played(header, call.codec):
        return Playback(problem=f"Browsers do not play {format_name}: {CLIPS}")
    address = "file://" + quote(os.fsencode(path))
    if files.is_remote(page):
        return Playback((address,))
    # First the file itself; where page and recordings have moved together, or a server has both,
    # what lies at the same place from here.
    relative = os.path.relpath(path, os.path.dirname(page))
    return Playback((address, quote(os.fsencode(relative))))


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def not_played(header: bytes, codec: str | None) -> str:
    """What a recording is that browsers do not play; empty where they play it.

    Parameters
    ----------
    header : bytes
        The first bytes of the file.
    codec : str or None
        As in the tables; None where the recording was rejected.
    """
    container = container_of(header)
    name = container.name if container else None
    played = _PLAYED_IN.get(name, ())
    if played is None or codec in played:
        return ""
    codec = codec or "an unknown codec"
    return f"{codec} in {name}" if name else f"{codec} without a header of a known format"


def read_copy(call: Call) -> bytes:
    """A compressed copy of a call that every current browser plays: Opus in Ogg.

    Up to two channels stay apart; more are mixed.

    Raises
    ------
    NoSoundError
    """
    import soundfile
    import soxr

    file = io.BytesIO()
    with _opened(call) as stream:
        rate_hz = min([rate for rate in _OPUS_RATES_HZ if rate >= stream.rate] or [48_000])
        rows = len(call.by_channel)
        channels = rows if rows <= 2 else 1
        resample = soxr.ResampleStream(stream.rate, rate_hz, channels, dtype="float32")
        with soundfile.SoundFile(
            file, "w", rate_hz, channels, format="OGG", subtype="OPUS",
            # libsndfile: 256 kbit/s a channel at 0, 6 at 1.
            compression_level=(256 - _OPUS_KBPS_A_CHANNEL) / 250,
        ) as copy:  # fmt: skip
            for block in stream.blocks():
                sides = block[:rows] if rows <= 2 else block[:rows].mean(axis=0, keepdims=True)
                copy.write(resample.resample_chunk(np.ascontiguousarray(sides.T)))
            copy.write(resample.resample_chunk(np.zeros((0, channels), np.float32), last=True))
    return file.getvalue()
