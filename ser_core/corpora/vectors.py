"""Feature vectors of a corpus: every utterance as one whole clip, read, extracted and kept.

Clips are read here with soundfile, not with the decoder of recordings: a corpus is clean, and
the recipe of the article is `librosa.load`, which averages channels.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ser_core import features
from ser_core.corpora import Utterance
from ser_core.errors import CorpusError

Progress = Callable[[str, int, int], None]

TELEPHONE_RATE_HZ = 8_000
_MOST_NAMED = 20


def extract(
    utterances: Sequence[Utterance],
    feature_set: str,
    *,
    condition: str = "clean",
    jobs: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """A vector for every utterance, over processes of one thread each.

    Parameters
    ----------
    utterances : sequence of n utterances
    feature_set : str
        Name of a registered set.
    condition : str
        One of `CONDITIONS`: what happens to the clip before.
    jobs : int >= 1, optional
        Processes; one a core unless given.
    cache : Path, optional
        Folder where vectors are kept, by the file's SHA-256, the set's fingerprint and the
        condition; `cache_folder()` unless given. One that cannot be written is done without.
    progress : callable, optional
        Called with a stage, how many are done, and of how many.

    Returns
    -------
    np.ndarray [shape=(n, dimensions)], float32

    Raises
    ------
    CorpusError
        Files that cannot be read, or of which no finite vector can be made: all of them.
    FeatureError
        No feature set of that name.
    """
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    if condition not in CONDITIONS:
        raise ValueError(f"condition={condition!r}: one of {', '.join(CONDITIONS)} expected")
    recipe = features.get(feature_set)
    # Here first: processes that fill an empty cache of numba together may crash (its issue 10128).
    recipe.warm()
    cache = (cache or cache_folder()) / f"{feature_set}-{recipe.fingerprint}-{condition}"
    stage = f"features ({condition})"
    rows: list[np.ndarray] = []
    faults: list[str] = []
    with joblib.parallel_config("loky", n_jobs=jobs or os.cpu_count(), inner_max_num_threads=1):
        work = joblib.Parallel(return_as="generator")(
            joblib.delayed(_vector)(utterance.path, feature_set, condition, cache)
            for utterance in utterances
        )
        try:
            for found in work:
                (faults if isinstance(found, str) else rows).append(found)
                if progress:
                    progress(stage, len(rows) + len(faults), len(utterances))
        except TerminatedWorkerError as error:
            raise CorpusError(
                f"a process that extracted features died after {len(rows)} of "
                f"{len(utterances)} files; start again with fewer jobs or more memory: "
                f"what is done is kept"
            ) from error
    if faults:
        more = len(faults) - _MOST_NAMED
        raise CorpusError(
            f"{len(faults)} of {len(utterances)} files give no features; mend or remove them:\n"
            + "\n".join(f"  {fault}" for fault in faults[:_MOST_NAMED])
            + (f"\n  and {more} more" if more > 0 else "")
        )
    return np.stack(rows)


def mulaw(samples: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
    """What a telephone leaves of a clip: 8 kHz (soxr HQ), G.711 mu-law, decoded again.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
        Full scale at 1.0; clipped there, as a telephone does.
    rate : int > 0
        In Hz.

    Returns
    -------
    tuple of float32 [m] and 8000
    """
    import soundfile
    import soxr

    narrow = soxr.resample(samples, rate, TELEPHONE_RATE_HZ, quality="HQ")
    line = io.BytesIO()
    soundfile.write(line, narrow, TELEPHONE_RATE_HZ, format="WAV", subtype="ULAW")
    line.seek(0)
    return soundfile.read(line, dtype="float32")


# What can happen to a clip before its features are computed.
CONDITIONS: dict[str, Callable[[np.ndarray, int], tuple[np.ndarray, int]]] = {
    "clean": lambda samples, rate: (samples, rate),
    "mulaw": mulaw,
}


def cache_folder() -> Path:
    """Where vectors are kept between trainings: below `$XDG_CACHE_HOME`, else `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "ser-pipeline" / "features"


def _vector(path: Path, feature_set: str, condition: str, cache: Path) -> np.ndarray | str:
    """The vector of one file, or what is wrong with it."""
    import soundfile

    recipe = features.get(feature_set)
    try:
        data = path.read_bytes()
        kept = cache / f"{hashlib.sha256(data).hexdigest()}.npy"
        with contextlib.suppress(OSError, ValueError, EOFError):
            vector = np.load(kept, allow_pickle=False)
            if vector.shape == (len(recipe.names),) and vector.dtype == np.float32:
                return vector
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        vector = recipe.extract(*CONDITIONS[condition](samples.mean(axis=1), rate))
    except Exception as error:  # whatever is wrong, the other files are looked at too
        return f"{path}: {(str(error).splitlines() or [type(error).__name__])[0]}"
    if not np.isfinite(vector).all():
        return f"{path}: features that are not finite; is it silent or very short?"
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, delete=False) as file:
            np.save(file, vector)
        os.replace(file.name, kept)
    return vector
