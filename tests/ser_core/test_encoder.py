"""The speech encoder: against an independent implementation, and equal wherever it runs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import librosa
import numpy as np
import onnx
import onnxruntime
import pytest
import scipy.signal
from onnx import numpy_helper

from ser_core import features
from ser_core.errors import FeatureError
from ser_core.features import encoder
from ser_core.features.encoder import build
from tests.speechlike import voice

ENCODER = features.get("encoder")
RATE_HZ = 8_000
RATES_HZ = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000)
SIGNALS = {
    "silence": np.zeros(2 * RATE_HZ, np.float32),
    "one sample": np.ones(1, np.float32),
    "0.5 s": voice(0.5, seed=1),
    "an odd number of frames": voice(1.01, seed=2)[: 101 * 80],
    "3.3 s": voice(3.3, f0_hz=210.0, seed=3),
    "clipped": np.clip(40 * voice(2.0, seed=4), -1, 1),
    "soft": voice(2.0, level_db=-70.0, seed=5),
    "30 s": voice(30.0, seed=6),
}

# Of "3.3 s": the norm of each statistic's 512 channels, and the first channels.
NORMS = [12.49, 6.84, 13.25, 7.28, 15.30, 27.22]
FIRST = [
    [0.363, 0.504, 0.633, 0.760],
    [0.662, 0.707, 0.182, 0.210],
    [0.267, 0.681, 0.529, 0.629],
    [0.659, 0.324, 0.248, 0.274],
    [0.247, 0.580, 0.403, 0.686],
    [0.671, 0.472, 0.462, 0.436],
]


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Whisper's input as its paper has it, from samples at 16 kHz: [80, t]."""
    spectra = librosa.stft(samples, n_fft=400, hop_length=160, pad_mode="reflect")[:, :-1]
    bands = librosa.filters.mel(sr=16_000, n_fft=400, n_mels=80) @ np.abs(spectra) ** 2
    decades = np.log10(np.maximum(bands, 1e-10))
    return (np.maximum(decades, decades.max() - 8) + 4) / 4


def even(samples: np.ndarray) -> np.ndarray:
    """Zeros up to an even number of frames of 10 ms."""
    return np.pad(samples, (0, -len(samples) % 160))


@cache
def shipped_weights() -> dict[str, np.ndarray]:
    """The weights in the package, dequantised, under the names of the published ones."""
    constants = {
        constant.name: numpy_helper.to_array(constant)
        for constant in onnx.load(encoder.FILE).graph.initializer
    }
    weights = {}
    for name, array in constants.items():
        if f"{name}_scale" in constants:
            array = (array * constants[f"{name}_scale"]).astype(np.float32)
        if name in ("conv1", "conv2"):
            weights[f"{name}.weight"] = array.T.reshape(512, 3, -1).transpose(0, 2, 1)
        elif "linear" in name and name.endswith(("_0", "_1")):
            weights[f"{name}.weight"] = array.T
        else:
            weights[name.replace("_bias", ".bias")] = array
    return weights


@cache
def float_twin() -> onnxruntime.InferenceSession:
    """The shipped graph in float32, over the dequantised weights."""
    twin = build.build(shipped_weights(), integers=False)
    return onnxruntime.InferenceSession(twin, providers=["CPUExecutionProvider"])


def float_statistics(samples: np.ndarray) -> np.ndarray:
    power = encoder.power_spectra(samples)
    positions = encoder.positions()[: len(power) // 2]
    inputs = {"power": power[np.newaxis], "positions": positions[np.newaxis]}
    return float_twin().run(None, inputs)[0].reshape(-1)


def keras_statistics(mel: np.ndarray) -> np.ndarray:
    """The encoder in Keras, from a log-mel spectrogram [80, t]."""
    from keras import ops

    w = shipped_weights()

    def dense(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        return ops.layer_normalization(
            x, w[f"{name}.gamma"], w[f"{name}.beta"], epsilon=np.float32(1e-5)
        )

    def convolved(x, name, stride):
        x = np.pad(x, ((0, 0), (1, 1), (0, 0)))
        kernel = w[f"{name}.weight"].transpose(2, 1, 0)
        return ops.gelu(ops.conv(x, kernel, strides=stride) + w[f"{name}.bias"], approximate=False)

    x = convolved(ops.convert_to_numpy(convolved(mel.T[np.newaxis], "conv1", 1)), "conv2", 2)[0]
    # A. Vaswani et al. 2017, as Whisper has it: all sines first.
    rates = 10_000.0 ** -(np.arange(256) / 255)
    angles = np.arange(len(x))[:, np.newaxis] * rates
    x = x + np.hstack([np.sin(angles), np.cos(angles)]).astype(np.float32)
    outputs = []
    for i in range(4):
        name = f"layer_{i}.self_attention"
        heads = ops.split(dense(norm(x, f"{name}.layer_norm"), f"{name}.linear_0"), 24, axis=1)
        attended = [
            ops.softmax(query @ ops.transpose(key) / 8) @ value
            for query, key, value in zip(heads[:8], heads[8:16], heads[16:], strict=True)
        ]
        x = x + dense(ops.concatenate(attended, axis=1), f"{name}.linear_1")
        name = f"layer_{i}.ffn"
        hidden = ops.gelu(
            dense(norm(x, f"{name}.layer_norm"), f"{name}.linear_0"), approximate=False
        )
        x = x + dense(hidden, f"{name}.linear_1")
        if i >= 1:
            outputs += [ops.mean(x, axis=0), ops.std(x, axis=0)]
    return ops.convert_to_numpy(ops.concatenate(outputs))


@pytest.mark.parametrize("name", SIGNALS)
def test_float32_equals_keras(name: str) -> None:
    samples = SIGNALS[name]
    bands = librosa.filters.mel(sr=16_000, n_fft=400, n_mels=80)[:, :101]
    spectra = librosa.stft(even(samples), n_fft=200, hop_length=80, pad_mode="reflect")[:, :-1]
    decades = np.log10(np.maximum(bands @ (4 * np.abs(spectra) ** 2), 1e-10))
    mel = (np.maximum(decades, decades.max() - 8) + 4) / 4
    np.testing.assert_allclose(float_statistics(samples), keras_statistics(mel), atol=1e-3)


@pytest.mark.parametrize("name", SIGNALS)
def test_integers_keep_the_vector(name: str) -> None:
    whole, real = ENCODER.extract(SIGNALS[name], RATE_HZ), float_statistics(SIGNALS[name])
    assert np.corrcoef(whole, real)[0, 1] >= 0.999


def test_8_khz_holds_what_whisper_hears_at_16_khz_below_4_khz() -> None:
    # Content up to 3.4 kHz, between silence: the resampler cannot be told from an ideal one.
    samples = even(np.pad(voice(2.0, seed=7), 800))
    samples = scipy.signal.sosfiltfilt(
        scipy.signal.butter(12, 3_400, fs=RATE_HZ, output="sos"), samples
    ).astype(np.float32)
    at_16_khz = log_mel(features.resample(samples, RATE_HZ, 16_000))
    power = encoder.power_spectra(samples)
    bands = power @ librosa.filters.mel(sr=16_000, n_fft=400, n_mels=80)[:, :101].T
    decades = np.log10(np.maximum(bands, 1e-10)).T
    ours = (np.maximum(decades, decades.max() - 8) + 4) / 4
    assert ours.shape == at_16_khz.shape == (80, len(samples) // 80)
    loud = at_16_khz > at_16_khz.max() - 1.5  # 6 of 8 decades
    assert loud.sum() > 3_000
    np.testing.assert_allclose(ours[loud], at_16_khz[loud], atol=2e-3)


def test_fingerprint_is_pinned() -> None:
    assert ENCODER.fingerprint == "d132d68595de6227"
    assert hashlib.sha256(encoder.FILE.read_bytes()).hexdigest() == encoder.SHA256
    assert encoder.SHA256 in encoder.FILE.with_name("SOURCE.md").read_text()


def test_values_are_pinned() -> None:
    # Another type of CPU, or version of ONNX Runtime, rounds some activations to the neighbouring
    # integer.
    vector = ENCODER.extract(SIGNALS["3.3 s"], RATE_HZ)
    blocks = vector.reshape(6, 512)
    np.testing.assert_allclose(np.linalg.norm(blocks, axis=1), NORMS, rtol=0.05)
    np.testing.assert_allclose(blocks[:, :4], FIRST, atol=0.05)


def test_order_of_segments_has_no_effect() -> None:
    short = [samples for samples in SIGNALS.values() if len(samples) < 4 * RATE_HZ]
    forwards = [ENCODER.extract(samples, RATE_HZ) for samples in short]
    backwards = [ENCODER.extract(samples, RATE_HZ) for samples in reversed(short)]
    np.testing.assert_array_equal(forwards, backwards[::-1])


PROCESS = """
import hashlib, sys
import numpy as np
from ser_core import features
samples = np.random.default_rng(0).standard_normal(20_000).astype(np.float32) / 10
assert "onnxruntime" not in sys.modules
vector = features.get("encoder").extract(samples, 8_000)
heavy = {"apache_beam", "keras", "librosa", "onnx", "tensorflow"} & set(sys.modules)
print(hashlib.sha256(vector.tobytes()).hexdigest(), sorted(heavy))
"""


def test_processes_agree_and_import_little() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROCESS],
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "4")
    }
    samples = np.random.default_rng(0).standard_normal(20_000).astype(np.float32) / 10
    here = hashlib.sha256(ENCODER.extract(samples, RATE_HZ).tobytes()).hexdigest()
    assert outputs == {f"{here} []\n"}


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_any_rate_gives_nearly_the_vector_of_8_khz(rate_hz: int) -> None:
    narrow = scipy.signal.sosfilt(
        scipy.signal.butter(8, 3_000, fs=RATE_HZ, output="sos"), voice(2.0, seed=8)
    ).astype(np.float32)
    samples = features.resample(narrow, RATE_HZ, rate_hz)
    vectors = ENCODER.extract(narrow, RATE_HZ), ENCODER.extract(samples, rate_hz)
    assert np.corrcoef(*vectors)[0, 1] > 0.999


def test_only_the_first_30_seconds_count() -> None:
    samples = np.concatenate([SIGNALS["30 s"], SIGNALS["clipped"]])
    np.testing.assert_array_equal(
        ENCODER.extract(samples, RATE_HZ), ENCODER.extract(SIGNALS["30 s"], RATE_HZ)
    )


def test_positions_are_the_published_ones() -> None:
    positions = encoder.positions()
    assert positions.shape == (1_500, 512)
    np.testing.assert_array_equal(positions[0], np.repeat([0, 1], 256))
    np.testing.assert_allclose(positions[:, 0], np.sin(np.arange(1_500)), atol=1e-6)


def test_weights_may_be_zero() -> None:
    weights, scale = build.quantised(np.zeros((3, 2), np.float32))
    assert not weights.any()
    assert (scale > 0).all()


def test_the_builder_writes_the_shipped_graph() -> None:
    # The published weights are not here: the shipped ones are quantised again.
    built, shipped = onnx.load_from_string(build.build(shipped_weights())), onnx.load(encoder.FILE)
    assert built.graph.node == shipped.graph.node
    for ours, theirs in zip(built.graph.initializer, shipped.graph.initializer, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_allclose(
            numpy_helper.to_array(ours), numpy_helper.to_array(theirs), rtol=1e-6
        )


def test_smoothing_changes_no_output() -> None:
    random = np.random.default_rng(0)
    weights = {
        name: array + 0.01 * random.standard_normal(array.shape).astype(np.float32)
        for name, array in shipped_weights().items()
    }
    samples = SIGNALS["0.5 s"]
    outputs = []
    power = encoder.power_spectra(samples)
    positions = encoder.positions()[: len(power) // 2]
    for variant in (weights, build.smoothed(weights)):
        twin = build.build(variant, integers=False)
        session = onnxruntime.InferenceSession(twin, providers=["CPUExecutionProvider"])
        inputs = {"power": power[np.newaxis], "positions": positions[np.newaxis]}
        outputs.append(session.run(None, inputs)[0])
    assert not np.array_equal(
        weights["layer_0.ffn.layer_norm.gamma"],
        build.smoothed(weights)["layer_0.ffn.layer_norm.gamma"],
    )
    np.testing.assert_allclose(*outputs, atol=1e-3)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "encoder.onnx"
    with pytest.raises(
        FeatureError, match=r"encoder\.onnx: the speech encoder .*No such file.*install"
    ):
        encoder.read_shipped(missing, encoder.SHA256, "the speech encoder")
    missing.write_bytes(encoder.FILE.read_bytes()[:-1])
    with pytest.raises(FeatureError, match=r"is damaged: 14,104,342 bytes"):
        encoder.read_shipped(missing, encoder.SHA256, "the speech encoder")


def test_overflow_is_an_error() -> None:
    with pytest.raises(FeatureError, match="overflow"):
        ENCODER.extract(np.full(RATE_HZ, 1e30, np.float32), RATE_HZ)
