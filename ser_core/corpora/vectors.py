"""Feature vectors of a corpus: one per utterance, as one whole clip, computed once and cached."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ser_core import features
from ser_core.conditions import COPIES, TABLE, VERSION, degrade
from ser_core.corpora.clips import clip_id, read_clip
from ser_core.corpora.corpus import Progress, Utterance
from ser_core.errors import CorpusError

_MOST_NAMED = 20


def extract(
    utterances: Sequence[Utterance],
    feature_set: str,
    *,
    condition: str = "clean",
    noise: Path | None = None,
    jobs: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Compute a vector for each utterance, in several single-threaded processes.

    Parameters
    ----------
    utterances : sequence of n utterances
    feature_set : str
        Name of a registered set.
    condition : str
        One of `conditions.TABLE`: how the clip is degraded first.
    noise : Path, optional
        Folder of recorded noises, for the training copies that use them.
    jobs : int >= 1, optional
        Number of processes. Default: one per core.
    cache : Path, optional
        Folder of cached vectors. Default: `cache_folder()`. The key is the SHA-256 of the file, the
        fingerprint of the set and the condition. A folder that cannot be written is not used.
    progress : callable, optional
        Called with the name of the stage, the number of utterances done and their total.

    Returns
    -------
    np.ndarray [shape=(n, dimensions)], float32

    Raises
    ------
    CorpusError
        Files cannot be read or give no finite vector; the message lists them. Or a process died.
    FeatureError
        There is no feature set of that name.
    """
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    if condition not in TABLE:
        raise ValueError(f"condition={condition!r}: one of {', '.join(TABLE)} expected")
    recipe = features.get(feature_set)
    # In this process first: processes that fill numba's empty cache together may crash (numba
    # issue 10128).
    recipe.warm()
    kind = _condition_key(condition, noise)
    cache = (cache or cache_folder()) / f"{feature_set}-{recipe.fingerprint}-{kind}"
    with joblib.parallel_config("loky", n_jobs=jobs or os.cpu_count(), inner_max_num_threads=1):
        results = joblib.Parallel(return_as="generator")(
            joblib.delayed(_vector)(utterance, feature_set, condition, noise, cache)
            for utterance in utterances
        )
        done = 0
        rows: list[np.ndarray] = []
        faults: list[str] = []
        try:
            for done, result in enumerate(results, 1):
                if isinstance(result, str):
                    faults.append(result)
                else:
                    rows.append(result)
                if progress:
                    progress(f"features ({condition})", done, len(utterances))
        except TerminatedWorkerError as error:
            raise CorpusError(
                f"a process that extracted features died after {done} of {len(utterances)} "
                "files; start again with fewer jobs or more memory: finished vectors are kept"
            ) from error
    if faults:
        raise CorpusError(_list_faults(faults, len(utterances)))
    return np.stack(rows)


def cache_folder() -> Path:
    """Folder of the vectors kept between trainings, in `$XDG_CACHE_HOME` or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "ser-pipeline" / "features"


def _list_faults(faults: Sequence[str], count: int) -> str:
    more = len(faults) - _MOST_NAMED
    return (
        f"{len(faults)} of {count} files give no features; fix or remove them:\n"
        + "\n".join(f"  {fault}" for fault in faults[:_MOST_NAMED])
        + (f"\n  and {more} more" if more > 0 else "")
    )


def _condition_key(condition: str, noise: Path | None) -> str:
    """The part of a cache folder's name that stands for the condition and the noises."""
    if condition == "clean":
        return condition
    key = f"{condition}{VERSION}"
    return f"{key}-{_noise_key(noise)}" if noise and condition in COPIES else key


def _noise_key(noise: Path) -> str:
    """A short hash of the names and sizes of a folder of noises."""
    files = [(p.name, p.stat().st_size) for p in sorted(noise.rglob("*")) if p.is_file()]
    return hashlib.sha256(repr(files).encode()).hexdigest()[:8]


def _describe(utterance: Utterance) -> str:
    if not utterance.is_part:
        return str(utterance.path)
    return f"{utterance.path}, {utterance.start_s:g} to {utterance.end_s:g} s"


def _vector(
    utterance: Utterance, feature_set: str, condition: str, noise: Path | None, cache: Path
) -> np.ndarray | str:
    """The vector of one utterance, or why there is none."""
    recipe = features.get(feature_set)
    try:
        key = clip_id(utterance)
        file = cache / f"{key}.npy"
        with contextlib.suppress(OSError, ValueError, EOFError):
            vector = np.load(file, allow_pickle=False)
            if vector.shape == (len(recipe.names),) and vector.dtype == np.float32:
                return vector
        vector = recipe.extract(*degrade(*read_clip(utterance), condition, key=key, noise=noise))
    except Exception as error:  # the other files are read whatever the fault
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return f"{_describe(utterance)}: {reason}"
    if not np.isfinite(vector).all():
        return f"{_describe(utterance)}: features that are not finite; is it silent or very short?"
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, delete=False) as written:
            np.save(written, vector)
        os.replace(written.name, file)
    return vector
