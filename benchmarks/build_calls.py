"""Build an archive of two-channel telephone calls with known turns.

    python benchmarks/build_calls.py --n 200 --out DIR [--seed 0] [--minutes 3] [--bad]
        [--corpus ravdess …] [--music FOLDER …]

Each call consists of utterances of one corpus. An agent (channel 0, neutral or calm) and a customer
(channel 1, in moods that may change) take turns, with pauses and some overlap, at different levels,
over line noise and crosstalk. With --music the customer is put on hold in the middle, and both
channels play music. The corpora are in the folder SER_DATA, or in ../shared/data beside the
repository.

    DIR/calls/<queue>/<time>_<id>.<ext>    the calls
    DIR/truth.jsonl                        one line per channel: who speaks when, in which mood
    DIR/bad/                               with --bad, files that a run rejects

A call depends on the seed, its number and the corpora, not on the number of calls.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.calls.files import CODEC_SHARES, CODECS, write_call
from benchmarks.calls.material import (
    DEFAULT_CORPORA,
    default_data,
    find_music,
    find_utterances,
    load_music,
)
from benchmarks.calls.talk import ROLES, add_music, build_call
from benchmarks.calls.truth import Truth, write_truth
from ser_core.corpora import Utterance, corpus_names
from tests.bad_files import make_bad_files

QUEUES = ("billing", "support", "sales", "retention")
FIRST_DAY = datetime(2026, 3, 1)
HOURS = (8, 20)

HOLD_SHARE = (0.35, 0.6)  # of the length of a call: start and end of the music


def build(
    out: Path,
    n: int = 200,
    seed: int = 0,
    minutes: float = 3.0,
    data: Path | None = None,
    corpora: Sequence[str] = (),
    music: Sequence[Path] = (),
) -> list[Truth]:
    """Write `n` calls under `out/calls`, and `out/truth.jsonl`.

    Parameters
    ----------
    out : Path
        Created if it does not exist.
    n : int >= 0
    seed : int >= 0
    minutes : float > 0
        Mean length of a call. Calls last 0.6 to 1.4 times as long.
    data : Path, optional
        Folder of the corpora. Default: `default_data()`.
    corpora : sequence of str
        Names of the corpora to use. Default: those of `DEFAULT_CORPORA` that exist.
    music : sequence of Path
        Folders of music on hold. Default: no hold.

    Returns
    -------
    list of Truth
        Two per call: agent, customer. `file` is relative to `out`.

    Raises
    ------
    FileNotFoundError
        No corpus was found.
    ValueError
        `minutes` is too short for two turns.
    """
    if minutes < 0.1:
        raise ValueError(f"minutes={minutes} found, 0.1 or more expected: a call has two turns")
    utterances = find_utterances(Path(data) if data else default_data(), corpora)
    pieces = find_music(music)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    truths = []
    for number in range(n):
        rng = np.random.default_rng([seed, number])
        truths += _write_one(out, number, utterances, pieces, minutes, rng)
    write_truth(out / "truth.jsonl", truths)
    return truths


def _write_one(
    out: Path,
    number: int,
    utterances: Sequence[Utterance],
    pieces: Sequence[Path],
    minutes: float,
    rng: np.random.Generator,
) -> list[Truth]:
    """Write one call. Returns the truth of its two channels."""
    codec = CODECS[rng.choice(list(CODEC_SHARES), p=list(CODEC_SHARES.values()))]
    queue = QUEUES[rng.integers(len(QUEUES))]
    started = FIRST_DAY + timedelta(seconds=int(3600 * rng.uniform(*HOURS)))
    duration_s = 60.0 * minutes * float(rng.uniform(0.6, 1.4))
    hold = tuple(round(share * duration_s, 3) for share in HOLD_SHARE) if pieces else None
    channels, turns = build_call(utterances, codec.rate, duration_s, rng, hold)
    music = [(), ()]
    if hold:
        piece = load_music(pieces[rng.integers(len(pieces))], codec.rate)
        music = [
            add_music(channel, own, piece, hold, codec.rate, rng)
            for channel, own in zip(channels, turns, strict=True)
        ]
    name = f"calls/{queue}/{started:%Y%m%dT%H%M%S}_c{number + 1:04d}.{codec.extension}"
    write_call(out / name, channels, codec)
    return [
        Truth(name, channel, role, turns[channel], music[channel])
        for channel, role in enumerate(ROLES)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200, help="calls (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=3.0, help="mean length of a call")
    parser.add_argument(
        "--corpus", nargs="+", default=(), choices=corpus_names(),
        help=f"corpora to use (default: those of {', '.join(DEFAULT_CORPORA)} that are there)",
    )  # fmt: skip
    parser.add_argument("--music", nargs="+", type=Path, default=(), help="folders of .wav files")
    parser.add_argument("--bad", action="store_true", help="add bad/, files that a run rejects")
    args = parser.parse_args()
    try:
        truths = build(
            args.out, args.n, args.seed, args.minutes, corpora=args.corpus, music=args.music
        )
    except (FileNotFoundError, ValueError) as error:
        print(f"build_calls: {error}", file=sys.stderr)
        return 1
    spoken_s = sum(b - a for truth in truths for turn in truth.turns for a, b in turn.speech)
    print(f"{args.n} calls in {args.out / 'calls'}, {spoken_s / 60:.1f} min of speech")
    if args.bad:
        print(f"{len(make_bad_files(args.out / 'bad'))} bad files in {args.out / 'bad'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
