"""What a bundle costs: CPU time of features and labels, and its size."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.unheard.bench import Bench
from ser_core import conditions, features
from ser_core.corpora.clips import read_clip
from ser_core.models import Bundle
from ser_core.models.card import MODEL, find

CLIPS, SEGMENTS = 40, 6_400


def costs(bench: Bench, bundles: Sequence[Bundle]) -> list[dict[str, Any]]:
    """CPU milliseconds a second of speech and a segment, by bundle; other processes may slow it."""
    corpus = max(bench.corpora, key=lambda corpus: len(corpus.speakers))
    step = max(1, len(corpus.utterances) // CLIPS)
    clips = [
        conditions.degrade(*read_clip(utterance), "mulaw", key=str(number))
        for number, utterance in enumerate(corpus.utterances[::step])
    ]
    seconds = sum(len(samples) / rate for samples, rate in clips)
    rows = []
    for bundle in bundles:
        recipe = features.get(bundle.feature_set)
        recipe.warm()
        recipe.extract(*clips[0])
        began = time.process_time()
        vectors = np.stack([recipe.extract(*clip) for clip in clips])
        extracted = time.process_time()
        matrix = np.tile(vectors, (-(-SEGMENTS // len(vectors)), 1))[:SEGMENTS]
        bundle.predict(matrix[:64])
        predicting = time.process_time()
        bundle.predict(matrix)
        predicted = time.process_time()
        rows.append(
            {
                "bundle": bundle.card.name,
                "feature_set": bundle.feature_set,
                "numbers": len(recipe.names),
                "features_ms": 1_000 * (extracted - began) / seconds,
                "predict_ms": 1_000 * (predicted - predicting) / SEGMENTS,
                "megabytes": Path(find(bundle.card.name), MODEL).stat().st_size / 1e6,
            }
        )
    return rows
