"""`seed193` against `librosa193`, and its steps against librosa: synthetic, real and hostile audio.

Tolerance: a thousandth of a dimension's standard deviation over RAVDESS and EMO-DB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.ndimage
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ser_core import features
from ser_core.errors import FeatureError
from ser_core.features import bands, constant_q, harmonic, librosa193, medians, mel, stft, tuning
from tests.speechlike import voice

DATA = Path(__file__).parents[1] / "data"
RATE = 22_050
SD = np.loadtxt(DATA / "seed193_sd.csv")
TOLERANCE = 1e-3
TONNETZ = slice(187, 193)
# For 2 or 3 frames scipy's median filter reads outside its array: librosa's values are random.
RANDOM_LENGTHS = range(512, 3 * 512)


def assert_as_librosa(samples: np.ndarray, rate: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = features.get("seed193").extract(samples, rate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = librosa.resample(samples, orig_sr=rate, target_sr=RATE)
    away = np.abs(found - librosa193.compute(y)) / (SD + 1e-6 * np.abs(found) / TOLERANCE)
    if len(y) in RANDOM_LENGTHS:
        away[TONNETZ] = 0
    worst = int(np.argmax(away))
    name = features.get("seed193").names[worst]
    assert away[worst] <= TOLERANCE, f"{name} is {away[worst]:.2g} standard deviations away"


def synthetic(kind: str, n: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    t = np.arange(n)
    return {
        "noise": lambda: 0.1 * random.standard_normal(n),
        "faint": lambda: 1e-5 * random.standard_normal(n),
        "clipped": lambda: np.clip(2 * random.standard_normal(n), -1, 1),
        "chord": lambda: 0.2 * np.sin(np.outer(t, random.uniform(0.01, 1.5, 4))).sum(axis=1),
        "clicks": lambda: (random.random(n) < 1e-3) * random.standard_normal(n),
        "half silent": lambda: 0.1 * random.standard_normal(n) * (t < n // 2),
        "voice": lambda: voice(n / 8_000, 8_000, seed=seed)[:n] if n > 1_600 else np.zeros(n),
    }[kind]().astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(["noise", "faint", "clipped", "chord", "clicks", "half silent", "voice"]),
    seconds=st.floats(0.5, 6),
    rate=st.sampled_from([4_000, 8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 192_000]),
    seed=st.integers(0, 2**16),
)
def test_any_sound_gives_what_librosa_gives(kind, seconds, rate, seed):
    n = int(min(seconds * rate, 200_000))
    assert_as_librosa(synthetic(kind, n, seed), rate)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 100_000), kind=st.sampled_from(["noise", "clipped", "clicks", "chord"]))
@example(n=1, kind="noise")
@example(n=511, kind="noise")
@example(n=2_047, kind="noise")
def test_any_length_gives_what_librosa_gives(n, kind):
    samples = synthetic(kind, n, n)
    if 512 <= n <= 1_535:
        # For two or three frames scipy's median filter reads outside its array, so that librosa's
        # values are random, or refused. Ours must be finite.
        assert np.isfinite(features.get("seed193").extract(samples, RATE)).all()
        return
    assert_as_librosa(samples, RATE)


@pytest.mark.parametrize("n", [1, 2, 100, 2_047, 30_000])
@pytest.mark.parametrize(
    "kind", ["zeros", "constant", "tiny", "tiniest", "square", "impulse", "tone"]
)
def test_hostile_samples_give_what_librosa_gives(kind, n):
    samples = {
        "zeros": np.zeros(n),
        "constant": np.full(n, 0.5),
        "tiny": np.full(n, 1e-30),
        "tiniest": np.full(n, 1e-45),
        "square": np.sign(np.sin(np.arange(n) * 0.1) + 1e-9),
        "impulse": np.eye(1, n)[0],
        "tone": np.sin(np.arange(n) * 0.2),
    }[kind].astype(np.float32)
    assert_as_librosa(samples, RATE)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("peak", [1e18, 1e30, 3e38])
def test_samples_that_overflow_are_refused(peak):
    samples = np.float32(peak) * synthetic("clipped", 30_000, 0)
    with pytest.raises(FeatureError, match="full scale"):
        features.get("seed193").extract(samples, RATE)


@pytest.mark.parametrize("corpus", ["ravdess", "emodb", "telephone"])
def test_real_clips_give_what_librosa_gives(corpora, corpus):
    paths = sorted((corpora / corpus).rglob("*.flac" if corpus != "telephone" else "*.wav"))
    for path in paths[:: max(1, len(paths) // 12)]:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True, frames=480_000)
        samples = samples.mean(axis=1)[: 10 * rate]
        assert_as_librosa(samples, rate)
        assert_as_librosa(samples[: rate // 2], rate)
        assert_as_librosa(np.clip(20 * samples, -1, 1), rate)


def test_librosa_still_gives_the_values_that_models_were_trained_on():
    """A librosa with other values fails here, independently of `seed193`."""
    golden = np.loadtxt(DATA / "seed193_golden.csv")
    found = librosa193.compute(voice(1.5, RATE))
    np.testing.assert_array_less(np.abs(found - golden), TOLERANCE * SD)


def test_order_and_repetition_change_nothing():
    extract = features.get("seed193").extract
    clips = [voice(s, rate, seed=s) for s, rate in ((1, 8_000), (2, 22_050), (3, 48_000))]
    rates = [8_000, 22_050, 48_000]
    first = [extract(clip, rate) for clip, rate in zip(clips, rates, strict=True)]
    for i in (2, 0, 1, 1, 2, 0):
        before = clips[i].copy()
        np.testing.assert_array_equal(extract(clips[i], rates[i]), first[i])
        np.testing.assert_array_equal(clips[i], before)


@pytest.mark.parametrize("shape", [(1, 1025), (4, 5), (5, 64), (31, 65), (44, 1025), (157, 130)])
def test_running_medians_are_scipys(shape):
    S = np.abs(np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    S[S < 0.3] = 0
    for own, size in ((medians.along_time, (31, 1)), (medians.along_frequency, (1, 31))):
        expected = scipy.ndimage.median_filter(S, size=size, mode="reflect")
        np.testing.assert_array_equal(own(S), expected)


def test_comparators_find_the_middle_of_any_order():
    random = np.random.default_rng(0)
    for _ in range(200):
        values = random.integers(0, 12, 30)
        expected = np.sort(values)[14:16]
        for a, b in medians.comparators(30, {14, 15}):
            values[a], values[b] = min(values[a], values[b]), max(values[a], values[b])
        np.testing.assert_array_equal(values[14:16], expected)


@pytest.mark.parametrize("n", [1, 600, 5_000, 40_000])
@pytest.mark.filterwarnings("ignore:n_fft")
def test_steps_are_librosas_to_the_bit(n):
    y = synthetic("voice", n, 3) + synthetic("noise", n, 4)
    spectra = stft.spectrum(y)
    np.testing.assert_array_equal(spectra.T, librosa.stft(y))
    np.testing.assert_array_equal(stft.signal(spectra, n), librosa.istft(spectra.T, length=n))
    magnitude = np.abs(spectra)
    for bins in (12, 36):
        assert tuning.estimate(magnitude, RATE, bins) == librosa.estimate_tuning(
            S=magnitude.T, sr=RATE, bins_per_octave=bins
        )
    if n not in RANDOM_LENGTHS:
        found = stft.signal(harmonic.spectrum(spectra, magnitude), n)
        np.testing.assert_array_equal(found, librosa.effects.harmonic(y))


def test_filters_are_librosas():
    np.testing.assert_allclose(
        mel.slaney_filters(RATE, 2048, 128).T, librosa.filters.mel(sr=RATE, n_fft=2048), atol=1e-9
    )
    for shift in (-0.5, -0.07, 0.0, 0.49):
        np.testing.assert_allclose(
            bands.chroma_filters(RATE, shift).T,
            librosa.filters.chroma(sr=RATE, n_fft=2048, tuning=shift),
            atol=1e-7,
        )


@pytest.mark.filterwarnings("ignore:n_fft")
@pytest.mark.parametrize("shift", np.linspace(-0.5, 0.5, 101)[:-1:9])
def test_constant_q_is_librosas(shift):
    y = synthetic("voice", 50_000, 1)
    expected = librosa.feature.chroma_cqt(y=y, sr=RATE, tuning=shift, norm=None)
    found = constant_q.chromagram(y, RATE, shift)
    np.testing.assert_allclose(found.T, expected, atol=2e-6 * expected.max())


@pytest.mark.parametrize("rate", [4_000, 8_000, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("n", [1, 2, 3, 777, 10_000])
def test_resampling_is_librosas(rate, n):
    y = synthetic("noise", n, 0)
    expected = librosa.resample(y, orig_sr=rate, target_sr=RATE, res_type="soxr_hq")
    np.testing.assert_array_equal(features.resample(y, rate, RATE), expected)


def run_python(code: str, **env) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


WARM = "from ser_core import features; features.get('seed193').warm()"


def test_librosa_is_not_loaded():
    code = f"{WARM}; import sys; print({{'librosa', 'scipy.signal'}} & set(sys.modules))"
    assert run_python(code).strip() == "set()"


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").touch()
    assert run_python(WARM, NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache")) == ""


def test_no_folder_for_a_cache_at_all_is_no_error():
    code = f"from numba.core import caching\ncaching.CacheImpl._locator_classes = []\n{WARM}"
    assert run_python(code) == ""
