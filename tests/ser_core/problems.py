"""Small problems for the linear classifier, and its objective in double precision."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from ser_core.models.recipes.calls.head import Head


@dataclass(frozen=True)
class Problem:
    """What `head.fit` is given, in its order."""

    x: np.ndarray
    targets: np.ndarray
    allowed: np.ndarray
    weight: np.ndarray

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return astuple(self)


def make_problem(rows: int = 60, lacking: float = 0.4) -> Problem:
    """Five features, three labels; a share of the rows is of a corpus that lacks the last."""
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 5))
    allowed = np.ones((rows, 3), bool)
    allowed[: int(lacking * rows), 2] = False
    targets = random.random((rows, 3)) ** 3 * allowed
    targets /= targets.sum(axis=1, keepdims=True)
    return Problem(x, targets, allowed, random.random(rows) + 0.1)


def objective(
    problem: Problem,
    head: Head,
    decay: float = 0.0,
    start: Head | None = None,
    trust: np.ndarray | float = 1.0,
) -> float:
    """Weighted mean cross-entropy over the labels that a row's corpus has, and the penalty."""
    logits = problem.x @ head.kernel.astype(np.float64) + head.bias
    total = 0.0
    for row, targets, allowed, weight in zip(
        logits, problem.targets, problem.allowed, problem.weight, strict=True
    ):
        log_p = row[allowed] - np.log(np.exp(row[allowed]).sum())
        total -= weight * targets[allowed] @ log_p
    return total / problem.weight.sum() + 0.5 * decay * distance(head, start, trust) ** 2


def distance(head: Head, start: Head | None, trust: np.ndarray | float = 1.0) -> float:
    """Euclidean distance of two kernels, whose features are trusted so much."""
    origin = 0.0 if start is None else start.kernel
    moved = head.kernel.astype(np.float64) - origin
    return float(np.linalg.norm(moved / np.broadcast_to(trust, moved.shape[:1])[:, None]))
