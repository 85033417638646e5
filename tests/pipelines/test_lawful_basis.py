"""Nights in which agents are analysed: the warning, the refusal, and what `runs` keeps."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.speechlike import call

BASIS = "GDPR 6(1)(a),  consent\nof the agent; record 2026-014"


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    agent = call([(0.5, 3, -18)], 8, noise_db=-90, seed=1)
    customer = call([(4, 7, -42)], 8, noise_db=-90, seed=2)
    soundfile.write(folder / "a.wav", np.stack([agent, customer], axis=1), 8_000, "ULAW")
    return folder


def last_run(out):
    paths = out.glob("runs/date=*/run=*/*.parquet")
    rows = [row for path in paths for row in pq.read_table(path, partitioning=None).to_pylist()]
    return max(rows, key=lambda row: row["run_id"])


def test_whose_word_and_which_basis(ser_here, calls, level_model, pitch_model, tmp_path):
    out = tmp_path / "out"
    words = ["--input", calls, "--output", out, "--channel-roles", "agent,customer"]
    words += ["--model", level_model]

    plain = ser_here("run", *words)
    assert (plain.returncode, "lawful" in plain.stdout + plain.stderr) == (0, False)
    row = last_run(out)
    assert row["analysed"] == ["customer (default)", "mixed (always)"]
    assert (row["lawful_basis"], row["warnings"]) == (None, [])

    # Refused before anything is written; without the flag, a warning there.
    both = [*words, "--analyse", "customer,agent"]
    refused = ser_here("run", *both, "--require-lawful-basis")
    assert refused.returncode == 2
    assert "agent (--analyse), and no --lawful-basis is given" in refused.stderr
    assert last_run(out) == row

    out = tmp_path / "agents"
    both[3] = out
    warned = ser_here("run", *both)
    assert warned.returncode == 0
    assert "analysed: agent (--analyse)" in warned.stdout + warned.stderr
    row = last_run(out)
    assert row["analysed"] == ["customer (default)", "agent (--analyse)", "mixed (always)"]
    assert "Article 5(1)(f)" in row["warnings"][0]

    # What is stored of agents is labelled under the same rule.
    again = ["label", "--output", out, "--model", pitch_model]
    assert ser_here(*again, "--require-lawful-basis").returncode == 2
    named = ser_here(*again, "--require-lawful-basis", "--lawful-basis", BASIS)
    assert (named.returncode, "warning" in named.stdout + named.stderr) == (0, False)
    row = last_run(out)
    assert row["lawful_basis"] == "GDPR 6(1)(a), consent of the agent; record 2026-014"
    assert (row["analysed"][1], row["warnings"]) == ("agent (--analyse)", [])


@pytest.mark.parametrize("text", ["", "  ", "x" * 501, "bell\a"])
def test_a_basis_that_says_nothing(ser_here, calls, tmp_path, text):
    refused = ser_here("run", "--input", calls, "--output", tmp_path, "--lawful-basis", text)
    assert (refused.returncode, "1 to 500 printable ones expected" in refused.stderr) == (2, True)
