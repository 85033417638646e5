"""Whether reversed roles are noticed: built calls of a few agents, the right and the wrong way.

    python benchmarks/reversed_roles.py [--n 100] [--minutes 1] [--agents 1 2 5 10 20]

The calls of an archive are spread evenly over its agents. Each customer calls once, as long as
there are speakers. Each call goes through one of three codecs. The evidence is that of
`ser_core.reversal`: roles look reversed if both figures are above `SURE`. The speakers are those of
CREMA-D and RAVDESS, in the folder SER_DATA, or in ../shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.calls.material import default_data, find_utterances
from benchmarks.calls.talk import build_call
from benchmarks.crosstalk import CODECS, RATE, through_codec
from ser_core import reversal, speech
from ser_core.corpora import Utterance

CORPORA = ("cremad", "ravdess")
FEWER = (10, 20, 40)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=100, help="calls (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=1.0, help="length of a call")
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 2, 5, 10, 20])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    by_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in find_utterances(default_data(), CORPORA):
        by_speaker[utterance.speaker].append(utterance)
    table = Table(title="Evidence that roles are reversed, and whether a run warns")
    for column in ("agents", "calls", "right way", "warns", "wrong way", "warns"):
        table.add_column(column, justify="right")
    for agents in options.agents:
        calls = archive(by_speaker, agents, options.n, options.minutes, options.seed)
        for n in sorted({n for n in FEWER if n < len(calls)} | {len(calls)}):
            right = calls[:n]
            wrong = [
                reversal.Spectra(c.recording_id, c.customer, c.agent, not c.customer_first)
                for c in right
            ]
            table.add_row(f"{agents}", f"{n}", *figures(right), *figures(wrong))
    Console().print(table)


def archive(
    by_speaker: dict[str, list[Utterance]], agents: int, n: int, minutes: float, seed: int
) -> list[reversal.Spectra]:
    """The spectra of `n` calls of so many agents."""
    speakers = np.random.default_rng(seed).permutation(sorted(by_speaker)).tolist()
    pool, customers = speakers[:agents], speakers[agents:]
    calls = []
    for number in range(n):
        rng = np.random.default_rng([seed, number])
        cast = pool[number % agents], customers[number % len(customers)]
        own = [utterance for speaker in cast for utterance in by_speaker[speaker]]
        channels, _ = build_call(own, RATE, 60 * minutes, rng, cast=cast)
        heard = through_codec(channels, CODECS[number % len(CODECS)])
        (agent, agent_s), (customer, customer_s) = map(side, heard)
        if agent and customer:
            calls.append(reversal.Spectra(f"{number:06}", agent, customer, customer_s < agent_s))
    return calls


def side(channel: np.ndarray) -> tuple[tuple[float, ...] | None, float]:
    """A channel's spectrum, and when it speaks first."""
    finder = speech.Finder(RATE)
    finder.feed(channel, last=True)
    segments = finder.segments()
    return finder.spectrum(segments), segments[0].start_s if segments else np.inf


def figures(calls: Sequence[reversal.Spectra]) -> tuple[str, str]:
    """The evidence of calls, and whether it is enough."""
    agents, customers = (
        np.array([getattr(call, name) for call in calls]) for name in ("agent", "customer")
    )
    evidence = reversal.evidence(agents, customers)
    return ", ".join(f"{value:.1f}" for value in evidence), (
        "yes" if reversal.warning(calls) else "no"
    )


if __name__ == "__main__":
    main()
