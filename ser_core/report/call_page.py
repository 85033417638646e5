"""The page of one call: what happened, its chart, its sound, and the numbers beneath.

The page fetches nothing before somebody plays it. Then it plays the recording itself, where a
browser can reach it, or the copy that it holds. Its script is `templates/call.js`.
"""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass

import numpy as np

from ser_core.report import call_chart, call_story, pages
from ser_core.report.call import Call, clock

# A click on a segment plays from so many seconds before it.
BEFORE_S = 2.0


@dataclass(frozen=True)
class Playback:
    """How a page plays a call.

    Parameters
    ----------
    urls : tuple of str
        Addresses of the recording, tried in this order.
    copy : bytes
        Ogg Opus that the page holds.
    problem : str
        Why it cannot be played, for a person.
    """

    urls: tuple[str, ...] = ()
    copy: bytes = b""
    problem: str = ""


@dataclass(frozen=True)
class Line:
    """A segment in the page's table."""

    number: int
    at: str
    until: str
    role: str
    label: str
    confidence: str
    unsure: bool
    negativity: str
    next_best: str


def render(
    call: Call,
    waves: np.ndarray | None,
    playback: Playback,
    *,
    output: str,
    back: str | None = None,
    without_waves: str = "",
) -> str:
    """Render the page.

    Parameters
    ----------
    call : Call
    waves : np.ndarray [shape=(channels, n)], or None
        One a channel of `call.by_channel`; None where the audio is missing.
    playback : Playback
    output : str
        The output folder, for the commands that give the page's numbers.
    back : str, optional
        Address of the page that lists the calls, relative to this one.
    without_waves : str
        Why levels are drawn instead of waves.
    """
    drawn = bool(call.duration_s and call.by_channel)
    analysed = {channel.role for channel in call.by_channel if channel.analysed}
    return pages.render(
        "call",
        call=call,
        headline=call_story.headline(call),
        about=call_story.about(call),
        remarks=call_story.remarks(call),
        levels=call_story.told_levels(call),
        sides=call_chart.sides(call, waves) if drawn else [],
        ticks=call_chart.axis(call.duration_s) if drawn and call.duration_s else [],
        colours=call_chart.colours(call.labels),
        emotions_px=call_chart.EMOTIONS_PX,
        negativity_px=call_chart.NEGATIVITY_PX,
        has_negative=call_chart.has_negative(call),
        lines=_lines(call),
        many_roles=len(analysed) > 1,
        facts=_facts(call),
        queries=_queries(call, output),
        playback=playback,
        without_waves=without_waves,
        copy=base64.b64encode(playback.copy).decode("ascii"),
        copy_kb=len(playback.copy) / 1000,
        before_s=BEFORE_S,
        back=back,
        script=pages.script("call"),
        data={
            "duration": call.duration_s or 0.0,
            "length": clock(round(call.duration_s or 0.0)),
            "before": BEFORE_S,
            "urls": playback.urls,
            "segments": [
                [segment.start_s, segment.end_s, _words(segment.label, segment.unsure)]
                for segment in call_chart.in_order(call)
            ],
        },
    )


def _words(label: str, unsure: bool) -> str:
    return f"unsure, perhaps {label}" if unsure else label


def _lines(call: Call) -> list[Line]:
    lines = []
    for number, segment in enumerate(call_chart.in_order(call)):
        ranked = sorted(
            zip(segment.probabilities, call.labels, strict=True), key=lambda pair: -pair[0]
        )
        next_best = f"{ranked[1][1]} {100 * ranked[1][0]:.0f} %" if len(ranked) > 1 else ""
        lines.append(
            Line(
                number,
                clock(segment.start_s),
                clock(segment.end_s),
                segment.role,
                segment.label,
                pages.percent(segment.confidence, 0),
                segment.unsure,
                pages.percent(segment.negativity(call.labels), 0),
                next_best,
            )
        )
    return lines


def _facts(call: Call) -> list[tuple[str, str]]:
    """What is known of the recording: names and values."""
    sound = [
        call.codec,
        call.sample_rate_hz and f"{call.sample_rate_hz:,} Hz",
        call.channels and f"{call.channels} channel{'s' if call.channels > 1 else ''}",
    ]
    spoken = [
        f"{channel.role} {channel.speech_s:.0f} s{'' if channel.analysed else ' (not analysed)'}"
        for channel in call.by_channel
    ]
    quarters = [pages.percent(value, 0) for value in call.quarters]
    known = {
        "Recording": call.uri,
        "Id": call.recording_id,
        "Status": call.status.replace("_", " "),
        "Negativity": None if call.negativity is None else pages.percent(call.negativity, 0),
        "By quarter": ", ".join(quarters) if call.negativity is not None else None,
        "Sound": ", ".join(str(part) for part in sound if part),
        "Speech": ", ".join(spoken),
        "Nobody speaks": call.silence_s is not None and f"{call.silence_s:.0f} s",
        "Both speak": call.overlap_s is not None and f"{call.overlap_s:.0f} s",
        "Signal to noise": call.snr_db is not None and f"{call.snr_db:.0f} dB",
        "Bandwidth": call.bandwidth_hz is not None and f"{call.bandwidth_hz:,.0f} Hz",
        "Clipped": bool(call.clipping_ratio) and pages.percent(call.clipping_ratio, 2),
        "Model": call.model_id,
        "Night, run": f"{call.night}, {call.run_id}" if call.run_id else None,
    }
    return [(name, str(value)) for name, value in known.items() if value]


def _queries(call: Call, output: str) -> list[tuple[str, str]]:
    """What gives the page's numbers: words, and a command for a shell."""
    uri = "'" + call.uri.replace("'", "''") + "'"
    of_call = (
        "SELECT status, reason, label, confidence, unsure, negativity, negativity_q1, "
        f"negativity_q2, negativity_q3, negativity_q4, arc, speech_s FROM calls WHERE uri = {uri}"
    )
    columns = ", ".join(f"p_{label}" for label in call.labels)
    of_segments = (
        "SELECT start_s, end_s, role, label, confidence, unsure"
        f"{', ' + columns if columns else ''} FROM segments WHERE uri = {uri} ORDER BY start_s"
    )
    found = [("The call", of_call)]
    if call.segments:
        found.append(("Its segments", of_segments))
    return [(words, shlex.join(["ser", "query", sql, "--output", output])) for words, sql in found]
