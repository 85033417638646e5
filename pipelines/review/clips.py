"""The audio that a review page plays: the recordings themselves, or clips copied from them."""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from pipelines.review import Progress
from pipelines.review.selection import Choice
from pipelines.storage import files
from pipelines.storage.originals import ReplacedError, open_original, verify_local
from ser_core import audio
from ser_core.errors import AudioError
from ser_core.examine import Source


@dataclass(frozen=True)
class Playback:
    """Where a page finds the audio of a segment, or the problem that keeps it from playing."""

    url: str = ""
    problem: str = ""
    is_clip: bool = False


_STORE = "The recording is in an object store, which a browser cannot read."
_GONE = "The recording no longer exists."
_REPLACED = "The recording was replaced after it was labelled."
_CLIPS = " “ser review --clips DIR” copies the segments for this page."


def find_originals(choices: Sequence[Choice]) -> list[Playback]:
    """Play the recordings themselves, where they lie; one Playback per choice."""
    by_uri: dict[str, Playback] = {}
    for choice in choices:
        if choice.uri not in by_uri:
            by_uri[choice.uri] = _find_original(choice)
    return [by_uri[choice.uri] for choice in choices]


def _find_original(choice: Choice) -> Playback:
    scheme = choice.uri.partition("://")[0].lower()
    if files.is_remote(choice.uri):
        return (
            Playback(choice.uri)
            if scheme in ("https", "http")
            else Playback(problem=_STORE + _CLIPS)
        )
    source = Source(choice.uri, choice.size_bytes, choice.modified_us)
    try:
        path = verify_local(source, choice.recording_id)
    except ReplacedError:
        return Playback(problem=_REPLACED)
    except OSError:
        return Playback(problem=_GONE)
    return Playback("file://" + quote(os.fsencode(path)))


def write_clips(
    choices: Sequence[Choice], folder: str, *, page: str, progress: Progress
) -> list[Playback]:
    """Write each segment as a 16-bit WAV file with its channel only.

    Parameters
    ----------
    choices : sequence of Choice
    folder : str
        Created if it does not exist.
    page : str
        The page; URLs are relative to it, so that page and clips can be moved together.
    progress : callable

    Returns
    -------
    list of Playback
        One per choice.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """
    by_uri: dict[str, list[int]] = defaultdict(list)
    for i, choice in enumerate(choices):
        by_uri[choice.uri].append(i)
    playbacks: dict[int, Playback] = {}
    with files.naming(f"--clips {folder}"):
        os.makedirs(folder, exist_ok=True)
    for done, (_, indices) in enumerate(sorted(by_uri.items())):
        progress("clips of recordings", done, len(by_uri))
        clips = _read_clips([choices[i] for i in indices])
        if isinstance(clips, str):
            playbacks.update(dict.fromkeys(indices, Playback(problem=clips)))
            continue
        rate_hz, samples = clips
        for i, clip in zip(indices, samples, strict=True):
            path = os.path.join(folder, f"{_clip_name(choices[i])}.wav")
            with files.naming(f"--clips {folder}"), files.written(os.path.abspath(path)) as file:
                file.write(_wav(clip, rate_hz))
            relative = os.path.relpath(path, os.path.dirname(page))
            playbacks[i] = Playback(quote(os.fsencode(relative)), is_clip=True)
    progress("clips of recordings", len(by_uri), len(by_uri))
    return [playbacks[i] for i in range(len(choices))]


def _clip_name(choice: Choice) -> str:
    """A name that depends on the segment only, and that any file system takes."""
    key = (
        f"{choice.recording_id}\0{choice.uri}\0{choice.channel}\0"
        f"{choice.start_s!r}\0{choice.end_s!r}"
    )
    return hashlib.sha256(key.encode()).hexdigest()[:20]


def _read_clips(choices: Sequence[Choice]) -> tuple[int, list[np.ndarray]] | str:
    """Sample rate and samples of segments of one recording, or the problem with it."""
    first = choices[0]
    source = Source(first.uri, first.size_bytes, first.modified_us)
    # A recording that a night has examined is not too large here.
    limits = audio.Limits(max_duration_s=math.inf, max_bytes=1 << 62)
    raw = audio.RawFormat.of_row(first.uri, first.codec, first.sample_rate_hz, first.channels)
    try:
        with (
            open_original(source, first.recording_id) as path,
            audio.open(path, first.uri, limits=limits, raw=raw) as stream,
        ):
            spans = [
                (
                    choice.channel,
                    round(choice.start_s * stream.rate),
                    round(choice.end_s * stream.rate),
                )
                for choice in choices
            ]
            return stream.rate, cut(stream.blocks(), spans)
    except ReplacedError:
        return _REPLACED
    except FileNotFoundError:
        return _GONE
    except AudioError as error:
        return f"It cannot be decoded: {error.reason}, {error.detail}."
    except OSError as error:
        return f"It cannot be read: {files.error_text(error)}."


def cut(blocks: Iterator[np.ndarray], spans: Sequence[tuple[int, int, int]]) -> list[np.ndarray]:
    """Cut spans (channel, start, end), in samples, out of consecutive blocks [channels, m]."""
    pieces: list[list[np.ndarray]] = [[] for _ in spans]
    last = max(end for _, _, end in spans)
    position = 0
    for block in blocks:
        for piece, (channel, start, end) in zip(pieces, spans, strict=True):
            piece.append(block[channel, max(start - position, 0) : max(end - position, 0)].copy())
        position += block.shape[1]
        if position >= last:
            break
    return [np.concatenate(piece) for piece in pieces]


def _wav(samples: np.ndarray, rate_hz: int) -> bytes:
    """A 16-bit WAV file, which every browser plays; 16-bit samples stay as they were."""
    import soundfile

    whole = np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, whole, rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()
