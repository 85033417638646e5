"""Where a page finds the audio of segments: the recordings themselves, or clips of them."""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
class Heard:
    """Where a page finds a segment's audio, or why it does not."""

    url: str = ""
    problem: str = ""
    whole: bool = field(default=False)  # a clip, which is the segment and nothing else


_STORE = "It is in an object store, which a browser does not read."
_GONE = "The recording is not there any more."
_REPLACED = "Another recording has taken its place since that night."
_CLIPS = " “ser review --clips DIR” copies the segments for this page."


def find_originals(choices: Sequence[Choice]) -> list[Heard]:
    """The recordings themselves."""
    seen: dict[str, Heard] = {}
    for one in choices:
        if one.uri not in seen:
            seen[one.uri] = _original(one)
    return [seen[one.uri] for one in choices]


def _original(one: Choice) -> Heard:
    scheme = one.uri.partition("://")[0].lower()
    if files.is_remote(one.uri):
        return Heard(one.uri) if scheme in ("https", "http") else Heard(problem=_STORE + _CLIPS)
    source = Source(one.uri, one.size_bytes, one.modified_us)
    try:
        path = verify_local(source, one.recording_id)
    except ReplacedError:
        return Heard(problem=_REPLACED)
    except OSError:
        return Heard(problem=_GONE)
    return Heard("file://" + quote(os.fsencode(path)))


def write_clips(
    choices: Sequence[Choice], folder: str, *, page: str, progress: Progress
) -> list[Heard]:
    """Write each segment as a WAV file (16 bit) of its channel alone.

    Parameters
    ----------
    choices : sequence of Choice
    folder : str
        Made where it is not there.
    page : str
        Addresses are relative to this file, so that both can be moved together.
    progress : callable

    Returns
    -------
    list of Heard
        One a choice.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """
    by_uri: dict[str, list[int]] = defaultdict(list)
    for i, one in enumerate(choices):
        by_uri[one.uri].append(i)
    heard: dict[int, Heard] = {}
    with files.naming(f"--clips {folder}"):
        os.makedirs(folder, exist_ok=True)
    for done, (_, some) in enumerate(sorted(by_uri.items())):
        progress("clips of recordings", done, len(by_uri))
        found = _clips_of([choices[i] for i in some])
        if isinstance(found, str):
            heard.update(dict.fromkeys(some, Heard(problem=found)))
            continue
        rate, samples = found
        for i, clip in zip(some, samples, strict=True):
            path = os.path.join(folder, f"{_name(choices[i])}.wav")
            with files.naming(f"--clips {folder}"), files.written(os.path.abspath(path)) as file:
                file.write(_wav(clip, rate))
            relative = os.path.relpath(path, os.path.dirname(page))
            heard[i] = Heard(quote(os.fsencode(relative)), whole=True)
    progress("clips of recordings", len(by_uri), len(by_uri))
    return [heard[i] for i in range(len(choices))]


def _name(one: Choice) -> str:
    """The same for the same segment, whatever its recording is called."""
    said = f"{one.recording_id}\0{one.uri}\0{one.channel}\0{one.start_s!r}\0{one.end_s!r}"
    return hashlib.sha256(said.encode()).hexdigest()[:20]


def _clips_of(some: Sequence[Choice]) -> tuple[int, list[np.ndarray]] | str:
    """Rate, and the samples of some segments of one recording; or why there are none."""
    uri = some[0].uri
    source = Source(uri, some[0].size_bytes, some[0].modified_us)
    # What a night took is not too large for this.
    limits = audio.Limits(max_duration_s=math.inf, max_bytes=1 << 62)
    try:
        with (
            open_original(source, some[0].recording_id) as path,
            audio.open(path, uri, limits=limits) as stream,
        ):
            spans = [
                (one.channel, round(one.start_s * stream.rate), round(one.end_s * stream.rate))
                for one in some
            ]
            return stream.rate, cut(stream.blocks(), spans)
    except ReplacedError:
        return _REPLACED
    except FileNotFoundError:
        return _GONE
    except AudioError as error:
        return f"It cannot be decoded: {error.reason}, {error.detail}."
    except OSError as error:
        return f"It cannot be read: {files.said(error)}."


def cut(blocks: Iterator[np.ndarray], spans: Sequence[tuple[int, int, int]]) -> list[np.ndarray]:
    """The samples of (channel, start, end), in samples, from blocks [channels, m] in order."""
    pieces: list[list[np.ndarray]] = [[] for _ in spans]
    last = max(end for _, _, end in spans)
    at = 0
    for block in blocks:
        for piece, (channel, start, end) in zip(pieces, spans, strict=True):
            piece.append(block[channel, max(start - at, 0) : max(end - at, 0)].copy())
        at += block.shape[1]
        if at >= last:
            break
    return [np.concatenate(piece) for piece in pieces]


def _wav(samples: np.ndarray, rate: int) -> bytes:
    """16 bit, which all browsers play; samples that had no more stay what they were."""
    import soundfile

    whole = np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, whole, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()
