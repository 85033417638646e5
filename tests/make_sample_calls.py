"""Build the sample calls of tests/data with espeak-ng: invented talks in synthetic voices.

    python tests/make_sample_calls.py [FOLDER]

The files are reproducible, byte for byte, with espeak-ng 1.51 and libsndfile 1.2.2. `truth.json`
holds who speaks when; tests/data/README.md describes the files.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.calls.files import Codec, write_call  # noqa: E402
from benchmarks.calls.sound import amplitude, band_pass, line_noise, rms, speech_spans  # noqa: E402
from benchmarks.calls.truth import Truth, Turn  # noqa: E402

SPEECH_DBFS = -25.0
NOISE_DBFS = -63.0
START_S = 0.6
CUT_AFTER = 0.55  # of the bytes of the truncated call are kept


@dataclass(frozen=True)
class Mood:
    """Settings of espeak-ng: words per minute, pitch (0 to 99), and the level in dB."""

    speed: int
    pitch: int
    level_db: float


MOODS = {
    "neutral": Mood(170, 45, 0.0),
    "happy": Mood(185, 70, 2.0),
    "angry": Mood(205, 62, 6.0),
    "sad": Mood(135, 25, -5.0),
    "fearful": Mood(210, 80, 1.0),
}

MULAW = Codec("wav", "WAV", "ULAW")
ALAW = Codec("wav", "WAV", "ALAW")
GSM = Codec("wav", "WAV", "GSM610")
RAW_MULAW = Codec("ulaw", "RAW", "ULAW")
PCM_16K = Codec("wav", "WAV", "PCM_16", rate=16_000)
OPUS = Codec("opus", "OGG", "OPUS", settings={"compression_level": 1.0})  # 6 kbit/s
# At 12 kbit/s Opus mixes the two channels; at 17 kbit/s they stay separate.
OPUS_TWO = Codec("opus", "OGG", "OPUS", settings={"compression_level": 0.99})
FLAC = Codec("flac", "FLAC", "PCM_16", settings={"compression_level": 1.0})
# With a variable rate the encoder writes the frame count (Xing), so decoders remove its delay.
MP3 = Codec(
    "mp3", "MP3", "MPEG_LAYER_III", settings={"bitrate_mode": "VARIABLE", "compression_level": 0.95}
)


@dataclass(frozen=True)
class SampleCall:
    """A call to build.

    Each line of `talk` is "side mood gap text". The side is A (agent) or C (customer). The gap is
    the time in seconds after the previous line; a negative gap makes both overlap.
    """

    file: str
    codec: Codec
    channels: int
    duration_s: float
    agent: str
    customer: str
    talk: str
    noise_dbfs: float | None = NOISE_DBFS
    gain_db: float = 0.0


CALLS = (
    SampleCall(
        "calls/billing/20260301T091500_c0001.wav",
        MULAW,
        2,
        20.0,
        "en-us+f3",
        "en-gb+m3",
        """
        A neutral 0.0 Good morning, billing. How can I help?
        C angry 0.5 You have charged me twice for February! Twice! I want my money back now.
        A neutral -0.4 I am sorry to hear that. Let me look at the account.
        C angry 0.7 This is the third time I am calling about it!
        A neutral 0.4 The second charge goes back to you today.
        C neutral 0.8 All right. But please make sure that it stays that way.
        """,
    ),
    SampleCall(
        "calls/billing/20260301T094210_c0002.wav",
        GSM,
        1,
        22.0,
        "en-gb+f2",
        "en-us+m7",
        """
        A neutral 0.0 Billing, good morning. What can I do for you?
        C sad 0.8 I have lost my job, and I cannot pay the bill this month.
        A neutral 0.6 I am sorry. We can split it into four parts, without a fee.
        C sad 0.9 Four parts. Yes. That would help me a little.
        A neutral 0.5 Then I will note it down, and send you a letter.
        """,
    ),
    SampleCall(
        "calls/billing/20260301T173005_c0003.opus",
        OPUS_TWO,
        2,
        34.0,
        "en-us+m1",
        "en-gb+f4",
        """
        A neutral 0.0 Billing department, good evening.
        C neutral 0.6 Hello. I have a question about the last invoice, the one from the tenth.
        A neutral 0.5 Of course. What is your customer number, please?
        C neutral 0.9 Four, four, one, seven, nine, two.
        A neutral 1.1 Thank you. It shows a late fee of twelve pounds.
        C angry 0.3 A late fee? I paid a week before it was due! That is simply wrong!
        A neutral -0.3 I see the payment now. You are right, the fee is a mistake.
        C angry 0.4 So take it off! I am tired of checking every single bill!
        A neutral 0.6 It is taken off. You will have it in writing tomorrow.
        """,
    ),
    SampleCall(
        "calls/support/20260301T101530_c0004.wav",
        ALAW,
        1,
        14.0,
        "en-gb-scotland+f1",
        "en-us+m2",
        """
        A neutral 0.0 Technical support, hello?
        C fearful 0.3 Please help! My screen is black, and my photographs are on it!
        A neutral 0.4 Hold the power button, please.
        C fearful 1.2 Wait. Wait.
        C happy 0.6 It is back! Thank you so much!
        """,
    ),
    SampleCall(
        "calls/support/20260301T112045_c0005.wav",
        PCM_16K,
        1,
        20.0,
        "en-us+f5",
        "en-gb+m6",
        """
        A neutral 0.0 Support, hello.
        C happy 0.5 Hello! The new router is wonderful. I have just one small question.
        A neutral 0.4 I am glad to hear it. Please go ahead.
        C happy 0.5 Can my neighbour use it too, with a guest name?
        A neutral 0.6 Yes, he can. You find it under guest network.
        C happy 0.3 Brilliant! Goodbye!
        """,
    ),
    SampleCall(
        "calls/support/20260301T140300_c0006.mp3",
        MP3,
        1,
        24.0,
        "en-gb+m5",
        "en-us+f2",
        """
        A neutral 0.0 Support, this is the second line. I have read your ticket.
        C angry 0.5 Finally! I have waited for forty minutes!
        A neutral 0.7 I am sorry for that. Is the light on the box red or green?
        C angry 0.3 Red. It has been red since yesterday.
        A neutral 0.8 I have sent it a new setting. And now?
        C neutral 1.9 Now it is green.
        C happy 0.6 Oh, that was quick. Thank you, have a nice day.
        """,
    ),
    SampleCall(
        "calls/support/20260301T190144_c0007.flac",
        FLAC,
        1,
        20.0,
        "en-us+m4",
        "en-gb+f3",
        """
        A neutral 0.0 Support, good evening.
        C sad 1.0 Good evening. The phone of my late husband is still locked.
        A neutral 0.8 My condolences. I can open it, if you have the contract.
        C sad 1.2 I have it here.
        A neutral 0.7 Then we will do it together.
        """,
        noise_dbfs=None,  # as on a line with silence suppression
        gain_db=-10.0,
    ),
    SampleCall(
        "calls/sales/20260301T124512_c0008.opus",
        OPUS,
        1,
        28.0,
        "en-gb+f5",
        "en-us+m3",
        """
        A happy 0.0 Sales, hello! You asked us to call back about the larger plan?
        C neutral 0.6 Yes. What does it cost after the first year?
        A neutral 0.5 Thirty two a month, and you can leave at any time.
        C neutral 0.9 My present one costs twenty eight.
        A neutral 0.4 It also has half of the speed. May I send you both side by side?
        C neutral -0.3 Yes, send it. I will think about it over the weekend.
        A happy 0.5 With pleasure. You will have it in five minutes.
        C happy 0.6 Good. Thank you, and goodbye.
        """,
    ),
    SampleCall(
        "calls/sales/20260301T151818_c0009.wav",
        GSM,
        1,
        20.0,
        "en-us+m6",
        "en-gb+f2",
        """
        A neutral 0.0 Sales, good afternoon.
        C angry 0.4 Stop calling me! I have told you people five times that I want nothing!
        A neutral 0.3 I apologise. I will take your number off the list.
        C angry -0.5 You said so last week, and the week before!
        A neutral 0.6 It is done now. Here is the reference: seven, seven, zero.
        """,
    ),
    SampleCall(
        "calls/sales/20260301T160237_c0010.ulaw",
        RAW_MULAW,
        1,
        10.0,
        "en-gb+m2",
        "en-us+f4",
        """
        A neutral 0.0 Sales, hello. Who is calling?
        C happy 0.5 It is me again. I have decided, I take the blue one!
        A happy 0.4 Very good. It will be with you on Friday.
        """,
    ),
)
CUT_CALL = SampleCall(
    "calls/odd/20260301T084500_c0011.wav",
    GSM,
    1,
    14.0,
    "en-us+f2",
    "en-gb+m4",
    """
    A neutral 0.0 Good morning. You are the first caller today.
    C neutral 0.5 Good morning. I would like to change my address.
    A neutral 0.5 With pleasure. What is the new one?
    C neutral 0.7 Seventeen, Mill Lane.
    """,
)
HOLD_CALL = "calls/odd/20260301T085000_c0012.wav"
HOLD_S = 10.0
NO_AUDIO = "calls/odd/20260301T085500_c0013.wav"


def speak(text: str, voice: str, mood: Mood, rate: int) -> np.ndarray:
    """Speak a line with espeak-ng: float64 [n] at `rate` in Hz, at the level of the mood."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        command = ["espeak-ng", "-v", voice, "-s", str(mood.speed), "-p", str(mood.pitch)]
        subprocess.run([*command, "-w", file.name, text], check=True)
        samples, own_rate = soundfile.read(file.name)
    samples = band_pass(soxr.resample(samples, own_rate, rate), rate)
    spans = speech_spans(samples, rate)
    samples = samples[round(spans[0][0] * rate) : round(spans[-1][1] * rate)]
    return samples * (amplitude(SPEECH_DBFS + mood.level_db) / rms(samples))


def make_call(call: SampleCall) -> tuple[np.ndarray, list[Truth]]:
    """Build a call: float64 [shape=(channels, n)], and the truth of each channel."""
    rate = call.codec.rate
    sides = np.zeros((2, round(call.duration_s * rate)))
    turns: tuple[list[Turn], list[Turn]] = ([], [])
    end_s = START_S
    for line in call.talk.strip().splitlines():
        side, mood, gap_s, text = line.split(maxsplit=3)
        speaking, voice = (0, call.agent) if side == "A" else (1, call.customer)
        samples = speak(text, voice, MOODS[mood], rate)
        start_s = end_s + float(gap_s)
        first = round(start_s * rate)
        end_s = (first + len(samples)) / rate
        if end_s > call.duration_s:
            raise ValueError(
                f"{call.file}: its talk lasts over {end_s:.1f} s, {call.duration_s} s expected: "
                "shorten the talk or lengthen the call"
            )
        sides[speaking, first : first + len(samples)] += samples
        spans = tuple(
            (round(start_s + a, 3), round(start_s + b, 3)) for a, b in speech_spans(samples, rate)
        )
        turns[speaking].append(Turn(spans[0][0], spans[-1][1], mood, voice, "espeak-ng", spans))

    channels = sides if call.channels == 2 else sides.sum(axis=0, keepdims=True)
    channels = channels * amplitude(call.gain_db)
    if call.noise_dbfs is not None:
        rng = np.random.default_rng(list(call.file.encode()))
        channels = channels + [
            line_noise(channels.shape[1], rate, call.noise_dbfs, rng) for _ in channels
        ]
    if call.channels == 2:
        truths = [Truth(call.file, i, ("agent", "customer")[i], tuple(turns[i])) for i in (0, 1)]
    else:
        both = sorted(turns[0] + turns[1], key=lambda turn: turn.start_s)
        truths = [Truth(call.file, 0, "mixed", tuple(both))]
    return channels, truths


def _until(end_s: float, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The part of the turns before `end_s`."""
    return tuple(
        replace(
            turn,
            end_s=min(turn.end_s, end_s),
            speech=tuple((a, min(b, end_s)) for a, b in turn.speech if a < end_s),
        )
        for turn in turns
        if turn.start_s < end_s
    )


def make_all(folder: Path) -> list[Truth]:
    """Write all calls below `folder`, and truth.json: a list with one object per channel."""
    truths = []
    for call in CALLS:
        channels, call_truths = make_call(call)
        write_call(folder / call.file, channels, call.codec)
        truths += call_truths

    channels, call_truths = make_call(CUT_CALL)
    cut = folder / CUT_CALL.file
    write_call(cut, channels, CUT_CALL.codec)
    whole = cut.read_bytes()
    cut.write_bytes(whole[: int(CUT_AFTER * len(whole))])
    left_s = soundfile.info(cut).duration
    truths += [replace(truth, turns=_until(left_s, truth.turns)) for truth in call_truths]

    rng = np.random.default_rng(0)
    hold = line_noise(round(HOLD_S * GSM.rate), GSM.rate, NOISE_DBFS, rng)
    write_call(folder / HOLD_CALL, hold[None], GSM)
    truths.append(Truth(HOLD_CALL, 0, "mixed", ()))
    (folder / NO_AUDIO).write_text("Recording failed: disk quota exceeded.\n")

    lines = ",\n".join(json.dumps(asdict(truth)) for truth in truths)
    (folder / "truth.json").write_text(f"[\n{lines}\n]\n")
    return truths


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests" / "data"
    made = make_all(target)
    sizes = [path.stat().st_size for path in target.glob("calls/*/*")]
    print(f"{len(sizes)} files in {target / 'calls'}, {sum(sizes) / 1e6:.2f} MB")
