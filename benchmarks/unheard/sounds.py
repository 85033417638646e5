"""Out of domain: what a bundle says of noise, music and telephone prompts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.unheard.bench import Bench
from ser_core import audio, conditions, features
from ser_core.emotions import CALM
from ser_core.models import Bundle

ROOT = Path(__file__).parents[2]
PIECE_S = 5
_RATE_HZ = 8_000
_SILENT_RMS = 1e-3
_LEAST_BYTES = 5_000


def out_of_domain(
    bench: Bench, bundle: Bundle, data: Path, music: Path, prompts: Path
) -> list[dict[str, Any]]:
    """Confidence and commonest labels of a bundle, over mu-law, by kind of sound."""
    extract = features.get(bundle.feature_set).extract
    found = {
        corpus.name: bundle.predict(bench.vectors(corpus, bundle.feature_set, "mulaw"))
        for corpus in bench.corpora
        if corpus.name not in [own["name"] for own in bundle.card.corpora]
    }
    kinds = {
        "noise (ESC-10)": sorted((data / "noise").glob("*.*")),
        "music on hold": [
            *sorted(music.glob("*.wav")), *sorted((data / "telephone").glob("*.wav")),
        ],
        "prompts, English": prompt_files(prompts / "en_US_f_Allison"),
        "prompts, Italian": prompt_files(prompts / "it_IT_f_Menardi"),
    }  # fmt: skip
    for kind, files in kinds.items():
        vectors = [extract(*piece) for file in files for piece in _pieces(file)]
        if vectors:
            found[kind] = bundle.predict(np.stack(vectors))
    noise = 0.05 * np.random.default_rng(0).standard_normal((50, _RATE_HZ * PIECE_S))
    found["white noise"] = bundle.predict(
        np.stack([extract(samples.astype(np.float32), _RATE_HZ) for samples in noise])
    )
    return [_summary(kind, probabilities, bundle) for kind, probabilities in found.items()]


def _summary(kind: str, probabilities: np.ndarray, bundle: Bundle) -> dict[str, Any]:
    confidence = probabilities.max(axis=1)
    counts = np.bincount(probabilities.argmax(axis=1), minlength=len(bundle.labels))
    return {
        "sound": kind,
        "pieces": len(probabilities),
        "confidence": float(confidence.mean()),
        "sure": float((confidence >= bundle.unsure_segment_below).mean()),
        "labels": {
            bundle.labels[i]: float(counts[i] / len(probabilities)) for i in np.argsort(-counts)[:3]
        },
    }


def run_prompts(
    work: Path, bundle: Bundle, model: Path | str, prompts: Path
) -> dict[str, Any] | None:
    """`ser run` on calm professional speech; None without recordings.

    Parameters
    ----------
    work : Path
        Folder for the tables.
    bundle : Bundle
    model : path or str
        Where the bundle is, for `--model`.
    prompts : Path
        Folder of recorded prompts, by language and voice.
    """
    files = prompt_files(prompts / "en_US_f_Allison")
    if not files:
        return None
    listed, out = work / "prompts.txt", work / "tables" / f"prompts-{bundle.id}"
    listed.write_text("".join(f"{file}\n" for file in files))
    subprocess.run(
        [sys.executable, "-m", "pipelines", "run", "--input", f"@{listed}", "--output", out,
         "--model", model, "--date", "2026-03-01", "--max-reject-ratio", "1"],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    rows = pq.read_table(out / "segments", columns=["label", "unsure"]).to_pylist()
    even = np.array([row["label"] in CALM for row in rows])
    unsure = np.array([row["unsure"] for row in rows])
    return {
        "recordings": len(files),
        "segments": len(rows),
        "even": float(even.mean()),
        "unsure": float(unsure.mean()),
        "even_or_unsure": float((even | unsure).mean()),
    }


def prompt_files(folder: Path) -> list[Path]:
    """Recorded sentences of a package, one file for each."""
    files = [path for path in sorted(folder.glob("*.*")) if path.suffix in (".gsm", ".alaw")]
    return [path for path in files if path.stat().st_size > _LEAST_BYTES]


def _pieces(file: Path) -> Iterator[tuple[np.ndarray, int]]:
    """Pieces of `PIECE_S` over mu-law, without silent pieces and pieces shorter than 2 s."""
    decoded = audio.decode(file.read_bytes(), file.name)
    samples, rate = decoded.samples.mean(axis=0)[: 120 * decoded.rate], decoded.rate
    for start in range(0, len(samples) - 2 * rate, PIECE_S * rate):
        piece = samples[start : start + PIECE_S * rate]
        if np.sqrt(np.mean(np.square(piece))) > _SILENT_RMS:
            yield conditions.degrade(piece, rate, "mulaw", key=f"{file.name} {start}")
