"""The networks that are averaged, and the part of a vector that each takes."""

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
# Former settings that are constant now. Cards and the names of kept networks still have them.
_ALWAYS = {"deltas": False, "history": True}


@dataclass(frozen=True)
class Member:
    """Settings of one network of the ensemble and of its training.

    Parameters
    ----------
    kind : str
        `dense` over the functionals or `cnn`, `rnn` over the picture.
    inputs : str
        `functionals`, `thirds` (both) or `picture`.
    steps, batch : int
    rate, decay : float
        Learning rate (with cosine decay) and weight decay of AdamW.
    smoothing, mixup : float
    others : bool
        Whether it is also trained on the other corpora.
    width : int
        Channels of a `cnn`, units of each direction of an `rnn`.
    weight : float
        Weight in the average.
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
        """Settings as cards and the names of kept networks have them."""
        return {**asdict(self), **_ALWAYS}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Member:
        """The member of a card's settings."""
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
# Kinds of networks by their usual names: dense over the functionals, convolutional or recurrent
# over the picture.
ARCHITECTURES = {"dnn": "dense", "cnn": "cnn", "rnn": "rnn"}


def select_inputs(scaled: np.ndarray, inputs: str) -> np.ndarray:
    """The inputs of a member: flat features [n, d], or pictures [n, 32, 45].

    Parameters
    ----------
    scaled : np.ndarray [shape=(n, dimensions)]
        z-scores.
    inputs : str
        `Member.inputs`.
    """
    if inputs in FLAT:
        return scaled[:, FLAT[inputs]]
    return scaled[:, telephone.PICTURE].reshape(-1, telephone.STEPS, ROWS)


def flat_width(member: Member) -> int:
    """Width of the flat features that a member takes; 0 for pictures."""
    flat = FLAT.get(member.inputs)
    return len(range(*flat.indices(len(features.get(FEATURE_SET).names)))) if flat else 0
