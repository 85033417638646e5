"""Finding speech: it is found, non-speech is not, and segments keep their promises."""

from __future__ import annotations

import io
import json
from itertools import pairwise

import numpy as np
import pytest
import scipy.signal
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_core import audio, speech
from tests.conftest import CALLS, TESTS
from tests.speechlike import call, voice

RATE = 8_000
T = np.arange(20 * RATE) / RATE


def tone(*hertz):
    return sum(0.2 * np.sin(2 * np.pi * f * T) for f in hertz)


NON_SPEECH = {
    "nothing": np.empty(0),
    "one sample": np.array([0.5]),
    "silence": 0 * T,
    "dc": 0 * T + 0.5,
    "clicks": np.where(np.arange(len(T)) % RATE == 0, 0.9, 0.0),
    "one click": np.eye(1, len(T), 5000)[0],
    "line noise": 0.001 * np.random.default_rng(0).standard_normal(len(T)),
    "150 Hz": tone(150),
    "440 Hz": tone(440),
    "1 kHz": tone(1000),
    "hum": tone(50, 150),
    "dial tone": tone(350, 440),
    "busy tone": tone(480, 620) * (T % 1 < 0.5),
    "ringback": tone(425) * (T % 5 < 1),
    "ringback, US": tone(440, 480) * (T % 6 < 2),
    "tone over noise": tone(440) + 0.003 * np.random.default_rng(0).standard_normal(len(T)),
}


@pytest.mark.parametrize("name", NON_SPEECH)
def test_non_speech_gives_no_segment(name):
    assert speech.find(NON_SPEECH[name].astype(np.float32), RATE) == []


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_turns_are_found_where_they_are(rate):
    turns = [(1.0, 4.0, -22), (6.0, 8.5, -26), (12.0, 15.0, -18)]
    found = speech.find(call(turns, 18, rate), rate)
    assert len(found) == len(turns)
    for segment, (start, end, _) in zip(found, turns, strict=True):
        assert segment.start_s == pytest.approx(start, abs=0.25)
        assert segment.end_s == pytest.approx(end, abs=0.25)


def test_crosstalk_is_not_speech():
    found = speech.find(call([(1, 5, -20), (7, 11, -56)], 12), RATE)
    assert [round(segment.start_s) for segment in found] == [1]


def test_short_speech_becomes_a_segment_of_one_second():
    (segment,) = speech.find(call([(5, 5.5, -20)], 10), RATE)
    assert segment.seconds == pytest.approx(1.0)
    assert segment.start_s < 5.1 < 5.4 < segment.end_s


def test_long_speech_is_cut_at_its_quietest_point():
    samples = np.concatenate([voice(7.5, seed=1), 0.05 * voice(0.25, seed=2), voice(6, seed=3)])
    found = speech.find(samples, RATE)
    assert len(found) == 2
    assert found[0].end_s == found[1].start_s == pytest.approx(7.62, abs=0.2)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.1, 14), st.floats(0.05, 6), st.integers(-40, -15)), max_size=5),
    st.sampled_from([8_000, 11_025, 48_000]),
    st.integers(0, 100),
)
def test_segments_keep_their_promises(pieces, rate, seed):
    turns, at = [], 0.0
    for seconds, pause, level in pieces:
        turns.append((at + pause, at + pause + seconds, level))
        at += pause + seconds
    duration = at + 0.3
    found = speech.find(call(turns, duration, rate, seed=seed), rate)
    for segment in found:
        assert speech.MIN_SEGMENT_S - 0.002 <= segment.seconds <= speech.MAX_SEGMENT_S + 0.002
        assert 0 <= segment.start_s < segment.end_s <= duration + 0.001
    for left, right in pairwise(found):
        assert left.end_s <= right.start_s


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_the_size_of_blocks_changes_nothing(rate):
    samples = call([(0.5, 6, -20), (8, 21, -24)], 25, rate)
    whole = speech.find(samples, rate)
    assert whole
    for size in (777, rate, 10 * rate):
        finder = speech.Finder(rate)
        for start in range(0, len(samples), size):
            finder.feed(samples[start : start + size])
        finder.feed(np.empty(0, dtype=np.float32), last=True)
        assert finder.segments() == whole


@pytest.mark.parametrize("samples", list(NON_SPEECH.values())[3:5], ids=["dc", "clicks"])
def test_speech_is_found_over_non_speech(samples):
    spoken = call([(5, 8, -20)], 20)
    assert len(speech.find(np.clip(spoken + samples, -1, 1).astype(np.float32), RATE)) >= 1


def test_sample_calls():
    """Recall and precision of speech, in hundredths of a second of the sample calls."""
    hit_count = spoken_count = found_count = 0
    for truth in json.loads((TESTS / "data" / "truth.json").read_text()):
        path = CALLS.parent / truth["file"]
        recording = audio.decode(path.read_bytes(), str(path))
        n = int(recording.facts.duration_s * 100) + 1
        spoken, found = np.zeros(n, bool), np.zeros(n, bool)
        for turn in truth["turns"]:
            spoken[round(turn["start_s"] * 100) : round(turn["end_s"] * 100)] = True
        for s in speech.find(recording.samples[truth["channel"]], recording.rate):
            found[round(s.start_s * 100) : round(s.end_s * 100)] = True
        hit_count += (spoken & found).sum()
        spoken_count += spoken.sum()
        found_count += found.sum()
    assert hit_count / spoken_count >= 0.95
    assert hit_count / found_count >= 0.85


def keys(seconds=20):
    """A number dialled, again and again: two tones a key."""
    samples = np.zeros(round(seconds * RATE), dtype=np.float32)
    random = np.random.default_rng(0)
    for start in range(0, len(samples) - 960, 2_400):
        t = np.arange(960) / RATE
        low, high = random.choice([697, 770, 852, 941]), random.choice([1209, 1336, 1477])
        pair = np.sin(2 * np.pi * low * t) + np.sin(2 * np.pi * high * t)
        samples[start : start + 960] = 0.15 * pair
    return samples


def chords(seconds=40):
    """Held chords of eight harmonics that fade, two in three seconds: music of a kind."""
    random = np.random.default_rng(0)
    at_s = np.arange(round(seconds * RATE)) / RATE
    samples = np.zeros(len(at_s))
    for start in np.arange(0, seconds, 1.5):
        on = at_s >= start
        t = at_s[on] - start
        for semitones in random.choice([0, 3, 4, 7, 12, 16], 3, replace=False):
            hz = 196 * 2 ** (semitones / 12)
            for k in range(1, 9):
                samples[on] += np.sin(2 * np.pi * k * hz * t) * np.exp(-0.7 * t) / k
    return (0.1 * samples / np.abs(samples).max()).astype(np.float32) * 3


@pytest.mark.parametrize(
    ("samples", "least"),
    [
        (keys(), 3.0),
        (chords(), 20.0),
        ((0.05 * np.random.default_rng(0).standard_normal(20 * RATE)).astype(np.float32), 15.0),
    ],
    ids=["keys", "chords", "white noise"],
)
def test_music_keys_and_noise_are_counted_and_no_speech(samples, least):
    finder = speech.Finder(RATE)
    finder.feed(samples, last=True)
    assert sum(segment.seconds for segment in finder.segments()) <= 0.05 * len(samples) / RATE
    assert least <= finder.music_s <= len(samples) / RATE


def breath(colour):
    """Twenty breaths: coloured noise that swells and fades."""
    noise = np.random.default_rng(0).standard_normal(40 * RATE)
    swell = np.clip(np.sin(2 * np.pi * np.arange(len(noise)) / (2 * RATE)), 0, 1)
    coloured = scipy.signal.lfilter([1], colour, noise) * swell
    return (0.02 * coloured / coloured.std()).astype(np.float32)


def comfort_noise():
    """Noise at -45 dBFS, switched on and off as a detector of a codec does."""
    random = np.random.default_rng(1)
    noise = 10 ** (-45 / 20) * random.standard_normal(40 * RATE)
    on = np.repeat(random.random(40 * RATE // 1_600) < 0.5, 1_600)
    return (noise * on).astype(np.float32)


@pytest.mark.parametrize(
    "samples",
    [breath([1]), breath([1, -0.9]), breath([1, -1.5, 0.8]), comfort_noise()],
    ids=["white breath", "pink breath", "breath in a tract", "comfort noise"],
)
@pytest.mark.parametrize("subtype", ["ULAW", "GSM610"])
def test_breath_and_comfort_noise_are_no_speech(samples, subtype):
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype=subtype)
    file.seek(0)
    assert speech.find(soundfile.read(file, dtype="float32")[0], RATE) == []


def test_speech_between_breaths_is_kept():
    spoken = call([(1, 6, -20), (7, 11, -22)], 12)
    found = speech.find(np.concatenate([breath([1]), spoken, breath([1])]), RATE)
    assert sum(segment.seconds for segment in found) == pytest.approx(9, abs=1)
    assert all(40 < segment.start_s < segment.end_s < 52 for segment in found)


def test_speech_between_music_is_kept():
    spoken = call([(1, 6, -20), (7, 11, -22)], 12)
    samples = np.concatenate([chords(20), spoken, chords(20)])
    finder = speech.Finder(RATE)
    finder.feed(samples, last=True)
    found = finder.segments()
    inside = sum(max(0, min(s.end_s, 32) - max(s.start_s, 20)) for s in found)
    assert inside > 0.8 * 9
    assert sum(s.seconds for s in found) - inside < 4
    assert finder.music_s > 20


def test_real_hold_music(corpora):
    path = next((corpora / "telephone").glob("*.wav"))
    music = audio.decode(path.read_bytes(), path.name)
    finder = speech.Finder(music.rate)
    finder.feed(music.samples[0], last=True)
    seconds = music.samples.shape[1] / music.rate
    assert sum(segment.seconds for segment in finder.segments()) < 0.05 * seconds
