"""Feature vectors of a corpus: every utterance as one whole clip, read, extracted and kept."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from ser_core import features
from ser_core.conditions import COPIES, TABLE, VERSION, degrade
from ser_core.corpora.clips import read_clip
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
    """A vector for every utterance, over processes of one thread each.

    Parameters
    ----------
    utterances : sequence of n utterances
    feature_set : str
        Name of a registered set.
    condition : str
        What happens to the clip before: one of `conditions.TABLE`.
    noise : Path, optional
        Folder of recorded noises for the copies that want some.
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

    if condition not in TABLE:
        raise ValueError(f"condition={condition!r}: one of {', '.join(TABLE)} expected")
    recipe = features.get(feature_set)
    # Here first: processes that fill an empty cache of numba together may crash (its issue 10128).
    recipe.warm()
    told = f"{condition}{VERSION}" if condition != "clean" else condition
    if noise and condition in COPIES:
        told += f"-{_told(noise)}"
    cache = (cache or cache_folder()) / f"{feature_set}-{recipe.fingerprint}-{told}"
    stage = f"features ({condition})"
    rows: list[np.ndarray] = []
    faults: list[str] = []
    with joblib.parallel_config("loky", n_jobs=jobs or os.cpu_count(), inner_max_num_threads=1):
        work = joblib.Parallel(return_as="generator")(
            joblib.delayed(_vector)(utterance, feature_set, condition, noise, cache)
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


def cache_folder() -> Path:
    """Where vectors are kept between trainings: below `$XDG_CACHE_HOME`, else `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "ser-pipeline" / "features"


def _key(one: Utterance) -> str:
    """By content: what a file holds, and which part of it is meant."""
    about = one.path.stat()
    content = _sha256(one.path, about.st_size, about.st_mtime_ns)
    if not one.is_part:
        return content
    part = f"{content} {one.channel} {one.start_s!r} {one.end_s!r}"
    return hashlib.sha256(part.encode()).hexdigest()


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named(one: Utterance) -> str:
    return f"{one.path}, {one.start_s:g} to {one.end_s:g} s" if one.is_part else str(one.path)


def _told(noise: Path) -> str:
    """Short for what a folder of noises holds."""
    files = [(p.name, p.stat().st_size) for p in sorted(noise.rglob("*")) if p.is_file()]
    return hashlib.sha256(repr(files).encode()).hexdigest()[:8]


def _vector(
    one: Utterance, feature_set: str, condition: str, noise: Path | None, cache: Path
) -> np.ndarray | str:
    """The vector of one utterance, or what is wrong with it."""
    recipe = features.get(feature_set)
    try:
        key = _key(one)
        kept = cache / f"{key}.npy"
        with contextlib.suppress(OSError, ValueError, EOFError):
            vector = np.load(kept, allow_pickle=False)
            if vector.shape == (len(recipe.names),) and vector.dtype == np.float32:
                return vector
        clip = degrade(*read_clip(one), condition, key=key, noise=noise)
        vector = recipe.extract(*clip)
    except Exception as error:  # whatever is wrong, the other files are looked at too
        return f"{_named(one)}: {(str(error).splitlines() or [type(error).__name__])[0]}"
    if not np.isfinite(vector).all():
        return f"{_named(one)}: features that are not finite; is it silent or very short?"
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, delete=False) as file:
            np.save(file, vector)
        os.replace(file.name, kept)
    return vector
