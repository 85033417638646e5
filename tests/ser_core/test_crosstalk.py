"""Crosstalk is nobody's speech on this channel, talk over it stays, and equal channels are one."""

from __future__ import annotations

import io

import numpy as np
import pytest
import scipy.signal
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_core import audio, speech
from ser_core.crosstalk import Comparison
from ser_core.examine import Settings, Source, examine
from tests.conftest import CALLS

RATE = 8_000
SAMPLE = audio.decode((CALLS / "billing/20260301T173005_c0003.opus").read_bytes(), "c0003.opus")
AGENT, CUSTOMER = (
    scipy.signal.resample_poly(channel, 1, SAMPLE.rate // RATE) for channel in SAMPLE.samples
)
ROLES = ("agent", "customer")
SUBTYPES = {
    "mulaw": {"format": "WAV", "subtype": "ULAW"},
    "opus": {"format": "OGG", "subtype": "OPUS", "compression_level": 0.95},
    "mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III"},
}


def delayed(samples: np.ndarray, seconds: float) -> np.ndarray:
    """Samples that come later, by a fraction of a sample, too."""
    n = 2 * len(samples)
    turn = np.exp(-2j * np.pi * np.fft.rfftfreq(n, 1 / RATE) * seconds)
    return np.fft.irfft(np.fft.rfft(samples, n) * turn, n)[: len(samples)]


def echo(samples: np.ndarray, loss_db: float, delay_s: float, *, room: bool = True) -> np.ndarray:
    """The echo of a channel: softer, later, and from a room that fades in 0.3 s."""
    response = np.zeros(round(0.3 * RATE))
    response[0] = 1.0
    if room:
        fading = 10 ** (-3 * np.arange(len(response)) / len(response))
        tail = np.random.default_rng(0).standard_normal(len(response)) * fading
        response += 0.5 * tail / np.linalg.norm(tail)
    response /= np.linalg.norm(response)
    filtered = scipy.signal.fftconvolve(samples, response)[: len(samples)]
    return delayed(filtered, delay_s) * 10 ** (-loss_db / 20)


def coded(channels: np.ndarray, codec: str) -> np.ndarray:
    """Channels through a codec: float32 [channels, n]."""
    if codec == "gsm":
        return np.stack([_written(side, format="WAV", subtype="GSM610")[0] for side in channels])
    return _written(channels, **SUBTYPES[codec])


def _written(channels: np.ndarray, **how) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, np.clip(channels.T, -1, 1), RATE, **how)
    file.seek(0)
    return soundfile.read(file, dtype="float32", always_2d=True)[0].T


def compared(channels: np.ndarray, size: int = 10 * RATE) -> tuple[Comparison, list]:
    """The comparison of channels that are fed in blocks, and the finders of their speech."""
    comparison = Comparison(len(channels))
    finders = [speech.Finder(RATE) for _ in channels]
    channels = channels.astype(np.float32)
    for start in range(0, channels.shape[1], size):
        blocks = channels[:, start : start + size]
        comparison.feed([f.feed(block) for f, block in zip(finders, blocks, strict=True)])
    comparison.feed([f.feed(np.empty(0, np.float32), last=True) for f in finders])
    comparison.end()
    return comparison, finders


def spoken(segments: list[speech.Segment], seconds: float) -> np.ndarray:
    """Which hundredths of a second are in a segment."""
    found = np.zeros(round(100 * seconds) + 1, dtype=bool)
    for segment in segments:
        found[round(100 * segment.start_s) : round(100 * segment.end_s)] = True
    return found


def look(tmp_path, channels: np.ndarray, roles: tuple[str, ...] = ROLES, **how):
    path = tmp_path / "call.wav"
    soundfile.write(path, np.clip(channels.T, -1, 1), RATE, **{"subtype": "PCM_16", **how})
    return examine(path, Source(str(path), 1, 1), Settings("test_simple", roles))


@pytest.mark.parametrize(
    ("codec", "loss_db", "delay_s", "room"),
    [
        ("mulaw", 15, 0.05, False),
        ("mulaw", 20, 0.02, True),
        ("gsm", 20, 0.12, True),
        ("opus", 25, 0.3, True),
        ("mp3", 30, 0.45, True),
        ("mulaw", 35, 0.0, False),
        ("gsm", 40, 0.08, True),
    ],
)
@pytest.mark.parametrize("leaks_to", [1, 0])
def test_an_echo_is_dropped_and_the_channels_own_speech_stays(
    codec, loss_db, delay_s, room, leaks_to
):
    clean = np.stack([AGENT, CUSTOMER])
    with_echo = clean.copy()
    with_echo[leaks_to] += echo(clean[1 - leaks_to], loss_db, delay_s, room=room)
    comparison, finders = compared(coded(with_echo, codec))
    _, clean_finders = compared(coded(clean, codec))
    seconds = len(AGENT) / RATE
    own, other = (spoken(clean_finders[c].segments(), seconds) for c in (leaks_to, 1 - leaks_to))
    crosstalk = comparison.crosstalk(leaks_to, [1 - leaks_to])
    found = spoken(finders[leaks_to].segments(crosstalk), seconds)
    assert np.count_nonzero(found & other & ~own) <= 0.02 * np.count_nonzero(other & ~own)
    assert np.count_nonzero(own & ~found) <= 0.04 * np.count_nonzero(own)
    # The channel that leaks keeps all of its speech.
    kept = finders[1 - leaks_to].segments(comparison.crosstalk(1 - leaks_to, [leaks_to]))
    assert np.count_nonzero(other & ~spoken(kept, seconds)) <= 0.01 * np.count_nonzero(other)


def test_talk_over_an_echo_stays():
    customer = np.concatenate([CUSTOMER[len(CUSTOMER) // 2 :], CUSTOMER[: len(CUSTOMER) // 2]])
    double = np.stack([AGENT, customer + echo(AGENT, 20, 0.06)])
    comparison, finders = compared(coded(double, "mulaw"))
    seconds = len(AGENT) / RATE
    own = spoken(speech.find(customer.astype(np.float32), RATE), seconds)
    found = spoken(finders[1].segments(comparison.crosstalk(1, [0])), seconds)
    assert finders[1].crosstalk_s > 3
    assert np.count_nonzero(own & ~found) <= 0.03 * np.count_nonzero(own)


@pytest.mark.parametrize("codec", ["mulaw", "gsm", "opus"])
def test_without_an_echo_nothing_is_dropped(codec):
    comparison, _ = compared(coded(np.stack([AGENT, CUSTOMER]), codec))
    assert not comparison.crosstalk(0, [1]).any()
    assert not comparison.crosstalk(1, [0]).any()
    assert comparison.different
    assert not comparison.equal


def test_both_sides_may_leak():
    both = np.stack([AGENT + echo(CUSTOMER, 22, 0.03), CUSTOMER + echo(AGENT, 18, 0.15)])
    comparison, finders = compared(coded(both, "mulaw"))
    seconds = len(AGENT) / RATE
    for c, clean in enumerate((AGENT, CUSTOMER)):
        own = spoken(speech.find(clean.astype(np.float32), RATE), seconds)
        found = spoken(finders[c].segments(comparison.crosstalk(c, [1 - c])), seconds)
        assert np.count_nonzero(own ^ found) <= 0.05 * np.count_nonzero(own)


@pytest.mark.parametrize(
    ("loss_db", "delay_s"), [(20, 0.05), (25, 0.2), (8, 0.0), (0, 0.003), (0, -0.1), (3, 0.1)]
)
def test_a_customers_channel_with_an_echo_only_has_no_speech(tmp_path, loss_db, delay_s):
    noise = 3e-4 * np.random.default_rng(0).standard_normal(len(AGENT))
    found = look(tmp_path, np.stack([AGENT, noise + echo(AGENT, loss_db, delay_s, room=False)]))
    assert (found.reason, found.detail, found.segments) == (None, None, ())
    assert found.crosstalk_s > 5
    assert found.by_channel[1].speech_s == 0
    # What is as loud may be either side's, so it is neither's.
    assert (found.by_channel[0].speech_s > 5) == (loss_db > 6)


def test_what_both_channels_hold_equally_is_neither_sides(tmp_path):
    """An announcement to both sides, and then a call."""
    announced = np.concatenate([AGENT[: 12 * RATE], np.zeros(RATE)])
    call = np.stack([np.concatenate([announced, side]) for side in (AGENT, CUSTOMER)])
    found = look(tmp_path, call)
    assert found.segments
    assert min(segment.start_s for segment in found.segments) > 12.5
    assert found.crosstalk_s > 2


@pytest.mark.parametrize("roles", [ROLES, ()])
@pytest.mark.parametrize("gain_db", [-6, 0, 6])
@pytest.mark.parametrize("delay_s", [0, 0.0007, 0.002])
def test_channels_that_hold_the_same_are_one_that_is_mixed(tmp_path, roles, gain_db, delay_s):
    talk = 0.4 * (AGENT + CUSTOMER)
    other = -delayed(talk, delay_s) * 10 ** (gain_db / 20)
    found = look(tmp_path, np.stack([talk, other]), roles, subtype="ULAW")
    assert found.reason is None
    assert found.detail == "2 channels hold the same sound and are one, mixed"
    assert [(c.role, c.analysed) for c in found.by_channel] == [("mixed", True)]
    assert {segment.role for segment in found.segments} == {"mixed"}
    assert found.channels == 2
    assert (found.crosstalk_s, found.overlap_s) == (0, None)
    assert found.speech_s == pytest.approx(
        sum(s.seconds for s in speech.find(talk.astype(np.float32), RATE)), rel=0.1
    )


@pytest.mark.parametrize("how", [SUBTYPES["opus"], SUBTYPES["mp3"]], ids=["opus", "mp3"])
@pytest.mark.parametrize("channels", [2, 3])
def test_a_lossy_codec_leaves_equal_channels_equal(tmp_path, how, channels):
    if channels > 2 and how["format"] == "MP3":
        pytest.skip("MP3 has two channels")
    talk = AGENT + CUSTOMER
    gains = np.array([1.0, 0.6, -0.8])[:channels]
    found = look(tmp_path, gains[:, None] * talk, (), **how)
    assert {c.role for c in found.by_channel} == {"mixed"}


def test_a_silent_channel_is_not_the_same_as_the_other(tmp_path):
    found = look(tmp_path, np.stack([AGENT, np.zeros_like(AGENT)]))
    assert (found.segments, found.crosstalk_s, found.detail) == ((), 0, None)
    assert [channel.role for channel in found.by_channel] == ["agent", "customer"]
    found = look(tmp_path, np.stack([np.zeros_like(AGENT), CUSTOMER]))
    assert {segment.role for segment in found.segments} == {"customer"}


def test_different_channels_without_roles_are_rejected(tmp_path):
    for channels in (np.stack([AGENT, CUSTOMER]), np.zeros((2, RATE)), np.zeros((2, 100))):
        assert look(tmp_path, channels, ()).reason == "channel_roles_unknown"


def test_channels_of_one_role_do_not_leak(tmp_path):
    roles = ("customer", "customer", "agent")
    found = look(tmp_path, np.stack([CUSTOMER, CUSTOMER, AGENT]), roles)
    assert found.crosstalk_s == 0
    assert {segment.channel for segment in found.segments} == {0, 1}


@settings(max_examples=4)
@given(st.integers(3_000, 30 * RATE))
def test_the_size_of_blocks_changes_nothing(size):
    channels = np.stack([AGENT, CUSTOMER + echo(AGENT, 20, 0.05)])
    whole, _ = compared(channels, channels.shape[1])
    pieces, _ = compared(channels, size)
    for c in (0, 1):
        np.testing.assert_array_equal(whole.crosstalk(c, [1 - c]), pieces.crosstalk(c, [1 - c]))
    assert whole.crosstalk(1, [0]).any()
