"""Conditions: the effects of lines, codecs, noise and packet loss on a clip."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from ser_core import degradations, speech
from ser_core.conditions import TABLE, Condition, degrade
from ser_core.corpora import Utterance, vectors
from tests.speechlike import voice

RATE_HZ = 16_000


def rms(samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def spectrum_db(samples, rate) -> np.ndarray:
    frames = np.lib.stride_tricks.sliding_window_view(samples, 512)[::256] * np.hanning(512)
    power = np.mean(np.abs(np.fft.rfft(frames)) ** 2, axis=0)
    return 10 * np.log10(power + 1e-12)[: round(3_400 / (rate / 512))]


@pytest.mark.parametrize("name", TABLE)
def test_speech_stays_recognisable_and_results_are_reproducible(name):
    samples = voice(3.0, RATE_HZ, seed=3)
    changed, rate = degrade(samples, RATE_HZ, name, key="a")
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()
    assert rate == (RATE_HZ if name == "clean" else 8_000)
    assert (2.0 if TABLE[name].cut else 2.85) < len(changed) / rate < 3.4
    again, _ = degrade(samples, RATE_HZ, name, key="a")
    np.testing.assert_array_equal(changed, again)
    # The long-term spectrum in the telephone's band is still that of the voice.
    if name not in ("copy_noisy", "copy_line_any", "copy_cut_line", "copy_cut_noisy"):
        narrow, _ = degrade(samples, RATE_HZ, "8khz", key="")
        ours, theirs = spectrum_db(changed, rate), spectrum_db(narrow, 8_000)
        if rate == 8_000:
            assert np.corrcoef(ours[20:], theirs[20:])[0, 1] > 0.8


@pytest.mark.parametrize("name", ["hard", "packet_loss", "copy_cut_line", "copy_cut_noisy"])
def test_another_key_gives_another_result(name):
    samples = voice(2.0, RATE_HZ, seed=3)
    first, second = (degrade(samples, RATE_HZ, name, key=key)[0] for key in "ab")
    assert first.shape != second.shape or np.abs(first - second).max() > 0.01


def test_a_hard_line_has_a_band_a_level_and_noise():
    for key in range(5):
        changed, _ = degrade(voice(3.0, RATE_HZ, seed=key), RATE_HZ, "hard", key=str(key))
        assert -27 < 20 * np.log10(rms(changed)) < -13
        power = np.abs(np.fft.rfft(changed)) ** 2
        hz = np.fft.rfftfreq(len(changed), 1 / 8_000)
        inside = power[(hz > 400) & (hz < 3_000)].mean()
        assert power[hz < 100].mean() < 0.03 * inside


def test_noise_has_the_requested_level():
    random = np.random.default_rng(0)
    samples = voice(2.0, 8_000, seed=1)
    for snr_db in (0, 10, 20):
        noise = degradations.add_noise(samples, degradations.line_noise(16_000, random), snr_db)
        found = 20 * np.log10(rms(samples) / rms(noise - samples))
        assert found == pytest.approx(snr_db, abs=0.1)


def test_packets_are_lost_at_the_requested_rate_and_in_bursts():
    samples = np.ones(8_000 * 600, dtype=np.float32)
    kept = degradations.lose_packets(samples, np.random.default_rng(0), 0.05)
    lost = kept.reshape(-1, 160)[:, 0] == 0
    assert lost.mean() == pytest.approx(0.05, abs=0.008)
    bursts = np.count_nonzero(np.diff(lost.astype(int)) == 1)
    assert lost.sum() / bursts == pytest.approx(2, abs=0.3)


def test_recorded_noises_come_from_their_folder(tmp_path):
    hum = np.sin(2 * np.pi * 200 * np.arange(8_000) / 8_000)
    soundfile.write(tmp_path / "hum.wav", hum, 8_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(8_000), 8_000)
    noise = degradations.room_noise(20_000, np.random.default_rng(0), tmp_path)
    assert len(noise) == 20_000
    assert np.abs(np.fft.rfft(noise[:8_000])).argmax() == 200
    invented = degradations.room_noise(20_000, np.random.default_rng(0), None)
    power = np.abs(np.fft.rfft(invented)) ** 2
    assert power[10:100].mean() > 5 * power[1_000:5_000].mean()


@pytest.mark.parametrize("name", ["copy_cut", "copy_cut_line", "copy_cut_noisy"])
def test_a_copy_is_cut_to_the_speech_that_a_night_would_find(name):
    pause = np.zeros(2 * RATE_HZ, np.float32)
    spoken = voice(3.0, RATE_HZ, seed=3)
    samples = np.concatenate([pause, voice(1.5, RATE_HZ, seed=4), pause, spoken, pause])
    cut, rate = degrade(samples, RATE_HZ, name, key="a")
    assert 2.7 < len(cut) / rate < 4.0
    # The same line without the cut has the same speech at the same place.
    uncut = replace(TABLE[name], cut=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TABLE, name, uncut)
        whole, _ = degrade(samples, RATE_HZ, name, key="a")
    (longest,) = [found for found in speech.find(whole, rate) if found.seconds > 2.5]
    np.testing.assert_array_equal(
        cut, whole[round(longest.start_s * rate) : round(longest.end_s * rate)]
    )


def test_a_clip_without_speech_stays_whole():
    silent, rate = degrade(np.zeros(RATE_HZ, np.float32), RATE_HZ, "copy_cut", key="a")
    assert len(silent) == rate


def test_each_condition_has_a_function():
    for name, condition in TABLE.items():
        assert (condition.degradation is None) == (name == "clean")
        if condition.degradation:
            assert callable(getattr(degradations, condition.degradation)), name


def test_reading_the_names_does_not_import_numpy():
    code = (
        "import sys; from ser_core.conditions import CONDITIONS; "
        "from ser_core.emotions import GROUPINGS; assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_new_condition_is_one_line_and_one_function(monkeypatch, tmp_path):
    monkeypatch.setitem(TABLE, "muffled", Condition("below 1 kHz", "muffle"))

    def muffle(samples, random, noise):
        return degradations.band_pass(samples, 50.0, 1_000.0)

    monkeypatch.setattr(degradations, "muffle", muffle, raising=False)
    path = tmp_path / "a.wav"
    soundfile.write(path, voice(1.0, RATE_HZ, seed=1), RATE_HZ)
    utterances = [Utterance(path, "calm", "ann", "tiny")]
    clean, muffled = (
        vectors.extract(utterances, "test_simple", condition=name, jobs=1, cache=tmp_path / "cache")
        for name in ("clean", "muffled")
    )
    crossings_per_s = 1
    assert muffled[0, crossings_per_s] < clean[0, crossings_per_s]
