"""Recordings that FFmpeg reads: tracks, gaps, changes in the middle, damage."""

from __future__ import annotations

import io

import numpy as np
import pytest

from ser_core import audio
from ser_core.errors import AudioError
from ser_core.examine import Roles, Settings, Source, examine
from tests.av_files import AudioTrack, make
from tests.speechlike import call, voice

RATE = 16_000
AGENT = call([(1, 4, -20)], 8, RATE)
CUSTOMER = call([(4.5, 7, -20)], 8, RATE, seed=3)
# FFmpeg's name of a container, and a codec that it holds.
CONTAINERS = [("matroska", "aac"), ("webm", "libopus"), ("mp4", "aac"), ("mov", "alac")]
MORE_CONTAINERS = [*CONTAINERS, ("asf", "wmav2"), ("mpegts", "aac"), ("matroska", "flac")]


def decoded(data: bytes, **limits) -> audio.Audio:
    return audio.decode(data, "a.bin", limits=audio.Limits(**limits))


def spoken(samples: np.ndarray, rate: int, level: float = 0.02) -> list[tuple[float, float]]:
    """Stretches louder than a level, in seconds, to a tenth of a second."""
    hop = rate // 20
    loud = np.sqrt(np.mean(samples[: len(samples) // hop * hop].reshape(-1, hop) ** 2, 1)) > level
    # Syllables end in pauses of less than half a second.
    at = np.flatnonzero(loud)
    ends = np.flatnonzero(np.diff(at) > 10)
    starts = [at[0], *at[ends + 1]]
    return [
        (round(start / 20, 1), round((end + 1) / 20, 1))
        for start, end in zip(starts, [*at[ends], at[-1]], strict=True)
    ]


def near(found, expected, abs_s: float = 0.2) -> bool:
    return np.shape(found) == np.shape(expected) and np.allclose(found, expected, atol=abs_s)


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
@pytest.mark.parametrize("interleaved", [True, False])
def test_mono_tracks_are_channels_in_their_order(container, codec, interleaved):
    tracks = [AudioTrack(side[None], RATE, codec) for side in (AGENT, CUSTOMER)]
    found = decoded(make(container, *tracks, interleaved=interleaved))
    assert (found.facts.channels, found.facts.remark) == (2, None)
    assert found.facts.duration_s == pytest.approx(8, abs=0.1)
    assert near(spoken(found.samples[0], found.rate), [(1, 4)])
    assert near(spoken(found.samples[1], found.rate), [(4.5, 7)])
    swapped = decoded(make(container, *reversed(tracks), interleaved=interleaved))
    assert near(spoken(swapped.samples[0], found.rate), [(4.5, 7)])


@pytest.mark.parametrize("container", ["matroska", "mp4"])
def test_a_stereo_track_keeps_its_channels_and_pictures_are_ignored(container):
    found = decoded(make(container, AudioTrack(np.stack([AGENT, CUSTOMER]), RATE), video=True))
    assert (found.facts.channels, found.facts.remark) == (2, None)
    assert near(spoken(found.samples[1], found.rate), [(4.5, 7)])


@pytest.mark.parametrize(
    ("channels", "message"),
    [((1, 1, 2), "3 audio tracks: mono, mono, stereo"), ((2, 2), "2 audio tracks: stereo, stereo")],
)
def test_tracks_that_are_not_all_mono_are_refused(channels, message):
    tracks = [AudioTrack(np.stack([AGENT] * count), RATE) for count in channels]
    with pytest.raises(AudioError, match=f"channel_roles_unknown: {message}"):
        decoded(make("matroska", *tracks))


def test_tracks_of_other_rates_starts_and_lengths_are_aligned():
    agent = AudioTrack(call([(1, 4, -20)], 5, 8_000)[None], 8_000)
    customer = AudioTrack(call([(0.5, 3, -20)], 4, 48_000)[None], 48_000, start_s=4.0)
    found = decoded(make("matroska", agent, customer))
    assert (found.rate, found.facts.channels, found.facts.remark) == (48_000, 2, None)
    assert found.facts.duration_s == pytest.approx(8, abs=0.2)
    assert near(spoken(found.samples[0], found.rate), [(1, 4)])
    assert near(spoken(found.samples[1], found.rate), [(4.5, 7)])
    assert np.abs(found.samples[1, : 4 * found.rate - 8_000]).max() == 0


def test_roles_apply_to_tracks(tmp_path):
    sides = [AudioTrack(side[None], RATE) for side in (AGENT, CUSTOMER)]
    for name, tracks in (("two.mka", sides), ("three.mka", [*sides, sides[0]])):
        (tmp_path / name).write_bytes(make("matroska", *tracks))

    def examined(name, *roles):
        settings = Settings("test_simple", channel_roles=roles)
        return examine(tmp_path / name, Source(name, 1, 1), settings)

    found = examined("two.mka", "agent", "customer")
    assert found.reason is None
    assert {segment.role for segment in found.segments} == {"customer"}
    assert near([(s.start_s, s.end_s) for s in found.segments], [(4.5, 7)], 0.4)
    found = examined("two.mka")
    assert (found.reason, found.detail) == (
        "channel_roles_unknown",
        "2 audio tracks, and --channel-roles was not given",
    )
    found = examined("three.mka", "agent", "customer")
    assert found.reason == "channel_roles_unknown"
    assert found.detail.startswith("3 audio tracks, and --channel-roles names 2")


@pytest.mark.parametrize("count", [8, 16])
def test_many_channels_in_planes(count):
    samples = np.stack([AGENT[:RATE] * (i + 1) / count for i in range(count)])
    found = decoded(make("matroska", AudioTrack(samples, RATE, "wavpack")), max_channels=count)
    np.testing.assert_allclose(found.samples, samples, atol=0.005)


def test_too_many_tracks():
    tracks = [AudioTrack(AGENT[None, :RATE], RATE)] * 33
    with pytest.raises(AudioError, match="too_many_channels: 33 audio tracks"):
        decoded(make("matroska", *tracks))


@pytest.mark.parametrize(("container", "codec"), MORE_CONTAINERS)
def test_a_gap_is_filled_with_silence(container, codec):
    talk = call([(1, 4, -20), (9, 12, -20)], 14, RATE)[None]
    whole = decoded(make(container, AudioTrack(talk, RATE, codec)))
    assert whole.facts.remark is None
    found = decoded(make(container, AudioTrack(talk, RATE, codec, gaps=[(5, 8)])))
    assert found.facts.duration_s == pytest.approx(whole.facts.duration_s, abs=0.2)
    assert found.facts.remark in {
        f"gaps: {seconds} s without data were filled with silence" for seconds in (2.9, 3.0, 3.1)
    }
    assert near(spoken(found.samples[0], found.rate), [(1, 4), (9, 12)])
    assert np.abs(found.samples[0, 6 * found.rate : 7 * found.rate]).max() < 1e-3


def test_silence_in_gaps_is_not_held_against_a_recording():
    # A container whose header declares no duration.
    talk = AudioTrack(AGENT[None], RATE, gaps=[(4.5, 7.5)])
    assert decoded(make("mpegts", talk), max_duration_s=6).facts.duration_s > 7
    with pytest.raises(AudioError, match="too_long"):
        decoded(make("mpegts", talk), max_duration_s=4)


def adts(samples: np.ndarray, rate: int = RATE) -> bytes:
    return make("adts", AudioTrack(np.atleast_2d(samples), rate))


def test_mono_that_becomes_stereo_is_mixed_into_one_voice():
    both = np.stack([voice(2, RATE), 0.5 * voice(2, RATE, seed=1)])
    found = decoded(adts(AGENT) + adts(both))
    assert found.facts.channels == 1
    assert found.facts.duration_s == pytest.approx(10, abs=0.3)
    assert found.facts.remark.startswith("2 channels instead of 1, mixed into one (2.")
    mixed, alone = found.samples[0, -RATE:], decoded(adts(both)).samples[:, -RATE:]
    np.testing.assert_allclose(mixed, alone.mean(axis=0), atol=1e-2)


def test_a_customer_whose_channel_is_mixed_later_is_no_customer(tmp_path):
    path = tmp_path / "c1-customer.aac"
    settings = Settings("test_simple")
    for data, role in ((adts(CUSTOMER), "customer"), (adts(CUSTOMER) + adts([AGENT] * 2), "mixed")):
        path.write_bytes(data)
        found = examine(path, Source(path.name, 1, 1), settings, roles=Roles(mono="customer"))
        assert found.reason is None
        assert {segment.role for segment in found.segments} == {role}


def test_stereo_that_becomes_mono_is_left_out_there():
    found = decoded(adts(np.stack([AGENT, CUSTOMER])) + adts(voice(2, RATE)) + adts([AGENT] * 2))
    assert found.facts.channels == 2
    assert found.facts.duration_s == pytest.approx(18, abs=0.4)
    assert found.facts.remark.startswith("1 channel instead of 2, left out (2.")
    assert near(spoken(found.samples[0], RATE), [(1, 4), (11.2, 14.2)], 0.3)
    assert near(spoken(found.samples[1], RATE), [(4.5, 7), (11.2, 14.2)], 0.3)


def test_what_is_mostly_left_out_is_said_to_be_unsure():
    found = decoded(adts(np.stack([AGENT, CUSTOMER])[:, : 2 * RATE]) + adts(AGENT))
    assert found.facts.remark.endswith(audio.LESS_THAN_HALF)


def test_a_change_of_rate_is_followed():
    tone = (0.3 * np.sin(2 * np.pi * 500 * np.arange(4 * RATE) / RATE)).astype(np.float32)
    found = decoded(adts(tone) + adts(tone[: 2 * RATE : 2], RATE // 2) + adts(tone))
    assert found.rate == RATE
    assert found.facts.duration_s == pytest.approx(10, abs=0.5)
    assert "the sample rate changes from 16,000 to 8,000 Hz at 4." in found.facts.remark
    for start_s in (1, 5, 8):
        spectrum = np.abs(np.fft.rfft(found.samples[0, start_s * RATE :][: RATE // 2]))
        assert 2 * spectrum.argmax() == pytest.approx(500, abs=4)


@pytest.mark.parametrize(
    ("container", "codec"),
    [("matroska", "aac"), ("mp4", "aac"), ("mov", "alac"), ("mpegts", "aac"), ("asf", "wmav2")],
)
@pytest.mark.parametrize("filler", ["zeros", "noise"])
def test_damage_in_the_middle_costs_what_is_damaged(container, codec, filler):
    talk = call([(1, 8, -20), (22, 28, -20)], 30, RATE)[None]
    data = bytearray(make(container, AudioTrack(talk, RATE, codec)))
    start, end = int(0.45 * len(data)), int(0.5 * len(data))
    noise = np.random.default_rng(0).bytes(end - start)
    data[start:end] = noise if filler == "noise" else bytes(end - start)
    found = decoded(bytes(data))
    assert found.facts.duration_s == pytest.approx(30, abs=0.5)
    assert "damaged" in found.facts.remark or "gaps" in found.facts.remark
    at_s = [span for span in spoken(found.samples[0], found.rate) if span[1] - span[0] > 1]
    assert near(at_s[-1], (22, 28), 0.5)


def test_bytes_between_frames_are_told():
    data, junk = adts(AGENT), bytes(5000)
    found = decoded(data[: len(data) // 2] + junk + data[len(data) // 2 :])
    assert found.facts.duration_s == pytest.approx(8, abs=0.3)
    assert "damaged: " in found.facts.remark


def test_a_file_that_lost_its_index_is_corrupt():
    data = make("mp4", AudioTrack(AGENT[None], RATE))
    with pytest.raises(AudioError, match="corrupt: MP4"):
        decoded(data[: len(data) // 2])


def test_a_cut_file_is_remarked():
    data = make("matroska", AudioTrack(AGENT[None], RATE))
    found = decoded(data[: 3 * len(data) // 4])
    assert found.facts.remark.startswith("cut: 6.")
    assert found.facts.remark.endswith(" of 8.1 s are there")


def test_memory_of_tracks_that_are_not_interleaved_is_bounded():
    minute = np.tile(AGENT, 8)
    data = make("mp4", *[AudioTrack(minute[None], RATE)] * 2, interleaved=False)
    with audio.open(io.BytesIO(data), "a.mp4") as stream:
        blocks = [block.shape for block in stream.blocks()]
    assert max(shape[1] for shape in blocks) <= 10 * RATE
    assert sum(shape[1] for shape in blocks) == pytest.approx(64 * RATE, abs=RATE)


def fragments(missing: range = range(0), damaged: int | None = None) -> bytes:
    """A call written in pieces of a second, each a file with both tracks, as streams are kept."""
    sides = AGENT, CUSTOMER
    files = []
    for second in range(8):
        tracks = [
            AudioTrack(
                side[None, second * RATE : (second + 1) * RATE], RATE, "pcm_s16le", float(second)
            )
            for side in sides
        ]
        data = make("matroska", *tracks)
        if second == damaged:
            data = data[: len(data) // 10] + bytes(9 * len(data) // 10)
        if second not in missing:
            files.append(data)
    return b"".join(files)


def test_a_stream_that_was_written_in_pieces_is_one_recording():
    found = decoded(fragments())
    assert (found.samples.shape, found.facts.remark) == ((2, 8 * RATE), None)
    for side, samples in zip((AGENT, CUSTOMER), found.samples, strict=True):
        np.testing.assert_allclose(samples, side, atol=1e-4)


def test_a_missing_piece_of_a_stream_is_a_gap():
    found = decoded(fragments(missing=range(2, 4)))
    assert found.facts.duration_s == 8
    assert found.facts.remark == "gaps: 2.0 s between parts were filled with silence"
    assert near(spoken(found.samples[1], RATE), [(4.5, 7)])


def test_a_damaged_piece_of_a_stream_is_remarked():
    found = decoded(fragments(damaged=2))
    assert found.facts.duration_s == pytest.approx(8, abs=0.05)
    assert found.facts.remark == "gaps: 0.9 s between parts were filled with silence"
    assert near(spoken(found.samples[1], RATE), [(4.5, 7)])


def test_parts_with_other_tracks_are_left_out():
    two = [AudioTrack(side[None], RATE) for side in (AGENT, CUSTOMER)]
    stereo = AudioTrack(np.stack([CUSTOMER, AGENT]), RATE)
    found = decoded(make("matroska", *two) + make("matroska", stereo))
    assert found.facts.duration_s == pytest.approx(8, abs=0.2)
    assert "2 channels found, 16,000 Hz and 2 channels in 2 tracks expected" in found.facts.remark
