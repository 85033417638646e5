"""`label_file`: the table of one file, the same to the bit as a night's."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile

from ser_core import label_file, label_files, models
from ser_core.errors import AudioError, SerError
from tests.speechlike import call

RATE_HZ = 8_000
ROLES = ("agent", "customer")


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    sides = (
        call([(5, 7, -22)], 12, f0_hz=170, seed=3),
        call([(1, 4, -20), (8, 11, -40)], 12, seed=1),
    )
    soundfile.write(folder / "a.wav", np.stack(sides, axis=1), RATE_HZ, "ULAW")
    soundfile.write(folder / "mono.wav", call([(1, 4, -25)], 6, seed=2), RATE_HZ, "PCM_16")
    (folder / "text.wav").write_text("no audio")
    return folder


@pytest.fixture(scope="module")
def night(calls, level_model, tmp_path_factory):
    from pipelines.cli import main

    out = tmp_path_factory.mktemp("night") / "out"
    words = ["run", "--input", str(calls), "--output", str(out), "--workers", "1"]
    words += ["--channel-roles", ",".join(ROLES), "--model", str(level_model)]
    assert main([*words, "--max-reject-ratio", "1"]) == 0
    return out


def test_the_values_are_those_of_a_night(night, calls, level_model):
    bundle = models.load(level_model)
    for name in ("a.wav", "mono.wav"):
        found = label_file(calls / name, model=bundle, channel_roles=ROLES)
        files = sorted(night.glob("segments/**/*.parquet"))
        stored = pd.concat([pd.read_parquet(file, partitioning=None) for file in files])
        stored = stored[stored.uri == str(calls / name)].sort_values(["channel", "start_s"])
        stored = stored.drop(columns=["run_id", "features_run_id"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(found, stored, check_exact=True)
        files = sorted(night.glob("recordings/**/*.parquet"))
        row = pd.concat([pd.read_parquet(file, partitioning=None) for file in files])
        row = row[row.uri == str(calls / name)].iloc[0]
        for column in ("recording_id", "label", "confidence", "negativity", "arc", "speech_s"):
            assert found.attrs["call"][column] == row[column]
    assert set(found["role"]) == {"mixed"}


def test_many_files_and_one_that_is_bad(calls, level_model):
    paths = [calls / "mono.wav", calls / "text.wav", calls / "a.wav"]
    with pytest.warns(UserWarning, match="1 of 3 rejected: .*text.wav: unsupported_format"):
        found = label_files(paths, model=level_model, channel_roles=ROLES)
    assert list(dict.fromkeys(found["uri"])) == [str(calls / "mono.wav"), str(calls / "a.wav")]
    assert [row["status"] for row in found.attrs["calls"]] == ["labelled", "rejected", "labelled"]
    assert list(found.index) == list(range(len(found)))


def test_what_is_rejected_raises_its_reason(calls, level_model):
    for path, reason, roles in (
        (calls / "text.wav", "unsupported_format", ()),
        (calls / "a.wav", "channel_roles_unknown", ()),
        (calls / "nobody.wav", "unreadable", ()),
    ):
        with pytest.raises(AudioError) as error:
            label_file(path, model=level_model, channel_roles=roles)
        assert error.value.reason == reason
    with pytest.raises(SerError, match="role 'caller' found"):
        label_file(calls / "a.wav", model=level_model, channel_roles=("agent", "caller"))


def test_agents_are_analysed_only_when_asked_and_with_a_warning(calls, level_model):
    alone = label_file(calls / "a.wav", model=level_model, channel_roles=ROLES)
    assert set(alone["role"]) == {"customer"}
    asked = {"model": level_model, "channel_roles": ROLES, "analyse": ("customer", "agent")}
    with pytest.warns(UserWarning, match="2024/1689"):
        both = label_file(calls / "a.wav", **asked)
    assert set(both["role"]) == {"agent", "customer"}
    label_file(calls / "a.wav", **asked, lawful_basis="consent, record 4")


def test_silence_gives_a_table_without_rows(level_model, tmp_path):
    soundfile.write(tmp_path / "s.wav", np.zeros(RATE_HZ * 3), RATE_HZ)
    found = label_file(tmp_path / "s.wav", model=level_model)
    assert len(found) == 0
    assert {"start_s", "label", "p_angry"} <= set(found.columns)
    assert found.attrs["call"]["status"] == "no_speech"


def test_the_package_is_imported_without_pandas_or_models():
    code = (
        "import sys, ser_core; from ser_core import audio\n"
        "print([m for m in ('pandas', 'keras', 'ser_core.models') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
