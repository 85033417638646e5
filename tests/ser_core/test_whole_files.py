"""Files that hold more, or less, than their header says: parts, sizes, damage, scale."""

from __future__ import annotations

import io
import re
import struct
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_core import audio
from ser_core.audio import mpeg
from ser_core.audio.views import View
from ser_core.errors import AudioError, SerError
from tests.av_files import AudioTrack, make
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


def test_damaged_flac_ends_at_the_damage_with_a_remark():
    data = bytearray(encoded("FLAC", "PCM_16", np.tile(FIRST, 10), RATE))
    data[len(data) * 2 // 5 :][:3000] = b""
    start = len(data) * 2 // 5
    data[start : start + 3_000] = np.random.default_rng(0).bytes(3_000)
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


# Codecs that libsndfile does not know


def unknown_codec(chunks: bytes) -> bytes:
    """A WAV with G.726 (4 bits) behind other chunks."""
    bits = np.random.default_rng(0).integers(0, 256, 8_000, dtype=np.uint8).tobytes()
    format = struct.pack("<HHIIHHH", 0x0045, 1, RATE, RATE // 2, 1, 4, 0)
    body = b"WAVE" + chunks + b"fmt " + struct.pack("<I", len(format)) + format
    body += b"data" + struct.pack("<I", len(bits)) + bits
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "chunks", [b"", b"JUNK" + struct.pack("<I", 28) + bytes(28), b"bext\x5a\2\0\0" + bytes(602)]
)
def test_a_codec_that_only_ffmpeg_knows(chunks, monkeypatch):
    data = unknown_codec(chunks)
    if pytest.importorskip("av"):
        found = audio.decode(data)
        assert (found.facts.codec, found.rate) == ("g726", RATE)
        assert found.facts.duration_s == pytest.approx(2)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"unsupported_format: .*G\.726 .*ser-pipeline\[av\]"):
        audio.decode(data)


def test_a_chunk_before_the_format_is_walked():
    data = encoded("WAV", "ULAW", FIRST, RATE)
    junk = b"JUNK" + struct.pack("<I", 28) + bytes(28)
    np.testing.assert_array_equal(
        audio.decode(data[:12] + junk + data[12:]).samples, audio.decode(data).samples
    )


# Files without a header


@pytest.mark.parametrize(
    ("codec", "subtype", "endian", "channels"),
    [
        ("mulaw", "ULAW", "FILE", 2),
        ("alaw", "ALAW", "FILE", 1),
        ("pcm_s16", "PCM_16", "LITTLE", 2),
        ("pcm_s16be", "PCM_16", "BIG", 1),
        ("pcm_s24", "PCM_24", "LITTLE", 1),
        ("pcm_u8", "PCM_U8", "FILE", 2),
        ("pcm_f32", "FLOAT", "LITTLE", 1),
        ("adpcm_oki", "VOX_ADPCM", "FILE", 1),
    ],
)
def test_raw(codec, subtype, endian, channels):
    samples = np.stack([FIRST, -0.5 * FIRST], axis=1)[:, :channels]
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 6_000, subtype, endian, "RAW")
    raw = audio.RawFormat.parse(f"ext=bin, codec={codec}, rate=6000, channels={channels}")
    found = audio.decode(buffer.getvalue(), "s3://calls/A.BIN", raw=[raw])
    assert (found.rate, found.facts.channels, found.facts.codec) == (6_000, channels, codec)
    error = found.samples[:, : len(samples)] - samples.T
    assert decibels(error, samples) < -10
    assert audio.RawFormat.of_row("A.BIN", codec, 6_000, channels) == (raw,)


def test_raw_without_an_extension_is_for_all_headerless_files():
    data = encoded("RAW", "ULAW", FIRST, RATE)
    raw = [audio.RawFormat.parse("codec=mulaw,channels=2")]
    for uri in ("a.ulaw", "a.raw", "a.pcm", "a.vox"):
        assert audio.decode(data, uri, raw=raw).samples.shape == (2, RATE)
    with pytest.raises(AudioError, match="unsupported_format"):
        audio.decode(data, "a.txt", raw=raw)
    # A header counts for more.
    assert audio.decode(encoded("WAV", "ULAW", FIRST, RATE), "a.raw", raw=raw).samples.shape == (
        1, 2 * RATE,
    )  # fmt: skip


def test_a_headerless_file_needs_the_option():
    with pytest.raises(AudioError, match=r"unsupported_format: .*--raw ext=vox,codec="):
        audio.decode(encoded("RAW", "VOX_ADPCM", FIRST, RATE), "a.vox")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate=8000", "no codec found, codec= with one of pcm_u8"),
        ("codec=opus", "codec 'opus' found, one of"),
        ("codec=mulaw,rate=fast", "rate=fast found, a whole number expected"),
        ("codec=mulaw,rate=0", "rate_hz=0 found, at least 1 expected"),
        ("codec=gsm,channels=2", "2 channels of gsm found, 1 expected"),
        ("mulaw", "'mulaw' found, codec=, rate=, channels= or ext= expected"),
        ("codec=mulaw,codec=alaw", "'codec=alaw' found"),
    ],
)
def test_mistakes_in_raw(text, message):
    with pytest.raises(SerError, match=message):
        audio.RawFormat.parse(text)


# Scale


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("whole_numbers", [True, False])
@pytest.mark.parametrize("level_db", [0, -30])
def test_integers_in_floating_point_are_scaled(bits, whole_numbers, level_db):
    quiet_start = np.concatenate([np.zeros(12 * RATE), FIRST / np.abs(FIRST).max()])
    scaled = quiet_start * 10 ** (level_db / 20) * (2.0 ** (bits - 1) - 1)
    data = encoded("WAV", "DOUBLE", np.round(scaled) if whole_numbers else scaled, RATE)
    found = audio.decode(data)
    expected = scaled / 2.0 ** (bits - 1)
    assert np.abs(found.samples[0] - expected).max() < 1e-4
    assert found.facts.remark.endswith(f" are read as integers of {bits} bits")


@pytest.mark.parametrize("value", [1e37, 100.0, -1e5, 5.0])
def test_a_few_samples_out_of_range_are_no_integers(value):
    samples = FIRST.astype(np.float64)
    samples[9_000:9_010] = value
    with pytest.raises(AudioError, match="out_of_range: samples up to"):
        audio.decode(encoded("WAV", "DOUBLE", samples, RATE))


def test_overshoot_is_clipped():
    loud = 1.3 * FIRST / np.abs(FIRST).max()
    found = audio.decode(encoded("WAV", "FLOAT", loud, RATE))
    np.testing.assert_array_equal(found.samples[0], np.clip(loud, -1, 1))
    assert found.facts.remark is None
    square = np.sign(np.sin(np.arange(2 * RATE) / 7)).astype(np.float32)
    for format, subtype in (("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("OGG", "OPUS")):
        data = encoded(format, subtype, square, RATE)
        assert np.abs(soundfile.read(io.BytesIO(data))[0]).max() > 1
        assert np.abs(audio.decode(data).samples).max() == 1


# Views


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_view_is_its_spans_joined(data):
    content = data.draw(st.binary(min_size=1, max_size=60))
    edge = st.integers(0, len(content))
    spans = [tuple(sorted(data.draw(st.tuples(edge, edge)))) for _ in range(3)]
    expected = bytearray(b"".join(content[start:end] for start, end in spans))
    patches = {}
    if len(expected) > 4:
        at = data.draw(st.integers(0, len(expected) - 4))
        patches = {at: b"\xff" * 4}
        expected[at : at + 4] = b"\xff" * 4
    view = View(io.BytesIO(content), spans, patches)
    at = data.draw(st.integers(0, len(expected)))
    length = data.draw(st.integers(0, 70))
    assert view.read() == expected
    view.seek(at)
    assert view.read(length) == expected[at : at + length]
    assert view.tell() == min(len(expected), at + length)
    assert view.seek(0, 2) == view.size == len(expected)


# Formats of FFmpeg


def amr(samples) -> bytes:
    return make("amr", AudioTrack(samples[None], RATE, "libopencore_amrnb"))


@settings(max_examples=15, deadline=None)
@given(st.floats(0.02, 0.9), st.integers(1, 900), st.sampled_from(["cut out", "zeros", "noise"]))
def test_amr_goes_on_after_damage(at, length, kind):
    data = bytearray(amr(np.tile(FIRST, 5)))
    start = 6 + int(at * (len(data) - 1_000))
    random = np.random.default_rng(length)
    data[start : start + length] = {
        "cut out": b"", "zeros": bytes(length), "noise": random.bytes(length)
    }[kind]  # fmt: skip
    found = audio.decode(bytes(data))
    # Frames of 20 ms take at most 32 bytes; what follows damage is believed after some of them.
    assert 10 - (length / 13 + 4) * 0.02 - 0.1 < found.facts.duration_s < 10.1
    if found.facts.duration_s < 9.5 and kind != "cut out":
        assert found.facts.remark.startswith("damaged: ")


def test_amr_and_what_is_appended_to_it():
    one = amr(FIRST)
    garbage = np.random.default_rng(0).bytes(5_000)
    assert seconds_of(one + one) == pytest.approx(4, abs=0.1)
    assert remark_of(one + one) is None
    found = audio.decode(one + garbage)
    assert found.facts.duration_s == pytest.approx(2, abs=0.1)
    assert re.fullmatch(r"[45],\d\d\d bytes from byte [\d,]+ on are not read.*", found.facts.remark)
    wav = encoded("WAV", "PCM_16", SECOND, RATE)
    assert seconds_of(one + wav) == pytest.approx(3.5, abs=0.1)


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("mp4", "aac", RATE),
        ("matroska", "flac", RATE),
        ("asf", "wmav2", RATE),
        ("adts", "aac", RATE),
    ],
)
def test_files_of_ffmpeg_appended_to_one_another(container, codec, rate):
    one = make(container, AudioTrack(FIRST[None], rate, codec))
    alone = seconds_of(one)
    assert seconds_of(one + one) == pytest.approx(2 * alone, abs=0.1)
    if container != "adts":  # which is damaged there, as far as FFmpeg knows
        wav = encoded("WAV", "PCM_16", SECOND, rate)
        assert seconds_of(one + wav) == pytest.approx(alone + 1.5, abs=0.1)


@pytest.mark.parametrize("format", ["W64", "CAF", "AU"])
def test_a_cut_file_of_a_known_size_is_told(format):
    data = encoded(format, "PCM_16", FIRST, RATE)
    found = audio.decode(data[: len(data) * 4 // 10])
    assert found.facts.remark == (
        f"cut: {len(data) - len(data) * 4 // 10:,} bytes are missing at the end; "
        + audio.LESS_THAN_HALF
    )


def test_a_cut_wma_is_told():
    data = make("asf", AudioTrack(np.tile(FIRST, 4)[None], RATE, "wmav2"))
    assert remark_of(data) is None
    assert re.search(r"cut: [\d,]+ bytes are missing", remark_of(data[: len(data) * 2 // 3]))


def test_g726_is_read_whatever_the_byte_rate_is():
    data = bytearray(unknown_codec(b""))
    expected = audio.decode(bytes(data)).samples
    at = data.index(b"fmt ") + 16
    data[at : at + 4] = struct.pack("<I", 2_000)
    np.testing.assert_array_equal(audio.decode(bytes(data)).samples, expected)


def test_a_headerless_file_ends_where_a_wav_begins():
    raw = encoded("RAW", "ULAW", FIRST, RATE)
    found = audio.decode(raw + encoded("WAV", "ULAW", SECOND, RATE), "a.ulaw")
    expected = audio.decode(encoded("WAV", "ULAW", np.concatenate([FIRST, SECOND]), RATE)).samples
    np.testing.assert_array_equal(found.samples, expected)
