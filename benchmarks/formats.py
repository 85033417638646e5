"""What becomes of recordings that are not as they should be: 20 formats, 20 faults, 400 files.

    python benchmarks/formats.py [--save docs/formats.md] [--only FORMAT] [--explain]

The files are made from two sample calls of tests/data, then examined as a night does it, and the
outcomes are written into the table of docs/formats.md. An outcome is right if all that the file
still has was decoded, or if what is missing is told: by a remark, or by the reason of a rejection.
The exit status is 1 if one is wrong.
"""

from __future__ import annotations

import argparse
import io
import struct
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import soxr

sys.path.insert(0, str(Path(__file__).parents[1]))

from ser_core import audio, examine
from ser_core.audio import mpeg

CALLS = Path(__file__).parents[1] / "tests" / "data" / "calls"
RATE_HZ = 8_000
GARBAGE = np.random.default_rng(0).bytes(5_000)
START, END = "<!-- begin: benchmarks/formats.py -->", "<!-- end: benchmarks/formats.py -->"
# Less than this share of the duration may be missing without a remark.
TOLERANCE = 0.03


@dataclass(frozen=True)
class Format:
    """A container with a codec.

    Parameters
    ----------
    name : str
    extension : str
    encode : callable
        From samples at `RATE_HZ` and a factor for the rate to a file's bytes.
    sizes : tuple of (magic, offset from it, format for struct)
        The sizes in its header.
    byte_rate : bool
        Whether its header has a byte rate, 16 bytes behind `fmt `.
    tells_length : bool
        Whether a cut file can be told from a whole one.
    chunks : callable or None
        Puts a chunk before the others.
    """

    name: str
    extension: str
    encode: Callable[[np.ndarray, int], bytes]
    sizes: tuple[tuple[bytes, int, str], ...] = ()
    byte_rate: bool = False
    tells_length: bool = True
    chunks: bool = False


def by_libsndfile(format: str, subtype: str, **options) -> Callable[[np.ndarray, int], bytes]:
    def encode(samples: np.ndarray, factor: int = 1) -> bytes:
        buffer = io.BytesIO()
        rate_hz = RATE_HZ * factor
        soundfile.write(
            buffer, resampled(samples, rate_hz), rate_hz, subtype, format=format, **options
        )
        return buffer.getvalue()

    return encode


def by_ffmpeg(container: str, codec: str, rate_hz: int, kbits: int):
    def encode(samples: np.ndarray, factor: int = 1) -> bytes:
        import av

        buffer = io.BytesIO()
        # A codec with one rate only is given the other one as a WAV file.
        if factor > 1 and codec in ("libopencore_amrnb", "libopus", "g726"):
            return by_libsndfile("WAV", "PCM_16")(samples, factor)
        rate = rate_hz * factor
        samples = resampled(samples, rate)
        with av.open(buffer, "w", format=container) as output:
            stream = output.add_stream(codec, rate=rate, layout="mono")
            stream.bit_rate = 1000 * kbits
            fifo = av.AudioFifo()
            frame = av.AudioFrame.from_ndarray(
                np.round(samples[None] * 32_000).astype(np.int16), "s16", "mono"
            )
            frame.rate, frame.pts = rate, 0
            resampler = av.AudioResampler(stream.format, "mono", rate)
            for piece in resampler.resample(frame):
                fifo.write(piece)
            size = stream.codec_context.frame_size or 1024
            while (piece := fifo.read(size)) or (piece := fifo.read(0, partial=True)):
                output.mux(stream.encode(piece))
            output.mux(stream.encode(None))
        return buffer.getvalue()

    return encode


def mp3_without_xing(samples: np.ndarray, factor: int = 1) -> bytes:
    data = by_libsndfile("MP3", "MPEG_LAYER_III", bitrate_mode="CONSTANT")(samples, factor)
    found = mpeg.frame_at(data, 0)
    assert found is not None
    return data[found[0] :]


def resampled(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    return np.asarray(soxr.resample(samples, RATE_HZ, rate_hz), dtype=np.float32)


WAV_SIZES = ((b"RIFF", 4, "<I"), (b"data", 4, "<I"))
WAV_TRAITS = {"byte_rate": True, "chunks": True}
FORMATS = (
    Format("WAV PCM", ".wav", by_libsndfile("WAV", "PCM_16"), WAV_SIZES, **WAV_TRAITS),
    Format("WAV mu-law", ".wav", by_libsndfile("WAV", "ULAW"), WAV_SIZES, **WAV_TRAITS),
    Format("WAV GSM", ".wav", by_libsndfile("WAV", "GSM610"), WAV_SIZES, **WAV_TRAITS),
    Format("WAV ADPCM", ".wav", by_libsndfile("WAV", "IMA_ADPCM"), WAV_SIZES, **WAV_TRAITS),
    Format("WAV G.726", ".wav", by_ffmpeg("wav", "g726", 8_000, 32), WAV_SIZES, **WAV_TRAITS),
    Format(
        "RF64", ".wav", by_libsndfile("RF64", "PCM_16"),
        ((b"ds64", 8, "<Q"), (b"ds64", 16, "<Q"), (b"ds64", 24, "<Q")), **WAV_TRAITS,
    ),
    Format(
        "Wave64", ".w64", by_libsndfile("W64", "PCM_16"),
        ((b"riff", 16, "<Q"), (b"data\xf3\xac\xd3\x11", 16, "<Q")),
    ),
    Format(
        "AIFF", ".aiff", by_libsndfile("AIFF", "PCM_16"),
        ((b"FORM", 4, ">I"), (b"SSND", 4, ">I")),
    ),
    Format("CAF", ".caf", by_libsndfile("CAF", "PCM_16"), ((b"data", 4, ">Q"),)),
    Format("headerless", ".ulaw", by_libsndfile("RAW", "ULAW"), tells_length=False),
    Format("FLAC", ".flac", by_libsndfile("FLAC", "PCM_16"), ((b"fLaC", 22, ">I"),)),
    Format("Vorbis", ".ogg", by_libsndfile("OGG", "VORBIS"), tells_length=False),
    Format("Opus", ".opus", by_libsndfile("OGG", "OPUS"), tells_length=False),
    Format(
        "MP3 VBR", ".mp3", by_libsndfile("MP3", "MPEG_LAYER_III", bitrate_mode="VARIABLE"),
        ((b"Xing", 8, ">I"),),
    ),
    Format("MP3 CBR", ".mp3", mp3_without_xing, tells_length=False),
    Format("AAC", ".aac", by_ffmpeg("adts", "aac", 16_000, 32), tells_length=False),
    Format(
        "M4A", ".m4a", by_ffmpeg("mp4", "aac", 16_000, 32), ((b"mdat", -4, ">I"),)
    ),
    Format("WebM", ".webm", by_ffmpeg("webm", "libopus", 48_000, 24)),
    Format("WMA", ".wma", by_ffmpeg("asf", "wmav2", 16_000, 32)),
    Format("AMR", ".amr", by_ffmpeg("amr", "libopencore_amrnb", 8_000, 12), tells_length=False),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A file with a fault, or None where the format has no such fault.

    Parameters
    ----------
    data : bytes
    expected : float
        Share of the duration of the whole file that is still there.
    detectable : bool
        Whether what is missing can be known.
    extension : str or None
        Of the file, if another.
    later : list of bytes
        What the file holds after each piece of work on it.
    """

    data: bytes
    expected: float = 1.0
    detectable: bool = True
    extension: str | None = None
    later: tuple[bytes, ...] = ()


@dataclass
class Made:
    """The files of a format that the faults are made from."""

    format: Format
    samples: np.ndarray
    other: np.ndarray
    whole: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.whole = self.format.encode(self.samples, 1)

    @property
    def middle(self) -> int:
        return len(self.whole) // 2

    @property
    def twice(self) -> float:
        return 1 + len(self.other) / len(self.samples)


def cut(share: float):
    def make(made: Made) -> Case:
        data = made.whole[: int(share * len(made.whole))]
        return Case(data, detectable=made.format.tells_length)

    return make


def joined(made: Made) -> Case:
    return Case(made.whole + made.format.encode(made.other, 1), made.twice)


def joined_to_wav(made: Made) -> Case:
    wav = by_libsndfile("WAV", "PCM_16")(made.other, 1)
    return Case(made.whole + wav, made.twice)


def joined_to_another_rate(made: Made) -> Case:
    more = made.format.encode(made.other, 2)
    if made.format.name == "headerless":  # nothing tells that the rate is another one
        return Case(made.whole + more, 1 + len(more) / len(made.whole))
    return Case(made.whole + more, made.twice)


def middle(replace: Callable[[bytes], bytes]):
    def make(made: Made) -> Case:
        at, gone = made.middle, made.whole[made.middle : made.middle + 2_000]
        return Case(made.whole[:at] + replace(gone) + made.whole[at + len(gone) :])

    return make


def tag_before(made: Made) -> Case:
    data = made.whole
    if made.format.chunks:
        return Case(data[:12] + b"JUNK" + struct.pack("<I", 602) + bytes(602) + data[12:])
    if made.format.name == "headerless":
        return Case(data)
    return Case(b"ID3\x04\0\0\0\0\x04\x00" + bytes(512) + data)


def sizes(value: int):
    def make(made: Made) -> Case | None:
        data = bytearray(made.whole)
        for magic, offset, format in made.format.sizes:
            at = data.index(magic) + offset
            length = struct.calcsize(format)
            data[at : at + length] = (value & (1 << 8 * length) - 1).to_bytes(length, "little")
        return Case(bytes(data)) if made.format.sizes else None

    return make


def byte_rate(made: Made) -> Case | None:
    if not made.format.byte_rate:
        return None
    data = bytearray(made.whole)
    at = data.index(b"fmt ") + 16
    (rate,) = struct.unpack_from("<I", data, at)
    struct.pack_into("<I", data, at, rate // 2)
    return Case(bytes(data))


def grows(made: Made) -> Case:
    part = made.whole[: int(0.6 * len(made.whole))]
    return Case(part, later=(part, made.whole))


def is_replaced(made: Made) -> Case:
    other = made.format.encode(made.other[: len(made.other) // 2], 1)
    return Case(made.whole, later=(made.whole, other))


FAULTS: dict[str, Callable[[Made], Case | None]] = {
    "cut to 60 %": cut(0.6),
    "cut to 30 %": cut(0.3),
    "only 60 bytes": lambda made: Case(made.whole[:60], detectable=made.format.tells_length),
    "another one appended": joined,
    "a WAV appended": joined_to_wav,
    "another rate appended": joined_to_another_rate,
    "5,000 random bytes behind": lambda made: Case(made.whole + GARBAGE),
    "zeros behind": lambda made: Case(made.whole + bytes(4_096)),
    "an ID3 tag behind": lambda made: Case(made.whole + b"TAG" + bytes(range(125))),
    "700 random bytes before": lambda made: Case(GARBAGE[:700] + made.whole),
    "a chunk or tag before": tag_before,
    "2,000 bytes missing": middle(lambda gone: b""),
    "2,000 random bytes": middle(lambda gone: GARBAGE[: len(gone)]),
    "2,000 zeros": middle(lambda gone: bytes(len(gone))),
    "sizes 0": sizes(0),
    "sizes unknown (-1)": sizes(-1),
    "wrong byte rate": byte_rate,
    "extension .dat": lambda made: Case(made.whole, extension=".DAT"),
    "grows while it is read": grows,
    "replaced while it is read": is_replaced,
}


@dataclass(frozen=True)
class Outcome:
    """A cell of the table."""

    text: str
    right: bool
    explained: str


def judge(case: Case | None, whole_s: float, found: examine.Examined | None) -> Outcome:
    if case is None or found is None:
        return Outcome("–", True, "the format has no such fault")
    if found.reason is not None:
        right = found.reason not in ("crashed", "timed_out")
        return Outcome(f"`{found.reason}`", right, f"{found.reason}: {found.detail}")
    share = (found.duration_s or 0) / whole_s
    mark = "*" if found.detail else ""
    all_there = share >= case.expected - TOLERANCE or (
        case.expected > 1 and share >= case.expected * (1 - TOLERANCE)
    )
    too_much = share > max(case.expected, 1.0) * 1.1
    right = (all_there or bool(mark) or not case.detectable) and not too_much
    return Outcome(f"{100 * share:.0f}{mark}", right, f"{share:.3f}: {found.detail}")


def examined(case: Case, format: Format, folder: Path) -> examine.Examined:
    path = folder / f"call{case.extension or format.extension}"
    path.write_bytes(case.data)
    later = list(case.later)

    def beat(recording_id: str | None) -> None:
        if later:
            path.write_bytes(later.pop(0))

    source = examine.Source(str(path), len(case.data), 0)
    raw = (audio.RawFormat("mulaw", extensions=(".ulaw", ".dat")),)
    is_raw = format.name == "headerless"
    settings = examine.Settings("telephone", raw=raw if is_raw else ())
    return examine.examine(path, source, settings, beat=beat)


def run(only: str | None) -> dict[str, dict[str, Outcome]]:
    samples, rate_hz = soundfile.read(CALLS / "billing/20260301T091500_c0001.wav")
    other, _ = soundfile.read(CALLS / "support/20260301T101530_c0004.wav")
    assert rate_hz == RATE_HZ
    outcomes: dict[str, dict[str, Outcome]] = {}
    with tempfile.TemporaryDirectory() as name:
        for format in FORMATS:
            if only not in (None, format.name):
                continue
            made = Made(format, samples.sum(axis=1), other)
            whole = examined(Case(made.whole), format, Path(name))
            if not whole.duration_s or whole.detail:
                raise SystemExit(f"{format.name}: the whole file is not read: {whole}")
            outcomes[format.name] = {}
            for fault, make in FAULTS.items():
                case = make(made)
                found = examined(case, format, Path(name)) if case else None
                outcomes[format.name][fault] = judge(case, whole.duration_s, found)
    return outcomes


def table(outcomes: dict[str, dict[str, Outcome]]) -> str:
    lines = [f"| fault | {' | '.join(outcomes)} |", "| --- " * (len(outcomes) + 1) + "|"]
    for fault in FAULTS:
        cells = " | ".join(row[fault].text for row in outcomes.values())
        lines.append(f"| {fault} | {cells} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, help="page that holds the table")
    parser.add_argument("--only", choices=[format.name for format in FORMATS])
    parser.add_argument("--explain", action="store_true", help="print each outcome with its remark")
    options = parser.parse_args()
    outcomes = run(options.only)
    wrong = 0
    for format, row in outcomes.items():
        for fault, outcome in row.items():
            wrong += not outcome.right
            if options.explain or not outcome.right:
                judgement = "right" if outcome.right else "WRONG"
                print(f"{judgement} {format:12} {fault:28} {outcome.explained}")
    print(f"{sum(map(len, outcomes.values()))} files, {wrong} wrong")
    if options.save:
        page = options.save.read_text()
        before, after = page.split(START)[0], page.split(END)[1]
        options.save.write_text(f"{before}{START}\n\n{table(outcomes)}\n\n{END}{after}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
