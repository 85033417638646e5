"""Builds an archive of two-channel telephone calls whose turns are known.

    python benchmarks/build_calls.py --n 200 --out DIR [--seed 0] [--minutes 3] [--bad]
        [--corpus ravdess …] [--music FOLDER …]

Each call is made of one corpus's utterances: an agent (channel 0, neutral or calm) and
a customer (channel 1, in a mood that may change on the way) take turns, with pauses, now
and then at once, at different levels, over line noise and crosstalk. With --music, the
customer is put on hold in the middle, and both channels play music. The corpora are
looked for where SER_DATA says, else in ../shared/data beside the repository.

    DIR/calls/<queue>/<time>_<id>.<ext>    the calls
    DIR/truth.jsonl                        one line a channel: who spoke when, and how
    DIR/bad/                               with --bad, a file for each reason of rejection

A call depends on the seed, its number and the corpora there, not on how many calls are built.
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
from benchmarks.calls.material import default_data, find_music, find_utterances, load_music
from benchmarks.calls.talk import ROLES, build_call, play
from benchmarks.calls.truth import Truth, write_truth
from ser_core.corpora import corpus_names
from tests.bad_files import make_bad_files

QUEUES = ("billing", "support", "sales", "retention")
FIRST_DAY = datetime(2026, 3, 1)
HOURS = (8, 20)

HOLD_SHARE = (0.35, 0.6)  # of a call's length: when the music begins and ends


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
        Made where it is missing.
    n : int >= 0
    seed : int >= 0
    minutes : float > 0
        Mean length of a call; calls last 0.6 to 1.4 of it.
    data : Path, optional
        Folder of the corpora; `default_data()` where it is None.
    corpora : sequence of str
        Names of those to take; all that are there unless given.
    music : sequence of Path
        Folders of music on hold; calls are not interrupted unless given.

    Returns
    -------
    list of Truth
        Two for each call: agent, customer. `file` is relative to `out`.

    Raises
    ------
    FileNotFoundError
        No corpus is there.
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
        codec = CODECS[rng.choice(list(CODEC_SHARES), p=list(CODEC_SHARES.values()))]
        queue = QUEUES[rng.integers(len(QUEUES))]
        begun = FIRST_DAY + timedelta(seconds=int(3600 * rng.uniform(*HOURS)))
        duration_s = 60.0 * minutes * float(rng.uniform(0.6, 1.4))
        hold = tuple(round(share * duration_s, 3) for share in HOLD_SHARE) if pieces else None
        channels, turns = build_call(utterances, codec.rate, duration_s, rng, hold)
        spans = [(), ()]
        if hold:
            piece = load_music(pieces[rng.integers(len(pieces))], codec.rate)
            sides = zip(channels, turns, strict=True)
            spans = [play(side, own, piece, hold, codec.rate, rng) for side, own in sides]
        name = f"calls/{queue}/{begun:%Y%m%dT%H%M%S}_c{number + 1:04d}.{codec.extension}"
        write_call(out / name, channels, codec)
        truths += [
            Truth(name, channel, ROLES[channel], turns[channel], spans[channel])
            for channel in (0, 1)
        ]
    write_truth(out / "truth.jsonl", truths)
    return truths


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200, help="calls (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=3.0, help="mean length of a call")
    parser.add_argument("--corpus", nargs="+", default=(), choices=corpus_names())
    parser.add_argument("--music", nargs="+", type=Path, default=(), help="folders of .wav files")
    parser.add_argument("--bad", action="store_true", help="add bad/, a file for each rejection")
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
