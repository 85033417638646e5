"""The audio that a review page plays: the recordings themselves, or clips copied from them."""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

import numpy as np

from pipelines.review import Progress
from pipelines.review.selection import Choice
from pipelines.storage import files
from pipelines.storage.originals import ReplacedError, open_original, verify_local
from ser_core import audio, sound
from ser_core.errors import AudioError
from ser_core.examine import Source
from ser_core.report.wave import envelope

LEAD_S = 5.0
_WAVE_COLUMNS = 160
_LEAST_PEAK = 0.01  # waves are scaled to fill their row, but line noise is not


@dataclass(frozen=True)
class Playback:
    """Where a page finds the audio of a segment, or the problem that keeps it from playing.

    `wave` is the outline of the channel from `lead_s` before the segment to its end: the peak of
    each of up to 160 stretches, 0 to 99, the loudest being 99.
    """

    url: str = ""
    problem: str = ""
    is_clip: bool = False
    wave: tuple[int, ...] = ()


_STORE = "The recording is in an object store, which a browser cannot read."
_GONE = "The recording no longer exists."
_REPLACED = "The recording was replaced after it was labelled."
_CLIPS = " “ser review --clips DIR” copies the segments for this page."


def lead_s(choice: Choice) -> float:
    """Seconds that can be heard before a segment, up to five."""
    return min(LEAD_S, choice.start_s)


def find_originals(choices: Sequence[Choice], *, progress: Progress) -> list[Playback]:
    """Play the recordings themselves, where they lie; one Playback per choice."""
    playbacks: dict[int, Playback] = {}
    recordings = _by_recording(choices)
    for done, indices in enumerate(recordings):
        progress("waves of recordings", done, len(recordings))
        found = _find_original(choices[indices[0]])
        playbacks.update(dict.fromkeys(indices, found))
        if found.url.startswith("file:"):
            clips = _read_clips([choices[i] for i in indices])
            if not isinstance(clips, str):
                for i, clip in zip(indices, clips[1], strict=True):
                    playbacks[i] = replace(found, wave=_outline(clip))
    progress("waves of recordings", len(recordings), len(recordings))
    return [playbacks[i] for i in range(len(choices))]


def _by_recording(choices: Sequence[Choice]) -> list[list[int]]:
    """Indices of the segments of each recording."""
    by_uri: dict[str, list[int]] = defaultdict(list)
    for i, choice in enumerate(choices):
        by_uri[choice.uri].append(i)
    return [indices for _, indices in sorted(by_uri.items())]


def _outline(samples: np.ndarray) -> tuple[int, ...]:
    """Peaks of a wave in up to 160 stretches, 0 to 99."""
    peaks = np.abs(envelope(samples, _WAVE_COLUMNS)).max(axis=0, initial=0)
    scale = max(float(peaks.max(initial=0)), _LEAST_PEAK)
    return tuple(np.round(99 * peaks / scale).astype(int).tolist())


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
    """Write each segment as a 16-bit WAV file with its channel only, from up to 5 s before.

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
    recordings = _by_recording(choices)
    playbacks: dict[int, Playback] = {}
    with files.naming(f"--clips {folder}"):
        os.makedirs(folder, exist_ok=True)
    for done, indices in enumerate(recordings):
        progress("clips of recordings", done, len(recordings))
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
            playbacks[i] = Playback(quote(os.fsencode(relative)), is_clip=True, wave=_outline(clip))
    progress("clips of recordings", len(recordings), len(recordings))
    return [playbacks[i] for i in range(len(choices))]


def _clip_name(choice: Choice) -> str:
    """A name that depends on the segment only, and that any file system takes."""
    key = (
        f"{choice.recording_id}\0{choice.uri}\0{choice.channel}\0"
        f"{choice.start_s!r}\0{choice.end_s!r}"
    )
    return hashlib.sha256(key.encode()).hexdigest()[:20]


def _read_clips(choices: Sequence[Choice]) -> tuple[int, list[np.ndarray]] | str:
    """Sample rate and samples of segments of one recording, each with its lead, or the problem."""
    first = choices[0]
    source = Source(first.uri, first.size_bytes, first.modified_us)
    # A recording that a night has examined is not too large here.
    limits = audio.Limits(max_duration_s=math.inf, max_bytes=1 << 62)
    raw = audio.RawFormat.of_row(first.uri, first.codec, first.sample_rate_hz, first.channels)
    try:
        with (
            open_original(source, first.recording_id) as path,
            sound.reader().open(path, first.uri, limits=limits, raw=raw) as stream,
        ):
            if (channel := max(choice.channel for choice in choices)) >= stream.channels:
                return f"Its row names channel {channel}, and the recording has {stream.channels}."
            spans = [
                (
                    choice.channel,
                    round((choice.start_s - lead_s(choice)) * stream.rate),
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
