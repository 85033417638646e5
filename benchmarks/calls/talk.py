"""The talk of a built call: turns of an agent and a customer, levels, music on hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.calls.material import load_utterance
from benchmarks.calls.sound import amplitude, line_noise, rms
from benchmarks.calls.truth import Turn
from ser_core.corpora import Utterance

ROLES = ("agent", "customer")
AGENT, CUSTOMER = 0, 1

# The moods of a customer over a call, in equal parts.
COURSES = (
    ("neutral",),
    ("happy",),
    ("angry",),
    ("sad",),
    ("neutral", "angry"),
    ("neutral", "fearful", "sad"),
    ("angry", "neutral"),
    ("sad", "neutral", "happy"),
    ("disgust", "angry"),
    ("surprised", "happy"),
)
AGENT_MOODS = ("neutral", "calm")

EDGE_SILENCE_S = (0.5, 2.0)
PAUSE_S = (0.3, 2.0)  # between turns
BREATH_S = (0.2, 0.6)  # within a turn
OVERLAP_S = (0.2, 1.0)
OVERLAP_SHARE = 0.1  # of the turns begin before the other side ends
UTTERANCES = (1, 3)  # in a turn
HOLD_AFTER_S = 15.0  # no turn begins within this time before the hold: it might not end
LEVEL_DBFS = (-30.0, -16.0)  # RMS of a side's speech
GAIN_CONTROL = 0.5  # a telephone keeps this share of the differences in level, in dB
NOISE_BELOW_DB = (35.0, 45.0)  # below the speech of the side
CROSSTALK_DB = -35.0
CROSSTALK_SHARE = 0.3  # of the calls have crosstalk


@dataclass
class _Side:
    """One side of a call while it is being put together."""

    samples: np.ndarray
    level_dbfs: float
    turns: list[Turn] = field(default_factory=list)

    @property
    def end_s(self) -> float:
        return self.turns[-1].end_s if self.turns else 0.0

    def say(self, utterance: Utterance, start_s: float, rate: int) -> float | None:
        """Add an utterance. Returns its end in seconds, or None if it is silent or does not fit."""
        samples, spans = load_utterance(utterance.path, rate)
        first = round(start_s * rate)
        if not spans or first + len(samples) > len(self.samples) - EDGE_SILENCE_S[0] * rate:
            return None
        own_dbfs = 20.0 * np.log10(rms(samples))
        # Half of the utterance's deviation from -26 dBFS, the usual level of speech, stays.
        gain_db = self.level_dbfs - own_dbfs + GAIN_CONTROL * np.clip(own_dbfs + 26.0, -10.0, 10.0)
        self.samples[first : first + len(samples)] += samples * amplitude(gain_db)
        start_s = first / rate
        spans = tuple((round(start_s + a, 4), round(start_s + b, 4)) for a, b in spans)
        self.turns.append(
            Turn(
                start_s=spans[0][0],
                end_s=spans[-1][1],
                emotion=utterance.emotion,
                speaker=utterance.speaker,
                corpus=utterance.corpus,
                speech=spans,
            )
        )
        return start_s + len(samples) / rate

    def scale(self, rate: int) -> None:
        """Bring the speech to the level of the side; differences between utterances stay."""
        spoken = [
            self.samples[round(a * rate) : round(b * rate)]
            for turn in self.turns
            for a, b in turn.speech
        ]
        if spoken:
            self.samples *= amplitude(self.level_dbfs) / rms(np.concatenate(spoken))


def build_call(
    utterances: Sequence[Utterance],
    rate: int,
    duration_s: float,
    rng: np.random.Generator,
    hold: tuple[float, float] | None = None,
    *,
    crosstalk_share: float = CROSSTALK_SHARE,
    cast: tuple[str, str] | None = None,
) -> tuple[np.ndarray, tuple[tuple[Turn, ...], tuple[Turn, ...]]]:
    """Build one call.

    Parameters
    ----------
    utterances : sequence of Utterance
        From one corpus or several. A call uses two speakers of one corpus.
    rate : int
        8000 or 16000 Hz.
    duration_s : float > 0
    hold : tuple of start_s and end_s, optional
        A time without speech.
    crosstalk_share : float in [0, 1]
        Share of the calls in which both sides leak, 35 dB down.
    cast : tuple of str, optional
        Speakers who are the agent and the customer.

    Returns
    -------
    channels : np.ndarray [shape=(2, n)]
        Agent, customer.
    turns : turns of the agent and of the customer, in order of time
    """
    if cast:
        own, speakers = utterances, cast
    else:
        corpora = sorted({utterance.corpus for utterance in utterances})
        corpus = corpora[rng.integers(len(corpora))]
        own = [utterance for utterance in utterances if utterance.corpus == corpus]
        speakers = rng.permutation(sorted({utterance.speaker for utterance in own}))[:2]
    course = COURSES[rng.integers(len(COURSES))]

    n = round(duration_s * rate)
    sides = [_Side(np.zeros(n), float(rng.uniform(*LEVEL_DBFS))) for _ in ROLES]
    _take_turns(sides, own, speakers, course, rate, duration_s, rng, hold)
    for side in sides:
        side.scale(rate)
    channels = np.stack([side.samples for side in sides])
    if rng.random() < crosstalk_share:
        channels = channels + amplitude(CROSSTALK_DB) * channels[::-1]
    for channel, side in zip(channels, sides, strict=True):
        channel += line_noise(n, rate, side.level_dbfs - rng.uniform(*NOISE_BELOW_DB), rng)
    return channels, (tuple(sides[0].turns), tuple(sides[1].turns))


def _take_turns(
    sides: Sequence[_Side],
    utterances: Sequence[Utterance],
    speakers: Sequence[str],
    course: Sequence[str],
    rate: int,
    duration_s: float,
    rng: np.random.Generator,
    hold: tuple[float, float] | None,
) -> None:
    """Let agent and customer speak in turn, until a turn does not fit."""
    now_s = float(rng.uniform(*EDGE_SILENCE_S))
    side = AGENT
    while True:
        part = min(int(len(course) * now_s / duration_s), len(course) - 1)
        moods = AGENT_MOODS if side == AGENT else (course[part], "neutral")
        choice = _utterances_of(utterances, speakers[side], moods, first_available=side == CUSTOMER)
        if hold and hold[0] <= now_s + HOLD_AFTER_S and now_s < hold[1]:
            now_s = hold[1]
        start_s = max(now_s, sides[side].end_s + BREATH_S[0])
        for _ in range(rng.integers(UTTERANCES[0], UTTERANCES[1] + 1)):
            end_s = sides[side].say(choice[rng.integers(len(choice))], start_s, rate)
            if end_s is None:
                return
            start_s = end_s + float(rng.uniform(*BREATH_S))
        overlaps = rng.random() < OVERLAP_SHARE
        pause_s = -rng.uniform(*OVERLAP_S) if overlaps else rng.uniform(*PAUSE_S)
        now_s = max(end_s + float(pause_s), 0.0)
        side = CUSTOMER if side == AGENT else AGENT


def add_music(
    channel: np.ndarray,
    turns: Sequence[Turn],
    piece: np.ndarray,
    hold: tuple[float, float],
    rate: int,
    rng: np.random.Generator,
) -> tuple[tuple[float, float], ...]:
    """Add music to a channel [n] in place, where it has no speech. Returns the spans of music."""
    start_s = max([hold[0], *(turn.end_s for turn in turns if turn.start_s < hold[1])])
    first, last = round(start_s * rate), round(hold[1] * rate)
    if last - first < rate:
        return ()
    sound = np.resize(np.roll(piece, -rng.integers(len(piece))), last - first)
    channel[first:last] += sound * amplitude(rng.uniform(*LEVEL_DBFS)) / max(rms(sound), 1e-6)
    return ((round(start_s, 3), hold[1]),)


def _utterances_of(
    own: Sequence[Utterance], speaker: str, moods: Sequence[str], *, first_available: bool
) -> list[Utterance]:
    """Utterances of a speaker in any of `moods`, or in the first mood with any utterance."""
    spoken = [utterance for utterance in own if utterance.speaker == speaker]
    if not first_available:
        return [utterance for utterance in spoken if utterance.emotion in moods] or spoken
    for mood in moods:
        if chosen := [utterance for utterance in spoken if utterance.emotion == mood]:
            return chosen
    return spoken
