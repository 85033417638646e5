"""Label one call with the Python API and print a row for each stretch of speech.

python examples/label_call.py [CALL [CHANNEL]]

Channels count from 0. The default is the customer's channel of a sample call.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ser_core import audio, features, models, speech

CALLS = Path(__file__).parent.parent / "tests" / "data" / "calls"
SAMPLE_CALL = CALLS / "billing" / "20260301T091500_c0001.wav"


def main(path: Path = SAMPLE_CALL, channel: int = 1) -> None:
    # 1. Decode: bytes -> float32 [channels, n] in [-1, 1].
    recording = audio.decode(path.read_bytes(), uri=str(path))
    samples, rate_hz = recording.samples[channel], recording.rate
    print(f"{path.name}: {recording.facts.codec}, {rate_hz} Hz, {len(recording.samples)} channels")

    # 2. Find the stretches of speech, each 1 to 10 s long.
    segments = speech.find(samples, rate_hz)
    if not segments:
        print("no speech found")
        return

    # 3. Turn each stretch into a vector of the features that the model was trained on.
    bundle = models.load("calls")
    feature_set = features.get(bundle.feature_set)
    vectors = np.stack(
        [
            feature_set.extract(
                samples[round(segment.start_s * rate_hz) : round(segment.end_s * rate_hz)], rate_hz
            )
            for segment in segments
        ]
    )

    # 4. Predict. Each segment is predicted by itself.
    probabilities = bundle.predict(vectors)

    print("start_s  end_s  label      confidence")
    for segment, row in zip(segments, probabilities, strict=True):
        best = row.argmax()
        unsure = "  unsure" if row[best] < bundle.unsure_segment_below else ""
        print(
            f"{segment.start_s:7.2f} {segment.end_s:6.2f}  {bundle.labels[best]:<10} "
            f"{row[best]:10.2f}{unsure}"
        )


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE_CALL
    main(path, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
