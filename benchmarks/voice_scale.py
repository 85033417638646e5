"""Compute `ser_core/features/scale.npz` again: mean and standard deviation of the encoder's output.

They are those of CREMA-D and EMO-DB over mu-law. In each corpus the six emotions that both have
count alike, and then so do the corpora. Prints the largest differences from the file that is
shipped; `--save` writes another one, which is then another feature set.

    python benchmarks/voice_scale.py --data DATA [--save scale.npz]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ser_core.corpora import open_corpus
from ser_core.features import voice
from ser_core.models.recipes.base import Work
from ser_core.models.recipes.calls.data import HEADLINE, average_normal, gather, weigh_labels

CORPORA = ("cremad", "emodb")
LABELS = ("neutral", "happy", "sad", "angry", "fearful", "disgust")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--save", type=Path, help="file to write")
    options = parser.parse_args()
    parts = [
        gather(open_corpus(name, options.data / name), LABELS, "encoder", [HEADLINE], Work())
        for name in CORPORA
    ]
    normal = average_normal(
        [(part.vectors[HEADLINE], weigh_labels(part.targets)) for part in parts]
    )
    shipped = voice.read_scale()
    print(f"mean: off by at most {np.max(np.abs(normal.mean - shipped.mean) / shipped.sd):.2g} sd")
    print(f"sd: off by at most {np.max(np.abs(normal.std / shipped.sd - 1)):.2%}")
    if options.save:
        np.savez(options.save, mean=normal.mean, sd=normal.std)


if __name__ == "__main__":
    main()
