"""Files that hold more, or less, than their header says: parts, sizes, damage, scale."""

from __future__ import annotations

import io
import re
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_core import audio
from ser_core.audio import mpeg
from ser_core.errors import AudioError
from tests.ser_core.test_audio import encoded
from tests.speechlike import voice

RATE = 8_000
FIRST = voice(2.0, RATE, seed=1)
SECOND = voice(1.5, RATE, f0_hz=200.0, seed=2)
# libsndfile's format and subtype; whether samples come out as they went in
KINDS = [
    ("WAV", "PCM_16", True),
    ("WAV", "ULAW", True),
    ("WAV", "GSM610", False),
    ("WAVEX", "PCM_24", True),
    ("RF64", "PCM_16", True),
    ("W64", "PCM_16", True),
    ("AIFF", "PCM_16", True),
    ("CAF", "PCM_16", True),
    ("AU", "ULAW", True),
    ("FLAC", "PCM_16", True),
    ("OGG", "VORBIS", False),
    ("OGG", "OPUS", False),
    ("MP3", "MPEG_LAYER_III", False),
]


def mp3(samples, rate=RATE, mode="VARIABLE", *, xing=True) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="MP3", bitrate_mode=mode)
    data = buffer.getvalue()
    length, _ = mpeg.frame_at(data, 0)
    return data if xing else data[length:]


def seconds_of(data: bytes, uri: str = "a", **options) -> float:
    return audio.decode(data, uri, **options).facts.duration_s


def remark_of(data: bytes, uri: str = "a", **options) -> str | None:
    return audio.decode(data, uri, **options).facts.remark


# Parts


@pytest.mark.parametrize(("format", "subtype", "exact"), KINDS)
def test_a_file_appended_to_another_is_read(format, subtype, exact):
    parts = [encoded(format, subtype, samples, RATE) for samples in (FIRST, SECOND)]
    joined = audio.decode(b"".join(parts))
    apart = np.concatenate([audio.decode(part).samples for part in parts], axis=1)
    np.testing.assert_array_equal(joined.samples, apart)
    assert joined.facts.remark is None
    assert joined.facts.duration_s == pytest.approx(3.5, abs=0.001 if exact else 0.15)


@pytest.mark.parametrize("kinds", [(0, 9), (9, 0), (10, 9), (0, 12), (12, 0), (1, 10), (6, 1)])
def test_parts_may_be_of_different_formats(kinds):
    parts = [
        encoded(*KINDS[i][:2], samples, RATE)
        for i, samples in zip(kinds, (FIRST, SECOND), strict=True)
    ]
    joined = audio.decode(b"".join(parts))
    apart = np.concatenate([audio.decode(part).samples for part in parts], axis=1)
    np.testing.assert_array_equal(joined.samples, apart)
    assert joined.facts.remark is None


@pytest.mark.parametrize("xing", [(True, True), (True, False), (False, True), (False, False)])
def test_mp3_files_joined(xing):
    parts = [mp3(samples, xing=x) for samples, x in zip((FIRST, SECOND), xing, strict=True)]
    # Two tags between them, as editors write them.
    tags = b"TAG" + bytes(125) + b"ID3\x04\0\0\0\0\0\x14" + b"TIT2" + bytes(16)
    for between in (b"", tags):
        found = audio.decode(parts[0] + between + parts[1])
        # The encoder's padding stays where no Xing header tells of it.
        assert found.facts.duration_s == pytest.approx(3.5, abs=0.3)
        assert found.facts.remark is None


@pytest.mark.parametrize(("format", "subtype", "exact"), KINDS)
def test_a_header_is_read_from_the_beginning_of_a_file(format, subtype, exact):
    """As a plan does it: over a network, of files of any size."""
    data = encoded(format, subtype, FIRST, RATE)
    data *= 2_000_000 // len(data)
    reads = []

    class Counted(io.BytesIO):
        def readinto(self, buffer):
            reads.append(len(buffer))
            return super().readinto(buffer)

        def read(self, size=-1):
            reads.append(size)
            return super().read(size)

    with audio.open(Counted(data), "a", header_only=True) as stream:
        assert (stream.rate, stream.channels) == (RATE, 1)
    assert sum(reads) < 400_000


def test_many_parts_in_order():
    parts = [FIRST[i * 800 : (i + 1) * 800] for i in range(20)]
    joined = b"".join(encoded("FLAC", "PCM_16", part, RATE) for part in parts)
    assert np.abs(audio.decode(joined).samples[0] - FIRST).max() < 1e-4


def test_a_part_of_another_rate_or_layout_is_left_out_with_a_remark():
    first = encoded("WAV", "PCM_16", FIRST, RATE)
    other = encoded("WAV", "PCM_16", SECOND, 16_000)
    stereo = encoded("FLAC", "PCM_16", np.tile(SECOND[:, None], 2), RATE)
    found = audio.decode(first + other)
    assert found.facts.duration_s == pytest.approx(2.0)
    assert found.facts.remark == (
        f"{len(other):,} bytes from byte {len(first):,} on are not read: "
        "16,000 Hz and 1 channel found, 8,000 Hz and 1 channel expected"
    )
    assert "2 channels found" in remark_of(first + stereo)
    # What follows is read again.
    assert seconds_of(first + stereo + first) == pytest.approx(4.0)


@pytest.mark.parametrize(("format", "subtype", "exact"), KINDS)
def test_bytes_that_are_no_audio_are_remarked(format, subtype, exact):
    data = encoded(format, subtype, FIRST, RATE)
    noise = np.random.default_rng(0).integers(1, 127, 5_000, dtype=np.uint8).tobytes()
    before = audio.decode(noise + data)
    assert before.facts.duration_s == pytest.approx(2.0, abs=0.3)
    if format != "MP3":  # no magic to find
        assert before.facts.remark == "5,000 bytes before the recording are not read"
    # Where a FLAC file ends is known to the block that libFLAC reads.
    size = r"[12],\d\d\d" if format == "FLAC" else "5,000"
    assert re.fullmatch(
        size + r" bytes from byte [\d,]+ on are not read.*", remark_of(data + noise)
    )
    for padding in (bytes(5_000), b"TAG" + bytes(125), b"ID3\x04\0\0\0\0\x10\0" + noise[:2048]):
        assert remark_of(data + padding) is None


def test_tracks_of_one_ogg_file_are_no_parts():
    """A file with several streams at once begins with a first page of each."""
    data = encoded("OGG", "OPUS", FIRST, RATE)
    page = 27 + data[26] + sum(data[27 : 27 + data[26]])
    other = bytearray(data[:page])
    other[14:18] = b"\xff\xff\xff\xfe"
    from ser_core.audio import parts

    file = io.BytesIO(bytes(other) + data)
    assert len(parts.split(file, len(file.getvalue())).parts) == 1
    file = io.BytesIO(data + bytes(other) + data)
    assert len(parts.split(file, len(file.getvalue())).parts) == 2


# Sizes


@pytest.mark.parametrize("size", [0, 0xFFFFFFFFFFFFFFFF])
@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
def test_rf64_without_sizes_is_read_to_the_end(size, magic):
    whole = encoded("RF64", "PCM_16", FIRST, RATE)
    data = bytearray(whole)
    data[:4] = magic
    data[20:44] = struct.pack("<QQQ", *(size,) * 3)
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff" * 4
    found = audio.decode(bytes(data))
    np.testing.assert_array_equal(found.samples, audio.decode(whole).samples)
    assert found.facts.remark is None
    half = audio.decode(whole[: len(whole) * 3 // 4])
    assert half.facts.remark == "cut: 1.5 of 2.0 s are there"


def test_wav_without_a_size_ends_where_the_next_begins():
    data = bytearray(encoded("WAV", "PCM_16", FIRST, RATE))
    data[40:44] = b"\xff" * 4
    found = audio.decode(bytes(data) + encoded("WAV", "PCM_16", SECOND, RATE))
    whole = np.concatenate([FIRST, SECOND])
    assert np.abs(found.samples[0] - whole).max() < 1e-4


def test_an_empty_wav_with_other_chunks_is_empty():
    data = bytearray(encoded("WAV", "PCM_16", FIRST[:0], RATE))
    data += b"LIST" + struct.pack("<I", 100) + b"INFO" + bytes(96)
    with pytest.raises(AudioError, match="empty"):
        audio.decode(bytes(data))


@pytest.mark.parametrize("byte_rate", [0, 1, 8_000, 4_000_000_000])
@pytest.mark.parametrize("subtype", ["PCM_16", "ULAW", "IMA_ADPCM", "GSM610"])
def test_the_byte_rate_is_not_believed(byte_rate, subtype):
    data = bytearray(encoded("WAV", subtype, np.tile(FIRST, 5), RATE))
    data[28:32] = struct.pack("<I", byte_rate)
    with audio.open(io.BytesIO(bytes(data))) as stream:
        assert stream.declared_s == pytest.approx(10, abs=0.2)
    assert remark_of(bytes(data)) is None
    assert remark_of(bytes(data[: len(data) * 2 // 3])).startswith("cut: 6.")
    # No limit is kept by it.
    assert seconds_of(bytes(data), limits=audio.Limits(max_duration_s=10.5)) == pytest.approx(
        10, abs=0.2
    )


def test_the_length_of_mp3_without_a_xing_header_is_no_guess():
    quiet_then_loud = np.concatenate([np.zeros(12 * RATE, np.float32), voice(4, RATE)])
    data = mp3(quiet_then_loud, xing=False)
    assert soundfile.info(io.BytesIO(data)).duration > 20  # libsndfile's guess by the first frames
    with audio.open(io.BytesIO(data), "a.mp3", limits=audio.Limits(max_duration_s=17)) as stream:
        assert stream.declared_s == pytest.approx(16, abs=0.3)
        list(stream.blocks())
    assert stream.facts.remark is None
    assert stream.facts.duration_s == pytest.approx(stream.declared_s)


# Damage


def decibels(error, signal) -> float:
    return 10 * np.log10(np.mean(error**2) / np.mean(signal**2) + 1e-20)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.05, 0.8), st.integers(1, 1500)), min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from(["cut out", "zeros", "noise"]),
)
def test_mp3_goes_on_after_damage(places, xing, kind):
    whole = mp3(np.tile(FIRST, 3), mode="CONSTANT", xing=xing)
    data = bytearray(whole)
    lost = 0
    for at, length in places:
        start = int(at * len(data))
        length = min(length, len(data) - start)
        lost += length
        random = np.random.default_rng(length)
        data[start : start + length] = {
            "cut out": b"", "zeros": bytes(length), "noise": random.bytes(length)
        }[kind]  # fmt: skip
    found = audio.decode(bytes(data))
    # Of each place, besides what is lost, at most the frames that it touches are.
    frame_s, frame_bytes = 576 / RATE, mpeg.frame_at(whole, 0)[0]
    lost_s = (lost / frame_bytes + 3 * len(places)) * frame_s
    assert found.facts.duration_s > 6 - lost_s - 0.15
    if xing and found.facts.duration_s < 5.8:
        assert found.facts.remark.startswith(("cut: ", "damaged: "))


def test_speech_after_the_damage_is_that_of_the_whole_file():
    samples = voice(23, RATE, seed=3)
    whole = mp3(samples, mode="CONSTANT", xing=False)
    data = bytearray(whole)
    data[1_000:1_050] = b""
    data[5_000:8_000] = np.random.default_rng(0).bytes(3_000)
    found, expected = audio.decode(bytes(data)), audio.decode(whole)
    tail = slice(-3 * RATE, None)
    error = found.samples[0, tail] - expected.samples[0, tail]
    assert decibels(error, expected.samples[0, tail]) < -60
    assert found.facts.remark.startswith("damaged: ")
    assert audio.LESS_THAN_HALF not in found.facts.remark


@pytest.mark.parametrize(("at", "size"), [(0.1, 100), (0.45, 3_000), (0.8, 20_000)])
@pytest.mark.parametrize("kind", ["cut out", "zeros", "noise"])
def test_flac_goes_on_after_damage_where_it_was_said(at, size, kind):
    whole = encoded("FLAC", "PCM_16", voice(25, RATE, seed=5), RATE)
    data = bytearray(whole)
    start = int(at * len(data))
    data[start : start + size] = {
        "cut out": b"", "zeros": bytes(size), "noise": np.random.default_rng(0).bytes(size)
    }[kind]  # fmt: skip
    found, expected = audio.decode(bytes(data)), audio.decode(whole)
    assert found.samples.shape == expected.samples.shape
    differs = np.flatnonzero(found.samples[0] != expected.samples[0])
    # A frame has 4,096 samples, and a damaged one may cost the next.
    lost_s = 25 * size / len(whole) + 3 * 4096 / RATE
    assert (differs[-1] - differs[0]) / RATE < lost_s
    assert re.fullmatch(
        r"damaged: \d+\.\d s could not be decoded and are silent", found.facts.remark
    )


def test_flac_written_to_a_pipe_is_read_to_its_end():
    data = bytearray(encoded("FLAC", "PCM_16", np.tile(FIRST, 7), RATE))
    whole = audio.decode(bytes(data)).samples
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    found = audio.decode(bytes(data))
    assert found.samples.shape[1] > whole.shape[1] - 512
    np.testing.assert_array_equal(found.samples, whole[:, : found.samples.shape[1]])
    assert found.facts.remark is None


def test_flac_with_an_impossible_length_is_read():
    data = bytearray(encoded("FLAC", "PCM_16", FIRST, RATE))
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    assert seconds_of(bytes(data)) == pytest.approx(2, abs=0.1)


def test_damaged_flac_ends_where_nothing_follows():
    data = bytearray(encoded("FLAC", "PCM_16", np.tile(FIRST, 10), RATE))
    start = len(data) * 2 // 5
    data[start:] = np.random.default_rng(0).bytes(len(data) - start)
    found = audio.decode(bytes(data))
    assert 7 < found.facts.duration_s < 9
    assert found.facts.remark.startswith(f"cut: {found.facts.duration_s:.1f} of 20.0 s are there")
    assert "damaged: decoding failed after" in found.facts.remark
    assert found.facts.remark.endswith(audio.LESS_THAN_HALF)


@pytest.mark.parametrize(("share", "is_unsure"), [(0.4, True), (0.6, False)])
@pytest.mark.parametrize("subtype", ["PCM_16", "GSM610"])
def test_less_than_half_is_said(share, is_unsure, subtype):
    data = encoded("WAV", subtype, np.tile(FIRST, 5), RATE)
    remark = remark_of(data[: int(share * len(data))])
    assert remark.startswith("cut: ")
    assert remark.endswith(audio.LESS_THAN_HALF) == is_unsure


def test_bytes_that_are_not_read_count_as_missing():
    first = encoded("WAV", "PCM_16", SECOND, RATE)
    other = encoded("WAV", "PCM_16", FIRST, 16_000)
    assert remark_of(first + other).endswith(audio.LESS_THAN_HALF)
    assert not remark_of(other + first).endswith(audio.LESS_THAN_HALF)
