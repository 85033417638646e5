"""A call as pages and pictures show it: plain values from the tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ser_core.emotions import NEGATIVE


@dataclass(frozen=True)
class Segment:
    """A stretch of speech, as in a row of the table `segments`.

    `probabilities` has a value for each label; `rms_db` (dBFS) is needed only where the audio is
    missing.
    """

    channel: int
    role: str
    start_s: float
    end_s: float
    label: str
    confidence: float
    unsure: bool
    probabilities: Sequence[float]
    rms_db: float | None = None

    def negativity(self, labels: Sequence[str]) -> float:
        """Sum of the probabilities of the negative labels, 0 to 1."""
        return float(
            sum(p for p, label in zip(self.probabilities, labels, strict=True) if label in NEGATIVE)
        )


@dataclass(frozen=True)
class Channel:
    """One side of a call; `label` and `confidence` are None where it is not analysed."""

    channel: int
    role: str
    analysed: bool
    speech_s: float
    label: str | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class Call:
    """A row of the view `calls` with its segments.

    Parameters
    ----------
    uri : str
    status : str
        `labelled`, `no_speech`, `rejected` or `extracted`.
    labels : tuple of str
        Labels of the model, in the order of `Segment.probabilities`; empty without a model.
    segments : tuple of Segment
        In the order of channels, then time.
    quarters : tuple of 4 floats or None
        Negativity by quarter of the call, 0 to 1; None for a quarter without speech.
    unusable_segments : int
        Rows of segments that are not shown, since they contradict the call's row or lack a value.
    meta : mapping of str to str
        The columns `meta_<name>`, without the prefix.
    """

    uri: str
    status: str
    recording_id: str | None = None
    size_bytes: int | None = None
    modified_at: dt.datetime | None = None
    reason: str | None = None
    detail: str | None = None
    call_time: dt.datetime | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    duration_s: float | None = None
    codec: str | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None
    speech_s: float | None = None
    music_s: float | None = None
    crosstalk_s: float | None = None
    silence_s: float | None = None
    overlap_s: float | None = None
    snr_db: float | None = None
    bandwidth_hz: float | None = None
    clipping_ratio: float | None = None
    label: str | None = None
    confidence: float | None = None
    unsure: bool | None = None
    negativity: float | None = None
    quarters: tuple[float | None, ...] = ()
    arc: str | None = None
    by_channel: tuple[Channel, ...] = ()
    labels: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    unusable_segments: int = 0
    model_id: str | None = None
    run_id: str | None = None
    night: dt.date | None = None

    @property
    def name(self) -> str:
        """The last part of the URI."""
        return self.uri.rpartition("/")[2]


def clock(seconds: float, *, with_hours: bool = False) -> str:
    """Time as on a clock.

    Examples
    --------
    >>> clock(12.5), clock(75), clock(3675)
    ('0:12.5', '1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:02.0f}" if rest == int(rest) else f"{rest:04.1f}"
    return f"{hours}:{minutes:02d}:{text}" if hours or with_hours else f"{minutes}:{text}"
