"""`telephone`: by mathematics, by comparison with Praat and librosa, and on hostile samples."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import librosa
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ser_core import features
from ser_core.features import mel, pitch, telephone
from tests.speechlike import call, voice

RATE_HZ = telephone.RATE_HZ
SET = features.get("telephone")


def described(samples) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vector = SET.extract(samples, RATE_HZ)
    assert np.isfinite(vector).all()
    return dict(zip(SET.names, vector.tolist(), strict=True))


def harmonics(f0_hz, seconds=1.0, level=0.1) -> np.ndarray:
    """Harmonics of equal strength up to 3,700 Hz, with phases that spread the power.

    `f0_hz` is a number, or a number for each sample.
    """
    f0_hz = np.broadcast_to(f0_hz, round(seconds * RATE_HZ))
    numbers = np.arange(1, int(3700 / f0_hz.max()) + 1)
    phases = np.pi * numbers**2 / len(numbers)
    cycles = np.cumsum(f0_hz) / RATE_HZ
    return level * np.sin(2 * np.pi * numbers[:, None] * cycles + phases[:, None]).mean(axis=0)


def semitones(hz: float) -> float:
    return 12 * np.log2(hz / telephone.SEMITONES_FROM_HZ)


# By mathematics


@pytest.mark.parametrize("f0_hz", [70, 101.3, 150, 233.7, 320, 451, 600, 700])
def test_f0_of_harmonics(f0_hz):
    found = described(harmonics(f0_hz))
    assert found["f0_semitones_p50"] == pytest.approx(semitones(f0_hz), abs=0.1)
    assert found["f0_semitones_range"] < 0.1
    assert found["voiced_share"] > 0.95
    assert found["hnr_db_p50"] > 15


@pytest.mark.parametrize("f0_hz", [100, 400, 700])
def test_f0_of_a_pure_tone(f0_hz):
    found = described(np.sin(2 * np.pi * f0_hz * np.arange(RATE_HZ) / RATE_HZ))
    assert found["f0_semitones_p50"] == pytest.approx(semitones(f0_hz), abs=0.1)


@pytest.mark.parametrize("snr_db", [0, 10, 20])
def test_hnr_of_harmonics_in_noise(snr_db):
    clean = harmonics(160, 4.0)
    noise = telephone.band_limited(np.random.default_rng(0).standard_normal(len(clean)))
    noise *= np.sqrt(np.mean(clean**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    assert described(clean + noise)["hnr_db_mean"] == pytest.approx(snr_db, abs=1.5)


def test_f0_that_rises_has_its_slope_and_its_thirds():
    t = np.arange(2 * RATE_HZ) / RATE_HZ
    f0_hz = 120 * 2 ** (t / 4)  # an octave in 4 s: 3 semitones a second
    found = described(harmonics(f0_hz, 2.0))
    assert found["f0_semitones_slope"] == pytest.approx(3, abs=0.1)
    assert found["third1_f0_semitones_mean"] == pytest.approx(-2, abs=0.15)
    assert found["third2_f0_semitones_mean"] == pytest.approx(0, abs=0.15)
    assert found["third3_f0_semitones_mean"] == pytest.approx(2, abs=0.15)
    steps = [found[f"picture_step{i:02d}_f0_semitones"] for i in range(1, 33)]
    np.testing.assert_allclose(steps, np.linspace(-3, 3, 33)[:-1] + 3 / 32, atol=0.4)
    coarse = [found[f"picture_step{i:02d}_f0_coarse"] for i in range(1, 33)]
    np.testing.assert_allclose(coarse[::4], np.reshape(steps, (8, 4)).mean(axis=1), atol=0.2)


def test_noise_has_no_voice():
    found = described(np.random.default_rng(0).standard_normal(2 * RATE_HZ))
    assert found["voiced_share"] < 0.02
    assert found["entropy_mean"] > 0.9
    for name in ("f0_semitones_mean", "hnr_db_sd", "f0_change", "voiced_longest_s"):
        assert described(np.random.default_rng(0).standard_normal(300))[name] == 0


@pytest.mark.parametrize("hz", [1.2, 2.5, 4.0, 8.0, 20.0])
def test_modulation_is_found_in_its_band(hz):
    t = np.arange(5 * RATE_HZ) / RATE_HZ
    found = described(harmonics(150, 5.0) * 10 ** (6 * np.sin(2 * np.pi * hz * t) / 20))
    band = np.searchsorted(telephone.MODULATION_EDGES_HZ, hz)
    for group in (1, 2, 3, 4):
        levels = [found[f"modulation{group}_band{i:02d}"] for i in range(1, 13)]
        assert np.argmax(levels) + 1 == band


def test_runs_and_pauses_are_counted():
    rng = np.random.default_rng(0)
    pieces = []
    for _ in range(5):
        pieces += [harmonics(200, 0.3), 1e-5 * rng.standard_normal(round(0.2 * RATE_HZ))]
    found = described(np.concatenate(pieces[:-1]))
    span_s = 5 * 0.3 + 4 * 0.2
    assert found["voiced_runs_per_s"] == pytest.approx(5 / span_s, rel=0.02)
    assert found["pauses_per_s"] == pytest.approx(4 / span_s, rel=0.02)
    assert found["voiced_mean_s"] == pytest.approx(0.3, abs=0.03)
    assert found["pause_mean_s"] == pytest.approx(0.2, abs=0.03)
    assert found["pause_longest_s"] == pytest.approx(0.2, abs=0.03)
    assert found["pause_sd_s"] < 0.011
    assert found["active_share"] == pytest.approx(1.5 / span_s, abs=0.05)
    assert found["loudness_peaks_per_s"] == pytest.approx(5 / span_s, rel=0.02)


def test_spectral_shape_of_a_tone_and_of_flat_spectra():
    bins = np.zeros((3, telephone.N_FFT // 2 + 1), dtype=np.float32)
    bins[:, 48] = 1  # 1,500 Hz
    rows = dict(zip(telephone.SPECTRAL[1:10], telephone.spectral_shape(bins), strict=True))
    assert rows["centroid_hz"] == pytest.approx([1500] * 3, abs=1)
    assert rows["rolloff_hz"] == pytest.approx([1500] * 3)
    assert rows["flux"] == pytest.approx([0] * 3)
    assert (rows["alpha_ratio_db"] < -30).all()
    assert (rows["hammarberg_db"] > 30).all()
    rows = dict(
        zip(telephone.SPECTRAL[1:10], telephone.spectral_shape(np.ones_like(bins)), strict=True)
    )
    for name, value in (("entropy", 1), ("slope_60_500", 0), ("slope_500_1500", 0)):
        assert rows[name] == pytest.approx([value] * 3, abs=1e-4)
    tilted = 10 ** (-np.arange(129) * telephone.BIN_HZ / 1000 * np.ones((2, 1)))  # 10 dB / kHz
    rows = telephone.spectral_shape(1e6 * tilted.astype(np.float32))
    assert rows[2:4] == pytest.approx(np.full((2, 2), -10), abs=1e-2)


def test_h1_h2_of_known_harmonics():
    t = np.arange(RATE_HZ) / RATE_HZ
    tones = [0.5, 0.25, 0.1, 0.05]
    sound = sum(a * np.sin(2 * np.pi * 220 * (i + 1) * t) for i, a in enumerate(tones))
    assert described(sound)["h1_h2_db_p50"] == pytest.approx(20 * np.log10(2), abs=0.7)


@pytest.mark.parametrize(("frames", "steps"), [(1, 32), (7, 32), (32, 32), (333, 32), (100, 8)])
def test_equal_steps_are_means(frames, steps):
    weights = telephone.equal_steps(frames, steps)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=0), steps / frames, rtol=1e-4)
    np.testing.assert_allclose(
        weights @ (np.arange(frames) + 0.5),
        (np.arange(steps) + 0.5) * frames / steps,
        atol=max(0.51, frames / steps * 0.01),
    )


def test_picture_is_where_the_names_say():
    samples = voice(2.0, RATE_HZ)
    vector = SET.extract(samples, RATE_HZ)
    picture = vector[telephone.PICTURE].reshape(32, 45)
    assert picture[4, 11] == vector[SET.names.index("picture_step05_mel12")]
    # Less the utterance's mean, over active frames; nearly all are.
    assert abs(picture[:, :40].mean()) < 3


# By comparison


def test_statistics_are_those_of_numpy_and_scipy():
    from scipy import stats

    values = np.random.default_rng(0).gamma(2, size=(5, 83)).astype(np.float32)
    at_s = np.arange(83) / 100
    mean, sd, p10, p50, p90, iqr, range_, skewness, slope = telephone.statistics(values, at_s).T
    np.testing.assert_allclose(mean, values.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(sd, values.std(axis=1), rtol=1e-5)
    np.testing.assert_allclose(
        [p10, p50, p90], np.percentile(values, [10, 50, 90], axis=1), rtol=1e-5
    )
    np.testing.assert_allclose(iqr, stats.iqr(values, axis=1), rtol=1e-5)
    np.testing.assert_allclose(range_, p90 - p10, rtol=1e-5)
    np.testing.assert_allclose(skewness, stats.skew(values, axis=1), rtol=1e-4)
    np.testing.assert_allclose(slope, [np.polyfit(at_s, row, 1)[0] for row in values], rtol=1e-4)


def test_mel_bank_mfcc_and_deltas_are_those_of_librosa():
    bank = librosa.filters.mel(
        sr=RATE_HZ, n_fft=256, n_mels=40, fmin=60, fmax=3800, htk=True, norm=None
    )
    np.testing.assert_allclose(mel.htk_filters(RATE_HZ, 256, 60, 3800, 40).T, bank, atol=1e-5)
    levels = np.random.default_rng(0).standard_normal((60, 40)).astype(np.float32)
    mfcc = levels @ telephone._dct()
    np.testing.assert_allclose(mfcc.T, librosa.feature.mfcc(S=levels.T, n_mfcc=21)[1:], atol=1e-5)
    reference = librosa.feature.delta(mfcc, width=5, axis=0, mode="nearest")
    np.testing.assert_allclose(telephone.deltas(mfcc), reference, atol=1e-5)


def clips(corpora, step: int, pattern="ravdess/Actor_*/03-01-*.flac") -> list[np.ndarray]:
    """Real clips at 8 kHz."""
    found = []
    for path in sorted(corpora.glob(pattern))[::step]:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        found.append(librosa.resample(samples.mean(axis=1), orig_sr=rate, target_sr=RATE_HZ))
    return found


@pytest.mark.parametrize(
    ("pattern", "step"),
    [("ravdess/Actor_*/03-01-*.flac", 48), ("emodb/*.flac", 30), ("emovo/**/*.flac", 30)],
)
def test_f0_hnr_and_energy_are_those_of_praat(corpora, pattern, step):
    parselmouth = pytest.importorskip("parselmouth")
    wrong, hnr, praat_hnr, energy, intensity = [], [], [], [], []
    for samples in clips(corpora, step, pattern):
        signal, energy_db, active = telephone._active_span(telephone.band_limited(samples))
        f0_hz, rows = telephone._voice(signal, ~active)
        at_s = (np.arange(len(f0_hz)) * telephone.HOP + telephone.FRAME / 2) / RATE_HZ
        sound = parselmouth.Sound(signal.astype(np.float64), RATE_HZ)
        # Windows of three periods of 75 Hz: 40 ms, as ours.
        contour = sound.to_pitch_ac(time_step=0.01, pitch_floor=75, pitch_ceiling=727)
        praat_hz = np.nan_to_num([contour.get_value_at_time(s) for s in at_s])
        strength = np.interp(at_s, contour.xs(), contour.selected_array["strength"])
        both = (f0_hz > 0) & (praat_hz > 0)
        off = np.abs(f0_hz[both] / praat_hz[both] - 1)
        wrong.append(off > 0.2)
        # Praat's Harmonicity takes periods up to the sample rate; its Pitch has F0's period.
        same = np.flatnonzero(both)[(off < 0.2) & (strength[both] < 1) & (strength[both] > 0)]
        praat_hnr.append(10 * np.log10(strength[same] / (1 - strength[same])))
        hnr.append(rows[telephone.VOICE.index("hnr_db"), same])
        levels = sound.to_intensity(minimum_pitch=100, time_step=0.01)
        levels = np.array([levels.get_value(s) for s in at_s])
        inside = active & np.isfinite(levels)
        energy.append(energy_db[inside])
        intensity.append(levels[inside])
    assert np.concatenate(wrong).mean() < 0.05
    assert len(np.concatenate(wrong)) > 2000
    hnr, praat_hnr = np.concatenate(hnr), np.concatenate(praat_hnr)
    assert np.corrcoef(hnr, praat_hnr)[0, 1] > 0.95
    assert abs(np.mean(hnr - praat_hnr)) < 1
    assert np.median([np.corrcoef(*pair)[0, 1] for pair in zip(energy, intensity, strict=True)]) > (
        0.95
    )


def test_mel_bands_and_shape_are_those_of_librosa(corpora):
    for samples in clips(corpora, 240):
        signal, _, active = telephone._active_span(telephone.band_limited(samples))
        power = telephone._power(signal, telephone.FRAME, telephone.N_FFT)
        # Theirs pads the window to 256 samples, so that frames start 28 samples earlier.
        shifted = np.concatenate([np.zeros(28, dtype=np.float32), signal])
        spectrum = librosa.stft(
            shifted, n_fft=256, win_length=200, hop_length=80, center=False, window="hann"
        )
        theirs = np.square(np.abs(spectrum))
        n = min(len(power), theirs.shape[1])
        bands = librosa.feature.melspectrogram(
            S=theirs, sr=RATE_HZ, n_fft=256, n_mels=40, fmin=60, fmax=3800, htk=True, norm=None
        )
        bands /= bands.sum(axis=0).max()
        ours, active = telephone.log_mel(power)[:n], active[:n]
        loud = active[:, None] & (ours > ours.max() - 25)
        found = np.corrcoef(ours[loud], librosa.power_to_db(bands).T[:n][loud])[0, 1]
        assert found > 0.98
        rows = dict(zip(telephone.SPECTRAL[1:10], telephone.spectral_shape(power), strict=True))
        centroid = librosa.feature.spectral_centroid(S=theirs, sr=RATE_HZ)[0, :n]
        assert np.corrcoef(rows["centroid_hz"][:n][active], centroid[active])[0, 1] > 0.95


# By property

GAINS = st.floats(1e-6, 1.0, exclude_min=True)


@given(gain=GAINS, seed=st.integers(0, 5), seconds=st.floats(0.1, 2.5))
@settings(max_examples=25, deadline=None)
def test_level_changes_nothing(gain, seed, seconds):
    samples = call([(0, seconds, -20)], seconds + 0.2, RATE_HZ, seed=seed)
    expected = SET.extract(samples, RATE_HZ)
    np.testing.assert_array_equal(expected, SET.extract(samples * np.float32(2.0**-9), RATE_HZ))
    other = SET.extract(samples * np.float32(gain), RATE_HZ)
    # A step of float16, where rounding falls to the other side. A frame that stands on a threshold
    # may fall to its other side, and moves the few values that it is counted in.
    assert np.isclose(other, expected, rtol=2e-3, atol=5e-3).mean() > 0.995
    np.testing.assert_allclose(other, expected, rtol=0.1, atol=0.5)


def test_what_is_outside_the_band_changes_nothing():
    samples = voice(2.0, RATE_HZ).astype(np.float64)
    fade = np.hanning(len(samples))
    t = np.arange(len(samples)) / RATE_HZ
    expected = SET.extract(samples, RATE_HZ)
    for other in (np.full(len(samples), 0.2), 0.2 * fade * np.sin(2 * np.pi * 3900 * t),
                  0.2 * fade * np.sin(2 * np.pi * 20 * t)):  # fmt: skip
        np.testing.assert_allclose(
            SET.extract(samples + other, RATE_HZ), expected, rtol=0.01, atol=0.05
        )


HOSTILE = [
    np.zeros(1), np.ones(1), np.full(9_000, -0.3), np.full(500, 1e-30), np.eye(1, 9_999, 500)[0],
    1e-30 * np.random.default_rng(0).standard_normal(9_000),
    1e38 * np.sin(np.arange(9_000)),
    1e-42 * np.random.default_rng(0).standard_normal(900),
    np.sign(np.sin(np.arange(20_000) / 7)), np.tile([1.0, -1.0], 4_000),
    np.random.default_rng(0).standard_normal(100_000), np.arange(30_000) / 30_000,
]  # fmt: skip


@pytest.mark.parametrize("samples", HOSTILE)
def test_hostile_samples(samples):
    described(samples)


@pytest.mark.parametrize("samples", [np.zeros(1), np.ones(1), np.full(9_000, -0.3)])
def test_without_signal_all_is_zero(samples):
    assert not SET.extract(samples, RATE_HZ).any()


@given(
    samples=arrays(
        np.float32,
        st.integers(1, 3_000),
        elements=st.floats(-1, 1, width=32),
        fill=st.sampled_from([0.0, 1.0, -1.0]).map(np.float32),
    ),
    repeat=st.integers(1, 34),
)
@settings(max_examples=60, deadline=None)
def test_any_samples_give_finite_vectors(samples, repeat):
    described(np.tile(samples, repeat)[:100_000])


@given(length=st.integers(1, 100_000), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_any_length_gives_finite_vectors(length, seed):
    described(np.random.default_rng(seed).standard_normal(length) ** 3)


@pytest.mark.parametrize("rate", [4_000, 11_025, 44_100, 192_000])
def test_any_rate(rate):
    assert np.isfinite(SET.extract(voice(1.0, rate), rate)).all()


# Contracts


def test_values_are_those_of_float16_and_need_little_room():
    random = np.random.default_rng(0)
    vectors = [
        SET.extract(call([(0, s, -20)], s, RATE_HZ, seed=i), RATE_HZ)
        for i, s in enumerate(random.uniform(1.5, 8, size=60))
    ]
    matrix = np.stack(vectors)
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, matrix.astype(np.float16))
    column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])
    file = io.BytesIO()
    pq.write_table(
        pa.table({"vector": column}),
        file,
        compression="zstd",
        use_dictionary=False,
        use_byte_stream_split=["vector.list.element"],
    )
    assert len(file.getvalue()) / len(matrix) < 5_000


def test_order_changes_nothing():
    samples = [voice(s, RATE_HZ, seed=i) for i, s in enumerate((0.3, 2.0, 6.1))]
    forwards = [SET.extract(x, RATE_HZ) for x in samples]
    backwards = [SET.extract(x, RATE_HZ) for x in samples[::-1]][::-1]
    np.testing.assert_array_equal(forwards, backwards)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_process_and_threads_change_nothing(threads):
    code = """
import sys
from ser_core import features
from tests.speechlike import voice
vectors = [features.get("telephone").extract(voice(s, 8000), 8000) for s in (2.0, 6.1, 9.3)]
print(*(vector.tobytes().hex() for vector in vectors), "librosa" in sys.modules, sep=" ")
"""
    env = {**os.environ, "OPENBLAS_NUM_THREADS": threads}
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env=env,
    )
    here = [SET.extract(voice(s, RATE_HZ), RATE_HZ).tobytes().hex() for s in (2.0, 6.1, 9.3)]
    assert found.stdout.split() == [*here, "False"]


def test_a_cache_that_cannot_be_written_is_no_error():
    code = "from ser_core import features; features.get('telephone').warm()"
    env = {**os.environ, "NUMBA_CACHE_DIR": os.path.join(os.devnull, "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], env=env)


def test_fingerprint_is_the_one_that_bundles_carry():
    """Once a bundle is shipped, its feature set never changes under its name."""
    assert SET.fingerprint == "82c51f5aabc8eab9"


def test_names():
    assert len(SET.names) == len(set(SET.names)) == 2223
    found = [(part.start, part.stop) for part in (telephone.FUNCTIONALS, telephone.PICTURE)]
    assert found == [(0, 651), (783, 2223)]
    assert {
        "mel07_p90", "mfcc20_skewness", "delta_mfcc03_sd", "f0_semitones_iqr", "pause_mean_s",
        "modulation2_band05", "third2_mfcc03_mean", "picture_step05_mel12",
    } < set(SET.names)  # fmt: skip


def test_the_document_lists_every_dimension():
    document = (Path(__file__).parents[2] / "docs" / "telephone.md").read_text()
    rows = re.findall(r"^\| (\d+)–(\d+) \| `(\w+)` … `(\w+)` \|", document, flags=re.M)
    following = 0
    for first, last, first_name, last_name in rows:
        assert int(first) == following
        assert SET.names[int(first)] == first_name
        assert SET.names[int(last)] == last_name
        following = int(last) + 1
    assert following == len(SET.names)


def test_autocorrelation_of_a_periodic_frame_is_one_at_its_period():
    how = {"length": 320, "rate_hz": RATE_HZ, "min_f0_hz": 60}
    power = telephone._power(harmonics(200, 0.5).astype(np.float32), 320, 512)
    found = pitch.autocorrelation(power, **how)
    assert found[2:-2, 0] == pytest.approx(1)
    assert found[2:-2, 80] == pytest.approx(1, abs=0.02)
    assert not pitch.autocorrelation(np.zeros((3, 257), "f4"), **how).any()
