"""Codecs, headerless files, the scale of samples, damaged and joined files of FFmpeg."""

from __future__ import annotations

import functools
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
from ser_core.audio.views import View
from ser_core.errors import AudioError, SerError
from tests.av_files import AudioTrack, make
from tests.ser_core.test_audio import encoded
from tests.ser_core.test_whole_files import (
    FIRST,
    RATE,
    SECOND,
    decibels,
    remark_of,
    seconds_of,
)

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


@functools.cache
def amr(repeated: int) -> bytes:
    samples = np.tile(FIRST, repeated)
    return make("amr", AudioTrack(samples[None], RATE, "libopencore_amrnb"))


@settings(max_examples=15, deadline=None)
@given(st.floats(0.02, 0.9), st.integers(1, 900), st.sampled_from(["cut out", "zeros", "noise"]))
def test_amr_goes_on_after_damage(at, length, kind):
    data = bytearray(amr(5))
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
    one = amr(1)
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
