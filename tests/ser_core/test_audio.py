"""Decoding: all formats, all reasons, cut files, blocks."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_core import audio
from ser_core.errors import AudioError
from tests.bad_files import make_bad_files

RATE = 16_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE)).astype(np.float32)

# name, libsndfile's format and subtype, our codec, signal-to-error ratio in dB at least
FORMATS = [
    ("a.wav", "WAV", "PCM_U8", "pcm_u8", 35),
    ("a.wav", "WAV", "PCM_16", "pcm_s16", 80),
    ("a.wav", "WAV", "PCM_24", "pcm_s24", 100),
    ("a.wav", "WAV", "PCM_32", "pcm_s32", 100),
    ("a.wav", "WAV", "FLOAT", "pcm_f32", 120),
    ("a.wav", "WAV", "ULAW", "mulaw", 30),
    ("a.wav", "WAV", "ALAW", "alaw", 30),
    ("a.wav", "WAV", "GSM610", "gsm", 5),
    ("a.wav", "WAV", "IMA_ADPCM", "adpcm_ima", 20),
    ("a.wav", "WAV", "MS_ADPCM", "adpcm_ms", 20),
    ("a.flac", "FLAC", "PCM_16", "pcm_s16", 80),
    ("a.ogg", "OGG", "VORBIS", "vorbis", 10),
    ("a.opus", "OGG", "OPUS", "opus", 5),
    ("a.mp3", "MP3", "MPEG_LAYER_III", "mp3", 0),
    ("a.aiff", "AIFF", "PCM_16", "pcm_s16", 80),
]


def encoded(format: str, subtype: str, samples=TONE, rate=RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, subtype=subtype)
    return buffer.getvalue()


def reason_of(data: bytes, uri: str = "a.wav", **limits) -> str:
    with pytest.raises(AudioError) as caught:
        audio.decode(data, uri, limits=audio.Limits(**limits))
    assert caught.value.uri == uri
    assert caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize(("uri", "format", "subtype", "codec", "snr_db"), FORMATS)
def test_format(uri, format, subtype, codec, snr_db):
    found = audio.decode(encoded(format, subtype), uri)
    assert (found.rate, found.facts.channels, found.facts.codec) == (RATE, 1, codec)
    assert found.samples.dtype == np.float32
    assert found.facts.duration_s == pytest.approx(3, abs=0.15)
    assert found.facts.remark is None
    # Codecs delay: compare where they line up best.
    length = min(found.samples.shape[1], len(TONE)) - 4000
    error = min(
        np.mean((found.samples[0, lag : lag + length] - TONE[:length]) ** 2)
        for lag in (range(2400) if snr_db < 20 else [0])
    )
    assert 10 * np.log10(np.mean(TONE**2) / (error + 1e-20)) > snr_db


@pytest.mark.parametrize(
    ("extension", "subtype", "codec"),
    [(".ulaw", "ULAW", "mulaw"), (".alaw", "ALAW", "alaw"), (".gsm", "GSM610", "gsm")],
)
def test_headerless(extension, subtype, codec):
    data = encoded("RAW", subtype, TONE[::2], 8_000)
    found = audio.decode(data, "s3://calls/A" + extension.upper())
    assert (found.rate, found.facts.channels, found.facts.codec) == (8_000, 1, codec)
    assert found.facts.duration_s == pytest.approx(3, abs=0.1)


def test_a_container_counts_for_more_than_a_headerless_extension():
    found = audio.decode(encoded("WAV", "PCM_16"), "a.ulaw")
    assert (found.rate, found.facts.codec) == (RATE, "pcm_s16")


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "aac"), ("asf", "wmav2"), ("matroska", "ac3")]
)
def test_other_formats_through_pyav(container, codec, monkeypatch):
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=48_000, layout="mono")
        stream.bit_rate = 64_000
        tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000 * 3) / 48_000)).astype(np.float32)
        for start in range(0, len(tone), 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], "fltp", "mono")
            frame.rate, frame.pts = 48_000, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    found = audio.decode(buffer.getvalue(), "a.bin")
    assert (found.rate, found.facts.channels) == (48_000, 1)
    assert found.facts.duration_s == pytest.approx(3, abs=0.2)
    spectrum = np.abs(np.fft.rfft(found.samples[0, 9_600:57_600]))
    assert spectrum.argmax() == pytest.approx(440, abs=2)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"unsupported_format.*ser-pipeline\[av\]"):
        audio.decode(buffer.getvalue(), "a.bin")


def test_stereo_keeps_its_channels():
    both = np.stack([TONE, np.zeros_like(TONE)], axis=1)
    found = audio.decode(encoded("WAV", "PCM_16", both))
    assert found.samples.shape == (2, len(TONE))
    assert np.abs(found.samples[1]).max() == 0
    assert found.facts.snr_db[1] is None
    assert found.facts.bandwidth_hz[1] is None


def test_bad_files_give_their_reasons(tmp_path):
    for name, reason in make_bad_files(tmp_path).items():
        with pytest.raises(AudioError) as caught, audio.open(tmp_path / name) as stream:
            list(stream.blocks())
        assert (name, caught.value.reason) == (name, reason)
        assert str(tmp_path / name) in str(caught.value)


def test_limits():
    data = encoded("WAV", "PCM_16")
    assert reason_of(data, max_duration_s=2.0) == "too_long"
    assert reason_of(data, max_bytes=1000) == "too_large"
    assert reason_of(encoded("WAV", "PCM_16", np.zeros((99, 3))), max_channels=2) == (
        "too_many_channels"
    )
    # A stream that does not say how long it is, is stopped when it is.
    assert reason_of(encoded("MP3", "MPEG_LAYER_III"), "a.mp3", max_duration_s=1.0) == "too_long"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_without_permission(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded("WAV", "PCM_16"))
    path.chmod(0)
    with pytest.raises(AudioError, match="unreadable: Permission denied"):
        audio.open(path)


@pytest.mark.parametrize("name", ["missing.wav", "."])
def test_unreadable(tmp_path, name):
    with pytest.raises(AudioError, match="unreadable"):
        audio.open(tmp_path / name)


@pytest.mark.parametrize(
    ("format", "subtype", "is_remarked"),
    [
        ("WAV", "PCM_16", True),
        ("WAV", "ULAW", True),
        ("WAV", "GSM610", True),
        ("AIFF", "PCM_16", True),
        ("MP3", "MPEG_LAYER_III", True),
        ("FLAC", "PCM_16", True),
        ("OGG", "OPUS", False),
    ],
)
def test_cut_files_are_labelled_by_what_is_there(format, subtype, is_remarked):
    noise = 0.1 * np.random.default_rng(0).standard_normal(20 * RATE)
    data = encoded(format, subtype, noise)
    found = audio.decode(data[: len(data) // 2], "a")
    assert 5 < found.facts.duration_s < 11
    if is_remarked:
        assert found.facts.remark.startswith(f"cut: {found.facts.duration_s:.1f} of 20")
    else:
        assert found.facts.remark is None


@pytest.mark.parametrize("promise", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000])
def test_headers_written_to_a_pipe_are_normal(promise):
    data = bytearray(encoded("WAV", "PCM_16"))
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", promise)
    data[4:8] = struct.pack("<I", min(promise + 36, 0xFFFFFFFF))
    found = audio.decode(bytes(data))
    assert found.samples.shape == (1, len(TONE))
    assert found.facts.remark is None
    np.testing.assert_array_equal(found.samples, audio.decode(encoded("WAV", "PCM_16")).samples)


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "ULAW"), ("FLAC", "PCM_16")])
def test_blocks_are_the_whole(tmp_path, format, subtype):
    noise = 0.1 * np.random.default_rng(0).standard_normal((25 * RATE, 2))
    path = tmp_path / "a.bin"
    path.write_bytes(encoded(format, subtype, noise))
    with audio.open(path) as stream:
        blocks = list(stream.blocks())
        facts = stream.facts
    assert [block.shape[1] for block in blocks] == [10 * RATE, 10 * RATE, 5 * RATE]
    whole = audio.decode(path.read_bytes(), str(path))
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole.samples)
    assert facts == whole.facts


def test_clipping_is_the_share_of_samples_at_full_scale():
    samples = np.zeros(1000)
    samples[:50], samples[50:60] = 1.0, -1.0
    for subtype in ("PCM_16", "ULAW", "ALAW"):
        found = audio.decode(encoded("WAV", subtype, samples, 8_000))
        assert found.facts.clipping_ratio == (0.06,)


@pytest.mark.parametrize("edge_hz", [1_000, 3_400, 6_000])
def test_bandwidth_of_low_passed_noise(edge_hz):
    import scipy.signal

    noise = np.random.default_rng(0).standard_normal(10 * RATE)
    low = scipy.signal.sosfilt(
        scipy.signal.ellip(12, 0.1, 90, edge_hz, fs=RATE, output="sos"), noise
    )
    found = audio.decode(encoded("WAV", "PCM_24", 0.1 * low))
    assert found.facts.bandwidth_hz[0] == pytest.approx(edge_hz, abs=200)


@pytest.mark.parametrize("snr_db", [10.0, 20.0, 40.0])
def test_snr_of_bursts_over_noise(snr_db):
    random = np.random.default_rng(0)
    noise = 10 ** (-60 / 20) * random.standard_normal(20 * RATE)
    bursts = np.where(np.arange(len(noise)) // RATE % 2 == 0, 10 ** (snr_db / 20), 1.0)
    found = audio.decode(encoded("WAV", "PCM_24", noise * bursts))
    assert found.facts.snr_db[0] == pytest.approx(snr_db, abs=1.5)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["a.wav", "a.mp3", "a.ogg", "a.flac", "a.ulaw"]))
def test_any_bytes_give_audio_or_a_reason(data, uri):
    _decodes_or_says_why(data, uri)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([("WAV", "PCM_16"), ("WAV", "GSM610"), ("AIFF", "PCM_16"), ("FLAC", "PCM_16")]),
    st.data(),
)
def test_damaged_bytes_give_audio_or_a_reason(kind, data):
    whole = bytearray(encoded(*kind, TONE[:2000]))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, min(len(whole) - 1, 200)))
        whole[at] = data.draw(st.integers(0, 255))
    _decodes_or_says_why(bytes(whole[: data.draw(st.integers(0, len(whole)))]), "a.wav")


def _decodes_or_says_why(data, uri):
    with contextlib.suppress(AudioError):  # any other error is a failure
        found = audio.decode(data, uri)
        assert found.samples.shape[1] > 0
        assert np.isfinite(found.samples).all()


def test_importing_is_light():
    code = (
        "import sys, ser_core.audio, ser_core.examine, ser_core.guarded; "
        "assert not {'tensorflow', 'keras', 'apache_beam', 'librosa'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
