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
import io
import json
import os
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.signal import butter, sosfilt

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ser_core.corpora import Utterance, corpus_names, open_corpus  # noqa: E402
from ser_core.emotions import RAVDESS_EIGHT  # noqa: E402
from tests.bad_files import make_bad_files  # noqa: E402

QUEUES = ("billing", "support", "sales", "retention")
ROLES = ("agent", "customer")
FIRST_DAY = datetime(2026, 3, 1)
HOURS = (8, 20)

# How a customer feels from the beginning of a call to its end, in equal parts.
COURSES = (
    ("neutral",),
    ("happy",),
    ("angry",),
    ("sad",),
    ("neutral", "angry"),
    ("neutral", "fearful", "sad"),
    ("angry", "neutral"),
    ("sad", "neutral", "happy"),
    ("disgust", "angry"),
    ("surprised", "happy"),
)
AGENT_MOODS = ("neutral", "calm")

EDGE_SILENCE_S = (0.5, 2.0)
PAUSE_S = (0.3, 2.0)  # between turns
BREATH_S = (0.2, 0.6)  # within a turn
OVERLAP_S = (0.2, 1.0)
OVERLAP_SHARE = 0.1  # of the turns begin before the other side has ended
UTTERANCES = (1, 3)  # in a turn
HOLD_SHARE = (0.35, 0.6)  # of a call's length: when the music begins and ends
HOLD_AFTER_S = 15.0  # no turn begins so shortly before: it might not end in time
LEVEL_DBFS = (-30.0, -16.0)  # RMS of a side's speech
GAIN_CONTROL = 0.5  # a telephone leaves this share of the differences in level, in dB
NOISE_BELOW_DB = (35.0, 45.0)  # under the side's speech
CROSSTALK_DB = -35.0
CROSSTALK_SHARE = 0.3  # of the calls have it
TELEPHONE_BAND_HZ = (300.0, 3400.0)
WIDE_BAND_HZ = (50.0, 7000.0)

# What counts as speech within an utterance.
FRAME_S, HOP_S = 0.02, 0.01
SPEECH_BELOW_PEAK_DB = 30.0
MIN_PAUSE_S = 0.3
MIN_SPEECH_S = 0.05


@dataclass(frozen=True)
class Codec:
    """How a call is stored: libsndfile's names, and the rate in Hz."""

    extension: str
    format: str
    subtype: str
    rate: int = 8000
    settings: dict = field(default_factory=dict)
    gsm_leg: bool = False  # both sides went through GSM 6.10 before, as from a mobile


# libsndfile writes GSM 6.10 in mono only, so a two-channel call has it on its legs.
CODECS = {
    "mulaw": Codec("wav", "WAV", "ULAW"),
    "alaw": Codec("wav", "WAV", "ALAW"),
    "gsm": Codec("wav", "WAV", "PCM_16", gsm_leg=True),
    "opus": Codec("opus", "OGG", "OPUS", settings={"compression_level": 0.95}),
    "pcm16k": Codec("wav", "WAV", "PCM_16", rate=16_000),
}
CODEC_SHARES = {"mulaw": 0.6, "alaw": 0.1, "gsm": 0.1, "opus": 0.1, "pcm16k": 0.1}


@dataclass(frozen=True)
class Turn:
    """An utterance within a call, in seconds from the call's start.

    `start_s` and `end_s` are where its sound begins and ends; `speech` are the spans
    between its pauses of `MIN_PAUSE_S` or more.
    """

    start_s: float
    end_s: float
    emotion: str
    speaker: str
    corpus: str
    speech: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Truth:
    """What is said on one channel of one file; `file` is relative to the truth's folder.

    `music` are spans in seconds.
    """

    file: str
    channel: int
    role: str
    turns: tuple[Turn, ...]
    music: tuple[tuple[float, float], ...] = ()


def write_truth(path: Path, truths: Iterable[Truth]) -> None:
    """Write one JSON object a line, one line a channel."""
    with open(path, "w", encoding="utf-8") as file:
        for truth in truths:
            file.write(json.dumps(asdict(truth)) + "\n")


def read_truth(path: Path) -> list[Truth]:
    """Read what `write_truth` wrote."""
    truths = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        turns = tuple(
            Turn(**{**turn, "speech": tuple(map(tuple, turn["speech"]))}) for turn in row["turns"]
        )
        music = tuple(map(tuple, row["music"]))
        truths.append(Truth(row["file"], row["channel"], row["role"], turns, music))
    return truths


# ---------------------------------------------------------------- sound


def rms(samples: np.ndarray) -> float:
    """Root mean square; 0 for no samples."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def amplitude(db: float) -> float:
    """Decibels to a factor."""
    return float(10.0 ** (db / 20.0))


def speech_spans(samples: np.ndarray, rate: int) -> list[tuple[float, float]]:
    """Where a clean utterance sounds, by its energy.

    Frames of 20 ms count that are at most 30 dB below the loud ones (95th percentile);
    pauses under 0.3 s are filled.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
        One speaker, recorded without noise to speak of.
    rate : int > 0
        Hz.

    Returns
    -------
    list of (start_s, end_s)
    """
    frame, hop = round(FRAME_S * rate), round(HOP_S * rate)
    if len(samples) < frame:
        return []
    frames = np.lib.stride_tricks.sliding_window_view(samples, frame)[::hop]
    level = 10.0 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12)
    sounding = np.flatnonzero(level > max(np.percentile(level, 95) - SPEECH_BELOW_PEAK_DB, -80.0))
    spans: list[tuple[float, float]] = []
    for index in sounding:
        start, end = index * hop / rate, (index * hop + frame) / rate
        if spans and start - spans[-1][1] < MIN_PAUSE_S:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return [(start, end) for start, end in spans if end - start >= MIN_SPEECH_S]


def band_pass(samples: np.ndarray, rate: int) -> np.ndarray:
    """Keep what a line carries: 300 to 3400 Hz, or 50 to 7000 Hz from 16 kHz on."""
    band = WIDE_BAND_HZ if rate >= 16_000 else TELEPHONE_BAND_HZ
    return sosfilt(butter(4, band, "bandpass", fs=rate, output="sos"), samples)


def line_noise(n: int, rate: int, level_dbfs: float, rng: np.random.Generator) -> np.ndarray:
    """Hiss of a line: float64 [n] with the RMS `level_dbfs`."""
    noise = band_pass(rng.standard_normal(n), rate)
    return noise * (amplitude(level_dbfs) / max(rms(noise), 1e-12))


def gsm_leg(samples: np.ndarray) -> np.ndarray:
    """What GSM 6.10 leaves of 8 kHz samples [n]."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 8000, format="WAV", subtype="GSM610")
    buffer.seek(0)
    return soundfile.read(buffer)[0][: len(samples)]


def write_call(path: Path, channels: np.ndarray, codec: Codec) -> None:
    """Write a call: float [shape=(channels, n)] at `codec.rate`, full scale at 1.0."""
    channels = np.clip(channels, -1.0, 1.0 - 2.0**-15)
    if codec.gsm_leg:
        channels = np.stack([gsm_leg(channel) for channel in channels])
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(
        path,
        channels.T,
        codec.rate,
        format=codec.format,
        subtype=codec.subtype,
        **codec.settings,
    )
    if codec.format == "OGG":
        _fix_ogg_serial(path)


def _fix_ogg_serial(path: Path) -> None:
    """Give the stream the serial number 1: libsndfile draws one from the clock."""
    data = bytearray(path.read_bytes())
    page = 0
    while page < len(data):
        lengths = data[page + 27 : page + 27 + data[page + 26]]
        end = page + 27 + len(lengths) + sum(lengths)
        data[page + 14 : page + 18] = struct.pack("<I", 1)
        data[page + 22 : page + 26] = bytes(4)
        crc = 0
        for byte in data[page:end]:
            crc = (crc << 8 & 0xFFFFFFFF) ^ _ogg_crc_table()[crc >> 24 ^ byte]
        data[page + 22 : page + 26] = struct.pack("<I", crc)
        page = end
    path.write_bytes(data)


@lru_cache(maxsize=1)
def _ogg_crc_table() -> tuple[int, ...]:
    """CRC-32 as Ogg has it (RFC 3533): polynomial 0x04C11DB7, bits not reflected."""
    table = []
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
        table.append(crc)
    return tuple(table)


# ---------------------------------------------------------------- corpora


def default_data() -> Path:
    """The corpora's folder: SER_DATA, else ../shared/data beside the repository."""
    return Path(os.environ.get("SER_DATA") or ROOT.parent / "shared" / "data")


def find_utterances(data: Path, names: Sequence[str] = ()) -> list[Utterance]:
    """The utterances of some corpora under `data`; of all that are there unless named.

    Emotions that RAVDESS has no name for, such as boredom, are left out.

    Raises
    ------
    FileNotFoundError
        None of them is there.
    """
    wanted = names or corpus_names()
    there = [open_corpus(name, data / name) for name in sorted(wanted) if (data / name).is_dir()]
    if not there:
        raise FileNotFoundError(
            f"no corpus in {data}: expected {' or '.join(wanted)} there; "
            "set SER_DATA to the folder that holds them"
        )
    return [one for own in there for one in own.utterances if one.emotion in RAVDESS_EIGHT]


def find_music(folders: Sequence[Path]) -> list[Path]:
    """The WAV files below some folders.

    Raises
    ------
    FileNotFoundError
        A folder without any.
    """
    found = [(folder, sorted(folder.rglob("*.wav"))) for folder in folders]
    for folder, files in found:
        if not files:
            raise FileNotFoundError(f"no music in {folder}: a folder with .wav files expected")
    return [file for _, files in found for file in files]


@lru_cache(maxsize=32)
def load_music(path: Path, rate: int) -> np.ndarray:
    """A piece of music as a line carries it: float64 [n]."""
    samples, own_rate = soundfile.read(path, always_2d=True)
    return band_pass(soxr.resample(samples.mean(axis=1), own_rate, rate), rate)


@lru_cache(maxsize=64)
def load_utterance(path: Path, rate: int) -> tuple[np.ndarray, tuple[tuple[float, float], ...]]:
    """An utterance as a line carries it, without the silence around it.

    Returns
    -------
    samples : np.ndarray [shape=(n,)]
    spans : tuple of (start_s, end_s)
        Its speech, counted from the first of `samples`; empty where there is none.
    """
    samples, own_rate = soundfile.read(path, always_2d=True)
    samples = band_pass(soxr.resample(samples.mean(axis=1), own_rate, rate), rate)
    spans = speech_spans(samples, rate)
    if not spans:
        return samples[:0], ()
    first, last = round(spans[0][0] * rate), round(spans[-1][1] * rate)
    samples = samples[first:last].copy()
    fade = np.linspace(0.0, 1.0, min(len(samples), round(0.005 * rate)))
    samples[: len(fade)] *= fade
    samples[len(samples) - len(fade) :] *= fade[::-1]
    return samples, tuple((start - first / rate, end - first / rate) for start, end in spans)


# ---------------------------------------------------------------- calls


@dataclass
class _Side:
    """One side of a call while it is being put together."""

    samples: np.ndarray
    level_dbfs: float
    turns: list[Turn] = field(default_factory=list)

    @property
    def end_s(self) -> float:
        return self.turns[-1].end_s if self.turns else 0.0

    def say(self, utterance: Utterance, start_s: float, rate: int) -> float | None:
        """Add an utterance; its end in seconds, or None where it is silent or does not fit."""
        samples, spans = load_utterance(utterance.path, rate)
        first = round(start_s * rate)
        if not spans or first + len(samples) > len(self.samples) - EDGE_SILENCE_S[0] * rate:
            return None
        own_dbfs = 20.0 * np.log10(rms(samples))
        # Half of an utterance's own level stays: -26 dBFS is the usual level of speech.
        gain_db = self.level_dbfs - own_dbfs + GAIN_CONTROL * np.clip(own_dbfs + 26.0, -10.0, 10.0)
        self.samples[first : first + len(samples)] += samples * amplitude(gain_db)
        start_s = first / rate
        spans = tuple((round(start_s + a, 4), round(start_s + b, 4)) for a, b in spans)
        self.turns.append(
            Turn(
                start_s=spans[0][0],
                end_s=spans[-1][1],
                emotion=utterance.emotion,
                speaker=utterance.speaker,
                corpus=utterance.corpus,
                speech=spans,
            )
        )
        return start_s + len(samples) / rate

    def scale(self, rate: int) -> None:
        """Bring the speech to its level; the utterances' differences stay."""
        spoken = [
            self.samples[round(a * rate) : round(b * rate)]
            for turn in self.turns
            for a, b in turn.speech
        ]
        if spoken:
            self.samples *= amplitude(self.level_dbfs) / rms(np.concatenate(spoken))


def build_call(
    utterances: Sequence[Utterance],
    rate: int,
    duration_s: float,
    rng: np.random.Generator,
    hold: tuple[float, float] | None = None,
) -> tuple[np.ndarray, tuple[tuple[Turn, ...], tuple[Turn, ...]]]:
    """Put one call together.

    Parameters
    ----------
    utterances : sequence of Utterance
        Of one corpus or several; a call takes two speakers of one.
    rate : int
        8000 or 16000 Hz.
    duration_s : float > 0
    hold : tuple of start_s and end_s, optional
        When nobody speaks.

    Returns
    -------
    channels : np.ndarray [shape=(2, n)]
        Agent, customer.
    turns : the agent's and the customer's, in order of time
    """
    corpora = sorted({utterance.corpus for utterance in utterances})
    corpus = corpora[rng.integers(len(corpora))]
    own = [utterance for utterance in utterances if utterance.corpus == corpus]
    agent, customer = rng.permutation(sorted({utterance.speaker for utterance in own}))[:2]
    course = COURSES[rng.integers(len(COURSES))]

    n = round(duration_s * rate)
    sides = [_Side(np.zeros(n), float(rng.uniform(*LEVEL_DBFS))) for _ in ROLES]
    now_s = float(rng.uniform(*EDGE_SILENCE_S))
    who = 0
    while True:
        if who == 0:
            moods, speaker = AGENT_MOODS, agent
        else:
            part = min(int(len(course) * now_s / duration_s), len(course) - 1)
            moods = (course[part], "neutral")
            speaker = customer
        choice = _utterances_of(own, speaker, moods, fall_back=who == 1)
        if hold and hold[0] <= now_s + HOLD_AFTER_S and now_s < hold[1]:
            now_s = hold[1]
        start_s = max(now_s, sides[who].end_s + BREATH_S[0])
        for _ in range(rng.integers(UTTERANCES[0], UTTERANCES[1] + 1)):
            end_s = sides[who].say(choice[rng.integers(len(choice))], start_s, rate)
            if end_s is None:
                break
            start_s = end_s + float(rng.uniform(*BREATH_S))
        if end_s is None:
            break
        overlaps = rng.random() < OVERLAP_SHARE
        pause_s = -rng.uniform(*OVERLAP_S) if overlaps else rng.uniform(*PAUSE_S)
        now_s = max(end_s + float(pause_s), 0.0)
        who = 1 - who

    for side in sides:
        side.scale(rate)
    channels = np.stack([side.samples for side in sides])
    if rng.random() < CROSSTALK_SHARE:
        channels = channels + amplitude(CROSSTALK_DB) * channels[::-1]
    for channel, side in zip(channels, sides, strict=True):
        channel += line_noise(n, rate, side.level_dbfs - rng.uniform(*NOISE_BELOW_DB), rng)
    return channels, (tuple(sides[0].turns), tuple(sides[1].turns))


def play(
    channel: np.ndarray,
    turns: Sequence[Turn],
    piece: np.ndarray,
    hold: tuple[float, float],
    rate: int,
    rng: np.random.Generator,
) -> tuple[tuple[float, float], ...]:
    """Add music to a channel [n], in place, where nobody speaks on it; returns where."""
    start_s = max([hold[0], *(turn.end_s for turn in turns if turn.start_s < hold[1])])
    first, last = round(start_s * rate), round(hold[1] * rate)
    if last - first < rate:
        return ()
    sound = np.resize(np.roll(piece, -rng.integers(len(piece))), last - first)
    channel[first:last] += sound * amplitude(rng.uniform(*LEVEL_DBFS)) / max(rms(sound), 1e-6)
    return ((round(start_s, 3), hold[1]),)


def _utterances_of(
    own: Sequence[Utterance], speaker: str, moods: Sequence[str], *, fall_back: bool
) -> list[Utterance]:
    """A speaker's utterances in any of `moods`, or, to fall back, in the first that there is."""
    spoken = [utterance for utterance in own if utterance.speaker == speaker]
    if not fall_back:
        return [utterance for utterance in spoken if utterance.emotion in moods] or spoken
    for mood in moods:
        if chosen := [utterance for utterance in spoken if utterance.emotion == mood]:
            return chosen
    return spoken


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
