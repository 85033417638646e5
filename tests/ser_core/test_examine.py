"""One recording through `examine`: facts, roles, segments, vectors, and all reasons."""

from __future__ import annotations

import datetime as dt
import hashlib

import numpy as np
import pytest
import soundfile

from ser_core import audio, examine, features, first_pass, tables
from ser_core.errors import SerError
from ser_core.examine import Settings, Source
from ser_core.roles import Roles
from tests.bad_files import make_bad_files
from tests.speechlike import call

RATE = 8_000
AGENT = call([(0.5, 4, -20), (9, 12, -20)], 16, seed=1)
CUSTOMER = call([(5, 8, -24), (11, 15, -18)], 16, f0_hz=170, seed=9)
ROLES = Settings("test_simple", ("agent", "customer"))


def look(path, settings=ROLES):
    return examine.examine(path, Source(str(path), path.stat().st_size, 1), settings)


@pytest.fixture
def both(tmp_path):
    path = tmp_path / "both.wav"
    soundfile.write(path, np.stack([AGENT, CUSTOMER], axis=1), RATE, "ULAW")
    return path


def test_only_the_customer_is_analysed(both):
    found = look(both)
    assert found.reason is None
    assert found.recording_id == hashlib.sha256(both.read_bytes()).hexdigest()
    assert {(s.channel, s.role) for s in found.segments} == {(1, "customer")}
    assert [(c.role, c.analysed) for c in found.by_channel] == [
        ("agent", False),
        ("customer", True),
    ]
    assert found.by_channel[0].speech_s > 6
    assert found.speech_s == pytest.approx(7, abs=0.7)
    assert found.overlap_s == pytest.approx(1, abs=0.4)
    assert found.silence_s == pytest.approx(16 - 0.5 - 3 - 6.5 - 3, abs=4)
    assert [round(s.rms_db) for s in found.segments] == pytest.approx([-24, -18], abs=1.5)


def test_both_are_analysed_when_asked(both):
    found = look(both, Settings("test_simple", ("agent", "customer"), ("customer", "agent")))
    assert [s.channel for s in found.segments] == [0, 0, 1, 1]


def test_vectors_are_those_of_the_segments_samples(both):
    found = look(both)
    recording = audio.decode(both.read_bytes())
    feature_set = features.get("test_simple")
    for segment, vector in zip(found.segments, found.vectors, strict=True):
        samples = recording.samples[
            segment.channel, round(segment.start_s * RATE) : round(segment.end_s * RATE)
        ]
        np.testing.assert_array_equal(vector, feature_set.extract(samples, RATE))
        assert vector[0] == pytest.approx(segment.rms_db, abs=0.01)


def test_long_calls_are_decoded_twice_to_the_same_end(both, monkeypatch):
    once = look(both)
    monkeypatch.setattr(first_pass, "KEEP_SAMPLES_BYTES", 1000)
    monkeypatch.setattr(audio.stream, "BLOCK_S", 0.7)
    twice = look(both)
    np.testing.assert_array_equal(once.vectors, twice.vectors)
    assert once.segments == twice.segments


@pytest.mark.parametrize("name", ["telephone", "seed193", "encoder"])
@pytest.mark.parametrize("block_s", [0.7, 10.0])
def test_a_file_in_blocks_gives_the_vectors_of_its_samples(both, monkeypatch, name, block_s):
    monkeypatch.setattr(audio.stream, "BLOCK_S", block_s)
    monkeypatch.setattr(first_pass, "KEEP_SAMPLES_BYTES", 100_000)
    found = look(both, Settings(name, ("agent", "customer")))
    samples, rate = soundfile.read(both, dtype="float32")
    assert len(found.segments) > 1
    for segment, vector in zip(found.segments, found.vectors, strict=True):
        start, end = round(segment.start_s * rate), round(segment.end_s * rate)
        expected = features.get(name).extract(samples[start:end, segment.channel], rate)
        np.testing.assert_array_equal(vector, expected)


def test_roles_must_be_known(both):
    found = look(both, Settings("test_simple"))
    assert (found.reason, found.recording_id is not None) == ("channel_roles_unknown", True)
    found = look(both, Settings("test_simple", ("agent", "customer", "customer")))
    assert found.reason == "channel_roles_unknown"
    assert "2 channels" in found.detail
    assert "names 3" in found.detail


def test_mono_is_mixed_and_analysed(tmp_path):
    soundfile.write(tmp_path / "mono.wav", CUSTOMER, RATE)
    found = look(tmp_path / "mono.wav")
    assert {s.role for s in found.segments} == {"mixed"}
    assert found.overlap_s is None


@pytest.mark.parametrize("role", ["customer", "agent"])
def test_a_file_of_one_side_has_the_role_that_its_path_names(tmp_path, role):
    path = tmp_path / "side.wav"
    soundfile.write(path, CUSTOMER, RATE)
    source, roles = Source(str(path), 1, 1), Roles(mono=role)
    found = examine.examine(path, source, ROLES, roles=roles)
    (channel,) = found.by_channel
    assert (found.reason, channel.role) == (None, role)
    assert channel.speech_s > 6
    assert channel.analysed == bool(found.segments) == (role == "customer")
    assert len(found.vectors) == len(found.segments)
    if role == "agent":
        assert found.detail == "agent only: not analysed (--analyse)"
        assert (found.speech_s, found.clipping_ratio, found.snr_db) == (0, None, None)
    settings = Settings("test_simple", analyse=("customer", "agent"))
    found = examine.examine(path, source, settings, roles=roles)
    assert {segment.role for segment in found.segments} == {role}


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        (Roles(("agent", "agent")), "agent"),
        (Roles(("agent", "customer"), "agent"), "agent"),
        (Roles(("agent", "agent"), "customer"), "customer"),
        (Roles(("agent", "customer")), "mixed"),
    ],
)
def test_equal_channels_have_the_role_that_all_of_them_are_named(tmp_path, roles, role):
    soundfile.write(tmp_path / "equal.wav", np.stack([AGENT, AGENT], axis=1), RATE)
    found = examine.examine(tmp_path / "equal.wav", Source("u", 1, 1), ROLES, roles=roles)
    assert {side.role for side in found.by_channel} == {role}
    assert bool(found.segments) == (role != "agent")


def test_a_role_that_nobody_knows_is_said(tmp_path, both):
    roles = Roles((), None, "direction 'inside' found", "role 'operator' found")
    found = examine.examine(both, Source("u", 1, 1), ROLES, roles=roles)
    assert found.reason == "channel_roles_unknown"
    assert found.detail == "2 channels, and direction 'inside' found"
    soundfile.write(tmp_path / "mono.wav", CUSTOMER, RATE)
    found = examine.examine(tmp_path / "mono.wav", Source("u", 1, 1), ROLES, roles=roles)
    assert (found.reason, found.detail) == ("channel_roles_unknown", "role 'operator' found")


@pytest.mark.fault(
    "input", "Files that are no call: empty, text, damaged, too long, impossible rates, not finite",
    "each is rejected with its reason",
)  # fmt: skip
def test_bad_files_are_rejected_with_their_reason(tmp_path, tried):
    tried(len(make_bad_files(tmp_path)))
    for name, reason in make_bad_files(tmp_path).items():
        found = examine.examine(tmp_path / name, Source(name, None, None), ROLES)
        assert (name, found.reason) == (name, reason)
        assert found.detail
        assert found.speech_s is None
        assert (found.recording_id is None) == (reason == "unreadable")


def test_the_watcher_gets_signs_of_life(both):
    beats = []
    found = examine.examine(both, Source("u", 1, 1), ROLES, beat=beats.append)
    assert len(beats) >= 2 + len(found.segments)
    assert set(beats) == {found.recording_id}


@pytest.mark.parametrize(
    ("roles", "analyse", "message"),
    [
        (("agent", "client"), ("customer",), "'client'"),
        (("customer",), ("customer",), "one for each channel"),
        (("agent", "agent"), ("customer",), "no channel would be analysed"),
        (("agent", "customer"), (), "no role found"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(roles, analyse, message):
    with pytest.raises(SerError, match=message):
        Settings("test_simple", roles, analyse)


def test_a_file_that_changes_while_it_is_read_is_remarked(both):
    data = both.read_bytes()
    beats = []

    def beat(recording_id):
        beats.append(recording_id)
        if len(beats) == 2:
            both.write_bytes(data + bytes(100))

    source = Source("u", 1, 1)
    assert examine.CHANGED in (examine.examine(both, source, ROLES, beat=beat).detail or "")
    assert examine.CHANGED not in (look(both).detail or "")


def test_a_label_of_less_than_half_is_never_sure(tmp_path):
    path = tmp_path / "cut.wav"
    soundfile.write(path, CUSTOMER, RATE, "ULAW")
    data = path.read_bytes()
    labelling = tables.Labelling("m", ("angry", "sad"), "test_simple")
    for size, unsure in ((len(data) * 45 // 100, True), (len(data) * 70 // 100, False)):
        path.write_bytes(data[:size])
        found = look(path)
        assert found.segments
        assert found.is_mostly_missing == unsure
        row = tables.recording_row(
            found,
            np.tile([[1.0, 0.0]], (len(found.segments), 1)),
            labelling,
            run_id="r",
            call_time=None,
            meta={},
            processed_at=dt.datetime.now(dt.UTC),
        )
        assert (row["label"], row["unsure"]) == ("angry", unsure)
        assert row["detail"].startswith("cut: ")
