"""`encoder`: what a pretrained speech encoder hears in a segment, for research.

The encoder of Whisper base, which was trained on 680,000 hours of speech in 99 languages; of it the
two convolutions and the first four of six layers. The vector is the mean and the standard deviation
over the segment's own frames of the outputs of layers 2, 3 and 4, 512 channels each.

Input is the telephone band: the segment at 8 kHz. Below 4 kHz, Whisper's own input at 16 kHz
(frames of 400 samples every 160) has the same spectrum as frames of 200 every 80 at 8 kHz, with
4 times the power. Audio is padded with zeros to an even number of frames; of a longer segment the
first 30 s count.

The weights are `encoder.onnx`, run by ONNX Runtime in one thread. `build` beside it makes the file.

Sources
-------
A. Radford et al. (2022), "Robust speech recognition via large-scale weak supervision", arXiv
2212.04356. `SOURCE.md` has the origin of the weights.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

from ser_core.errors import FeatureError
from ser_core.features import FeatureSet
from ser_core.features.windows import hann

if TYPE_CHECKING:
    import onnxruntime

FILE = Path(__file__).with_name("encoder.onnx")
SHA256 = "952978ef182a2cdddb428244b936ee6e131c457010635a2e5bd592473ea8261c"

RATE_HZ = 8_000
WINDOW, HOP, BANDS = 200, 80, 80
# A frame of 16 kHz holds twice as many samples: 4 times the power.
POWER_OF_16_KHZ = np.float32(4.0)
LONGEST_S = 30
WIDTH, LAYERS, OUTPUT_LAYERS = 512, 4, (2, 3, 4)
# The slowest of the sinusoids that mark positions takes 10,000 times as long as the fastest.
SLOWEST = 10_000
NAMES = tuple(
    f"layer{layer}_{statistic}_{channel:03d}"
    for layer in OUTPUT_LAYERS
    for statistic in ("mean", "sd")
    for channel in range(WIDTH)
)


def statistics(samples: np.ndarray) -> np.ndarray:
    """Run the encoder: float32 [n >= 1] at 8 kHz -> float32 [3072].

    Raises
    ------
    FeatureError
        The file of weights is missing or damaged, or ONNX Runtime is not installed.
    """
    power = power_spectra(samples)
    inputs = {
        "power": power[np.newaxis],
        "positions": positions()[np.newaxis, : len(power) // 2],
    }
    (output,) = session().run(["statistics"], inputs)
    return output.reshape(-1)


def power_spectra(samples: np.ndarray) -> np.ndarray:
    """Power of frames as Whisper sees it at 16 kHz, below 4 kHz.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)], float32
        At 8 kHz.

    Returns
    -------
    np.ndarray [shape=(t, 101)], float32
        t is even: a frame each 10 ms.
    """
    samples = samples[: LONGEST_S * RATE_HZ]
    padded = np.pad(samples, (0, -len(samples) % (2 * HOP)))
    padded = np.pad(padded, WINDOW // 2, mode="reflect")
    frames = sliding_window_view(padded, WINDOW)[:-1:HOP]
    spectra = scipy.fft.rfft(frames * hann(WINDOW, np.float32), axis=1)
    return POWER_OF_16_KHZ * (spectra.real**2 + spectra.imag**2)


@cache
def positions() -> np.ndarray:
    """Sinusoids that mark the place of a frame (A. Vaswani et al. 2017): float32 [1500, 512]."""
    half = WIDTH // 2
    rates = np.exp(-np.log(SLOWEST) / (half - 1) * np.arange(half))
    angles = np.outer(np.arange(LONGEST_S * RATE_HZ // (2 * HOP)), rates)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


@cache
def session() -> onnxruntime.InferenceSession:
    """Load the encoder, once a process.

    Raises
    ------
    FeatureError
        The file is missing or damaged, or ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise FeatureError(
            f"the speech encoder needs ONNX Runtime, which does not load here ({error}); "
            "install it: pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Segments differ in length: memory planned for each length would only pile up.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    weights = read_shipped(FILE, SHA256, "the speech encoder")
    return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])


def read_shipped(file: Path, sha256: str, title: str) -> bytes:
    """Read a file of this package and compare its hash.

    Raises
    ------
    FeatureError
        The file is missing or another one; the message names it as `title`.
    """
    advice = "install ser-pipeline again"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise FeatureError(
            f"{file}: {title} cannot be read ({error.strerror}); {advice}"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise FeatureError(
            f"{file}: {title} is damaged: {len(content):,} bytes with SHA-256 {found} found, "
            f"{sha256} expected; {advice}"
        )
    return content


ATTRIBUTION = (
    "the encoder of Whisper base, Copyright (c) 2022 OpenAI, MIT License "
    "(https://github.com/openai/whisper; its text is ser_core/features/encoder/LICENSE)"
)

FEATURE_SET = FeatureSet(
    id="encoder",
    names=NAMES,
    rate=RATE_HZ,
    parameters={
        "version": 1,
        "weights": SHA256,
        "window": WINDOW,
        "hop": HOP,
        "bands": BANDS,
        "layers": list(OUTPUT_LAYERS),
        "longest_s": LONGEST_S,
    },
    compute=statistics,
    attribution=ATTRIBUTION,
)
