"""Crosstalk on built calls: what is dropped of an echo, what is lost of the customer, and the cost.

    python benchmarks/crosstalk.py [--n 24] [--minutes 1.5] [--seed 0]

Each call is built by `benchmarks/calls` without crosstalk. The agent's channel is added to the
customer's: softer, later, in a room that fades in 0.3 s (every second call), and then both go
through a codec. Delay and codec differ from call to call. Results are in seconds of true turns:

- labelled: of the seconds in which only the agent speaks, the share in segments of the customer;
- kept: of the seconds that the customer speaks, the share in segments; and without the detection.

The corpora are in the folder SER_DATA, or in ../shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.calls.files import through_gsm
from benchmarks.calls.material import default_data, find_utterances
from benchmarks.calls.sound import amplitude
from benchmarks.calls.talk import AGENT, CUSTOMER, build_call
from benchmarks.calls.truth import Turn
from benchmarks.speech import STEP_S, mask
from ser_core import speech
from ser_core.crosstalk import Comparison

RATE = 8_000
LOSSES_DB = (None, 15.0, 20.0, 30.0, 40.0)
DELAYS_S = (0.02, 0.05, 0.12, 0.3)
ROOM_S = 0.3
ROOM_SHARE = 0.5  # of the amplitude of the direct sound
CODECS = ("mulaw", "gsm", "opus")
BLOCK_S = 10.0
ROUNDS = 3  # the cheapest counts, since other programs disturb


@dataclass
class Sums:
    """Seconds of calls, in steps of `STEP_S`, and the cost."""

    agent_only: int = 0
    labelled: int = 0
    labelled_without: int = 0
    customer: int = 0
    kept: int = 0
    kept_without: int = 0
    cpu_s: float = 0.0
    channel_s: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=24, help="calls (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=1.5, help="length of a call")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    utterances = find_utterances(default_data())
    sums = {loss_db: Sums() for loss_db in LOSSES_DB}
    for number in range(options.n):
        rng = np.random.default_rng([options.seed, number])
        channels, turns = build_call(
            utterances, RATE, 60 * options.minutes, rng, crosstalk_share=0.0
        )
        response = room(rng) if number % 2 else np.ones(1)
        for loss_db in LOSSES_DB:
            heard = channels.copy()
            if loss_db is not None:
                delay_s = DELAYS_S[number % len(DELAYS_S)]
                heard[CUSTOMER] += echo(channels[AGENT], loss_db, delay_s, response)
            measure(through_codec(heard, CODECS[number % len(CODECS)]), turns, sums[loss_db])
    print_table(sums)


def room(rng: np.random.Generator) -> np.ndarray:
    """Impulse response of a room, of norm 1."""
    n = round(ROOM_S * RATE)
    response = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    response *= ROOM_SHARE / np.linalg.norm(response)
    response[0] += 1.0
    return response / np.linalg.norm(response)


def echo(samples: np.ndarray, loss_db: float, delay_s: float, response: np.ndarray) -> np.ndarray:
    """A channel's echo: float64 [n]."""
    late = round(delay_s * RATE)
    filtered = scipy.signal.fftconvolve(samples, response)[: len(samples) - late]
    return amplitude(-loss_db) * np.concatenate([np.zeros(late), filtered])


def through_codec(channels: np.ndarray, codec: str) -> np.ndarray:
    """Channels through a codec: float32 [2, n]."""
    channels = np.clip(channels, -1, 1 - 2.0**-15)
    if codec == "gsm":
        return np.stack([through_gsm(channel) for channel in channels]).astype(np.float32)
    how = {
        "mulaw": {"format": "WAV", "subtype": "ULAW"},
        "opus": {"format": "OGG", "subtype": "OPUS", "compression_level": 0.95},
    }[codec]
    file = io.BytesIO()
    soundfile.write(file, channels.T, RATE, **how)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0].T


def measure(channels: np.ndarray, turns: Sequence[Sequence[Turn]], sums: Sums) -> None:
    """Find the customer's speech with and without the detection, and add to the sums."""
    finders = [speech.Finder(RATE) for _ in channels]
    size = round(BLOCK_S * RATE)
    blocks = [
        [
            finder.feed(channel[start : start + size], last=start >= channels.shape[1])
            for finder, channel in zip(finders, channels, strict=True)
        ]
        for start in range(0, channels.shape[1] + size, size)
    ]
    costs_s = []
    for _ in range(ROUNDS):
        started = time.process_time()
        comparison = Comparison(len(channels))
        for block in blocks:
            comparison.feed(block)
        comparison.end()
        crosstalk = [comparison.crosstalk(c, [1 - c]) for c in (AGENT, CUSTOMER)][CUSTOMER]
        costs_s.append(time.process_time() - started)
    sums.cpu_s += min(costs_s)
    seconds = channels.shape[1] / RATE
    sums.channel_s += len(channels) * seconds

    count = int(seconds / STEP_S) + 1
    agent, customer = (
        mask([span for turn in side for span in turn.speech], count) for side in turns
    )
    found, without = (
        mask([(s.start_s, s.end_s) for s in finders[CUSTOMER].segments(dropped)], count)
        for dropped in (crosstalk, None)
    )
    sums.agent_only += int((agent & ~customer).sum())
    sums.labelled += int((agent & ~customer & found).sum())
    sums.labelled_without += int((agent & ~customer & without).sum())
    sums.customer += int(customer.sum())
    sums.kept += int((customer & found).sum())
    sums.kept_without += int((customer & without).sum())


def print_table(sums: dict[float | None, Sums]) -> None:
    table = Table(title="Crosstalk")
    for column in (
        "echo",
        "agent only, s",
        "labelled",
        "without detection",
        "customer, s",
        "kept",
        "without detection",
        "CPU ms a second of channel",
    ):
        table.add_column(column, justify="right")
    for loss_db, row in sums.items():
        table.add_row(
            "none" if loss_db is None else f"{loss_db:.0f} dB",
            f"{row.agent_only * STEP_S:,.0f}",
            f"{row.labelled / row.agent_only:.1%}",
            f"{row.labelled_without / row.agent_only:.1%}",
            f"{row.customer * STEP_S:,.0f}",
            f"{row.kept / row.customer:.1%}",
            f"{row.kept_without / row.customer:.1%}",
            f"{1000 * row.cpu_s / row.channel_s:.3f}",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
