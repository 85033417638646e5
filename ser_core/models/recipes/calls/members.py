"""The networks that are averaged, and which part of a vector each looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ser_core import features
from ser_core.features import telephone
from ser_core.models.recipes.calls.data import FEATURE_SET
from ser_core.models.recipes.calls.material import ROWS

FLAT = {"functionals": telephone.FUNCTIONALS, "thirds": slice(0, telephone.PICTURE.start)}
# Settings that were tried and have one value now: cards and kept networks still name them.
_ALWAYS = {"deltas": False, "history": True}


@dataclass(frozen=True)
class Member:
    """One network of the ensemble, and how it is trained.

    Parameters
    ----------
    kind : str
        `dense` over the functionals or `cnn`, `rnn` over the picture.
    inputs : str
        `functionals`, `thirds` (both) or `picture`.
    steps, batch : int
    rate, decay : float
        Of AdamW, along a cosine.
    smoothing, mixup : float
    others : bool
        Also trained on the corpora that are not tested on.
    width : int
        Channels of a `cnn`, units of each direction of an `rnn`.
    weight : float
        In the average.
    """

    kind: str = "dense"
    inputs: str = "functionals"
    steps: int = 4_200
    batch: int = 64
    rate: float = 1e-3
    decay: float = 1e-2
    smoothing: float = 0.1
    mixup: float = 0.3
    others: bool = True
    width: int = 96
    weight: float = 1.0
    seed: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        """For a card and for the names of kept networks."""
        return {**asdict(self), **_ALWAYS}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Member:
        """The member that a card tells of."""
        return cls(**{name: value for name, value in settings.items() if name not in _ALWAYS})


_DENSE = Member()
_CNN = Member(
    kind="cnn", inputs="picture", rate=3e-3, decay=1e-3, mixup=0.0, steps=4_200, batch=128,
    others=False, weight=1.5, seed=2,
)  # fmt: skip
ENSEMBLE = (
    _DENSE,
    replace(_DENSE, seed=10),
    replace(_DENSE, inputs="thirds", seed=1),
    replace(_DENSE, inputs="thirds", seed=11),
    _CNN,
    replace(_CNN, kind="rnn", rate=2e-3, width=64, seed=5),
)
# The kinds of networks by the names that people know them by: dense ones over the functionals,
# convolutional and recurrent ones over the picture.
ARCHITECTURES = {"dnn": "dense", "cnn": "cnn", "rnn": "rnn"}


def select_inputs(scaled: np.ndarray, inputs: str) -> np.ndarray:
    """What a member looks at: flat features [n, d], or pictures [n, 32, 45]."""
    if inputs in FLAT:
        return scaled[:, FLAT[inputs]]
    return scaled[:, telephone.PICTURE].reshape(-1, telephone.STEPS, ROWS)


def flat_width(member: Member) -> int:
    """Of the flat features that a member sees."""
    flat = FLAT.get(member.inputs)
    return len(range(*flat.indices(len(features.get(FEATURE_SET).names)))) if flat else 0
