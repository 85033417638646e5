"""Feature sets and a corpus from another package: a simple set, the same slowly, some with faults.

With `test_faulty`, decoding a file named `crash…` kills the process by SIGSEGV, `hang…` never
ends, `spin…` does the same and takes CPU seconds, `eat…` uses up the memory, `raise…` raises an
unexpected error, `import…` loads a module, and `escape…` tries all of `ser_test_escapes`.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import ser_test_escapes

from ser_core.corpora import Corpus, Utterance
from ser_core.features import FeatureSet

RATE_HZ = 8_000


def compute(samples):
    """Level in dB, zero crossings a second, seconds, and the strongest frequency in Hz."""
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    crossings = np.count_nonzero(np.diff(np.signbit(samples)))
    seconds = len(samples) / RATE_HZ
    peak_hz = float(spectrum.argmax() * RATE_HZ / len(samples))
    return np.array([10 * np.log10(power + 1e-12), crossings / seconds, seconds, peak_hz])


NAMES = ("level_db", "crossings_per_s", "seconds", "peak_hz")
SIMPLE = FeatureSet("test_simple", NAMES, RATE_HZ, {"version": 1}, compute)


def compute_slowly(samples):
    time.sleep(0.2)
    return compute(samples)


SLOW = FeatureSet("test_slow", NAMES, RATE_HZ, {"version": 1}, compute_slowly)


def compute_with_faults(samples):
    _plant_faults()
    return compute(samples)


def _plant_faults():
    import ser_core.audio

    if hasattr(ser_core.audio, "planted"):
        return
    ser_core.audio.planted, real = True, ser_core.audio.open

    def open_(file, uri="", **options):
        fault = Path(uri).name.partition("_")[0]
        if "SER_TEST_MODULES" in os.environ:
            heavy = ("tensorflow", "keras", "apache_beam", "librosa")
            loaded = [name for name in heavy if name in sys.modules]
            Path(os.environ["SER_TEST_MODULES"], str(os.getpid())).write_text(" ".join(loaded))
        if fault == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if fault == "hang":
            while True:
                time.sleep(1)
        if fault == "spin":
            while True:
                pass
        if fault == "eat":
            held = []
            while True:
                held.append(np.ones(1 << 24))
        if fault == "raise":
            raise ZeroDivisionError("planted")
        if fault == "escape":
            raise RuntimeError(ser_test_escapes.report())
        if fault == "import":
            import sndhdr  # noqa: F401
        return real(file, uri, **options)

    ser_core.audio.open = open_


def compute_from_damaged_cache(samples):
    if "NUMBA_CACHE_DIR" not in os.environ:
        os.kill(os.getpid(), signal.SIGSEGV)
    return compute(samples)


DAMAGED = FeatureSet("test_damaged", NAMES, RATE_HZ, {"version": 1}, compute_from_damaged_cache)
FAULTY = FeatureSet("test_faulty", NAMES, RATE_HZ, {"version": 1}, compute_with_faults)


def read_voices(folder):
    """A corpus of files named <speaker>_<emotion>.wav."""
    utterances = []
    for path in sorted(folder.glob("*.wav")):
        speaker, _, emotion = path.stem.partition("_")
        utterances.append(Utterance(path, emotion, f"voices-{speaker}", "Voices"))
    return Corpus("Voices", "CC0", tuple(utterances), {}, "made by tests", any_use=True)


def read_no_corpus(folder):
    return list(folder.iterdir())
