"""Shares of calls with their uncertainty: by resampling calls, and corrected for a model's errors.

Resampling n calls of which k count, with replacement, is a draw from a binomial distribution, so no
call is ever copied. One more call, which counts by half, takes part: so a group in which none
counts, or every one, does not look certain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from ser_core.emotions import NEGATIVE

RESAMPLES = 2_000
LEVEL = 0.95
# With fewer nights before, nothing is compared.
LEAST_NIGHTS = 5
# With fewer calls, a group is not compared.
LEAST_CALLS = 10
# A model whose share found is hardly above its share invented cannot be corrected for.
LEAST_DIFFERENCE = 0.1


@dataclass(frozen=True)
class ErrorRates:
    """How often a model is wrong about "negative or not", as tested.

    Parameters
    ----------
    found, negative : int
        Utterances that are called negative, of those that are.
    invented, others : int
        Utterances that are called negative, of those that are not.
    test : str
        On what it was tested, in words.
    """

    found: int
    negative: int
    invented: int
    others: int
    test: str

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> ErrorRates | None:
        """The rates of a result of a card.

        None where all labels are negative, or none is, or where the model tells them apart too
        badly for a correction.
        """
        confusion = np.asarray(result.get("confusion") or (), dtype=np.int64)
        labels = result.get("labels") or ()
        if confusion.shape != (len(labels), len(labels)) or not len(labels):
            return None
        negative = np.array([label in NEGATIVE for label in labels])
        of_negative, of_others = confusion[negative], confusion[~negative]
        if not of_negative.sum() or not of_others.sum():
            return None
        rates = cls(
            found=int(of_negative[:, negative].sum()),
            negative=int(of_negative.sum()),
            invented=int(of_others[:, negative].sum()),
            others=int(of_others.sum()),
            test=str(result["protocol"]),
        )
        difference = rates.found / rates.negative - rates.invented / rates.others
        return rates if difference >= LEAST_DIFFERENCE else None


def intervals(counts: Sequence[int], calls: Sequence[int], *, seed: int = 0) -> np.ndarray:
    """Intervals of shares, by resampling calls.

    Parameters
    ----------
    counts, calls : sequence of int [shape=(n,)]
        Calls that count, and all calls, of each group.

    Returns
    -------
    np.ndarray [shape=(n, 2)]
        Lower and upper end (95 %), in [0, 1].
    """
    return _ends(_resampled(counts, calls, np.random.default_rng(seed)))


def corrected(
    counts: Sequence[int], calls: Sequence[int], tests: Sequence[ErrorRates], *, seed: int = 0
) -> np.ndarray:
    """Between which ends the share of what is negative lies, given what is called so.

    Each test corrects the share (Rogan & Gladen 1978), with its own error rates and the uncertainty
    of them: utterances of the test are resampled like the calls. The ends are the outermost of all
    tests, since nobody knows which of them the calls resemble.

    Parameters
    ----------
    counts, calls : sequence of int [shape=(n,)]
        Calls that are called negative, and all calls, of each group.
    tests : sequence of ErrorRates
        One or more.

    Returns
    -------
    np.ndarray [shape=(n, 2)]
        Lower and upper end (95 %), in [0, 1].
    """
    rng = np.random.default_rng(seed)
    drawn = _resampled(counts, calls, rng)
    found = [
        _ends(
            _rogan_gladen(
                drawn,
                _resampled([rates.found], [rates.negative], rng),
                _resampled([rates.invented], [rates.others], rng),
            )
        )
        for rates in tests
    ]
    ends = np.stack(found)
    return np.column_stack([ends[..., 0].min(axis=0), ends[..., 1].max(axis=0)])


def _rogan_gladen(share: np.ndarray, found: np.ndarray, invented: np.ndarray) -> np.ndarray:
    return np.clip((share - invented) / np.maximum(found - invented, 1e-3), 0.0, 1.0)


def _resampled(counts: Sequence[int], calls: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Shares in resamples, [n, RESAMPLES]."""
    total = np.asarray(calls, dtype=np.int64)[:, None]
    p = (np.asarray(counts, dtype=float)[:, None] + 0.5) / (total + 1)
    return rng.binomial(total, p, size=(len(total), RESAMPLES)) / total


def _ends(drawn: np.ndarray) -> np.ndarray:
    outside = (1 - LEVEL) / 2
    return np.quantile(drawn, [outside, 1 - outside], axis=1).T


def reaches(nights: int, comparisons: int = 1) -> tuple[float, ...]:
    """How many standard deviations an ordinary night may be from the mean of those before.

    The ends of a prediction interval: quantiles of Student's t, for LEAST_NIGHTS nights up to
    `nights`. With several comparisons, 95 of 100 ordinary nights are ordinary in all of them
    (Bonferroni).

    Parameters
    ----------
    nights, comparisons : int > 0
    """
    level = 1 - (1 - LEVEL) / comparisons / 2
    return tuple(round(float(stdtrit(n - 1, level)), 3) for n in range(LEAST_NIGHTS, nights + 1))
