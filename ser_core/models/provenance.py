"""What a bundle remembers of its training data: whom it has heard, and how their values spread.

A test on clips or speakers that a model was trained on is worth nothing. So a bundle keeps hashes
of its training clips, recordings and speakers, by which anyone who has a clip can ask whether the
model was trained on it. It also keeps quantiles of the training features and of the outputs, to
compare an archive with.

A hash is the first 8 bytes of the SHA-256 of a salt and an id. Each training from scratch has a
salt of its own, so that the hashes of two bundles cannot be matched, nor looked up in a table made
in advance. They are no secret: whoever can guess an id, such as `ravdess-01`, can test it. Two
different ids have equal hashes with a probability of about n / 2**64, for n hashes kept.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from ser_core.corpora.clips import clip_id, recording_id
from ser_core.corpora.corpus import Utterance
from ser_core.errors import BundleError

SALT_BYTES = 16
# Of quantiles, from 0 to 1.
LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Provenance:
    """Hashes and quantiles of the training data; each field is an array of `reference.npz`.

    Parameters
    ----------
    hash_salt : np.ndarray [shape=(16,)], uint8
    clip_hashes, recording_hashes, speaker_hashes : np.ndarray [shape=(n,)], uint64
        Without duplicates, in ascending order.
    quantile_levels : np.ndarray [shape=(q,)], float32
    feature_quantiles : np.ndarray [shape=(q, dimensions of the feature set)], float32
        In float16 a feature with a large mean would lose its spread.
    output_quantiles : np.ndarray [shape=(q, labels)], float16
        Of the calibrated probabilities of utterances whose speakers were held out.
    """

    hash_salt: np.ndarray
    clip_hashes: np.ndarray
    recording_hashes: np.ndarray
    speaker_hashes: np.ndarray
    quantile_levels: np.ndarray
    feature_quantiles: np.ndarray
    output_quantiles: np.ndarray

    @classmethod
    def read(cls, reference: Mapping[str, np.ndarray]) -> Provenance | None:
        """From the arrays of a bundle's `reference.npz`; None for bundles of version 0.1.

        Raises
        ------
        BundleError
            Some of the arrays are missing.
        """
        names = [field.name for field in fields(cls)]
        found = [name for name in names if name in reference]
        if not found:
            return None
        if missing := [name for name in names if name not in found]:
            raise BundleError(
                f"reference.npz: no {', no '.join(missing)} beside {found[0]}; "
                "copy the bundle again"
            )
        return cls(**{name: reference[name] for name in names})

    def arrays(self) -> dict[str, np.ndarray]:
        """For `bundle.save(..., reference=…)`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def trained_on_clips(self, utterances: Sequence[Utterance]) -> np.ndarray:
        """Whether each utterance was a training clip, bool [n].

        Raises
        ------
        OSError
            A file cannot be read.
        """
        return self._contains(self.clip_hashes, map(clip_id, utterances))

    def trained_on_recordings(self, recording_ids: Sequence[str]) -> np.ndarray:
        """Whether each recording had training clips, bool [n]. The ids are those of the tables."""
        return self._contains(self.recording_hashes, recording_ids)

    def trained_on_speakers(self, speakers: Sequence[str]) -> np.ndarray:
        """Whether each speaker, such as `ravdess-07`, was trained on, bool [n]."""
        return self._contains(self.speaker_hashes, speakers)

    def _contains(self, kept: np.ndarray, ids: Iterable[str]) -> np.ndarray:
        return np.isin(_hashes(self.hash_salt, ids), kept)


def describe_training(
    utterances: Sequence[Utterance],
    features: np.ndarray,
    outputs: np.ndarray,
    *,
    base: Provenance | None = None,
) -> Provenance:
    """Hashes and quantiles of a model's training data.

    Parameters
    ----------
    utterances : sequence of n utterances
        Those that the model was trained on.
    features : np.ndarray [shape=(m, d)]
        Their feature vectors; also of degraded copies, if these were trained on.
    outputs : np.ndarray [shape=(k, labels)]
        Calibrated probabilities of utterances whose speakers were held out.
    base : Provenance, optional
        Of the bundle that the training started from: its hashes are kept, and its salt.

    Raises
    ------
    ValueError
        `features` or `outputs` are no matrices with rows of finite numbers.
    OSError
        A file of an utterance cannot be read.
    """
    salt = np.frombuffer(secrets.token_bytes(SALT_BYTES), dtype=np.uint8)
    none = np.array([], dtype=np.uint64)
    clips = recordings = speakers = none
    if base is not None:
        salt = base.hash_salt
        clips, recordings, speakers = base.clip_hashes, base.recording_hashes, base.speaker_hashes
    return Provenance(
        hash_salt=salt,
        clip_hashes=np.union1d(clips, _hashes(salt, map(clip_id, utterances))),
        recording_hashes=np.union1d(recordings, _hashes(salt, map(recording_id, utterances))),
        speaker_hashes=np.union1d(speakers, _hashes(salt, (u.speaker for u in utterances))),
        quantile_levels=np.array(LEVELS, dtype=np.float32),
        feature_quantiles=_quantiles("features", features).astype(np.float32),
        output_quantiles=_quantiles("outputs", outputs).astype(np.float16),
    )


def _quantiles(name: str, matrix: np.ndarray) -> np.ndarray:
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or not len(matrix) or not np.isfinite(matrix).all():
        raise ValueError(
            f"{name}: an array of shape {matrix.shape} found, "
            "a matrix with rows of finite numbers expected"
        )
    return np.quantile(matrix, LEVELS, axis=0)


def _hashes(salt: np.ndarray, ids: Iterable[str]) -> np.ndarray:
    digests = (hashlib.sha256(salt.tobytes() + text.encode()).digest()[:8] for text in ids)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
