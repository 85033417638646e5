"""Nights over an archive as it is: roles in the paths, a list, neighbours, a forgotten option."""

from __future__ import annotations

import os
import time
import types
from collections import Counter

import duckdb
import numpy as np
import pytest
import soundfile

from pipelines import conclusion, errors
from pipelines.books import Books
from pipelines.uri_fields import UriFields
from tests.speechlike import call

RATE = 8_000
# Agents are loud, which the model calls angry; customers are quiet, which it calls calm.
AGENT = call([(0.5, 3, -18)], 8, noise_db=-90, seed=1)
COLLEAGUE = call([(4, 6, -20)], 8, noise_db=-90, seed=3)
CUSTOMER = call([(4, 7, -42)], 8, noise_db=-90, seed=2)
STEREO = {
    "1701012312_inbound_a.wav": (AGENT, CUSTOMER),
    "1701012312123_outbound_b.wav": (CUSTOMER, AGENT),
    "20260301T0915_internal_c.wav": (AGENT, COLLEAGUE),
    "9999_transfer_d.wav": (AGENT, CUSTOMER),
}
MONO = {
    "20260301T101500_inbound_e-agent.wav": AGENT,
    "20260301T101500_inbound_e-CUSTOMER.wav": CUSTOMER,
    "20260301T101500_inbound_f-mixed.wav": AGENT + CUSTOMER,
    "20260301T101500_inbound_g.wav": AGENT + CUSTOMER,
    "20260301T101500_inbound_h-operator.wav": AGENT,
}
FIELDS = r"/(?P<time>\w+?)_(?P<direction>[a-z]+)_(?P<call_id>[a-z])(-(?P<role>\w+))?\.wav$"
TABLE = "inbound=agent,customer;outbound=customer,agent;internal=agent,agent"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    for name, sides in STEREO.items():
        soundfile.write(folder / name, np.stack(sides, axis=1), RATE, "ULAW")
    for name, samples in MONO.items():
        soundfile.write(folder / name, samples, RATE, "ULAW")
    for name in (*STEREO, *MONO):
        (folder / f"{name}_metadata.json").write_text("{}")
    names = [f"{folder}/*.wav", f'"{folder}/20260301T1200_inbound_i.wav"', "", "# the end"]
    (folder / "list.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(names).encode() + b"\r\n")
    return folder


def rows(out, columns, where="true"):
    return duckdb.sql(
        f"SELECT {columns} FROM read_parquet('{out}/*/date=*/run=*/*.parquet', filename=true, "
        f"union_by_name=true) WHERE filename LIKE '%/recordings/%' AND {where} ORDER BY ALL"
    ).fetchall()


def words(archive, out, model, *more):
    given = ("--input", f"@{archive}/list.txt", archive, "--output", out, "--model", model)
    return (*given, "--uri-fields", FIELDS, "--time-zone", "Europe/Berlin", *more)


@pytest.fixture(scope="module")
def nights(archive, level_model, tmp_path_factory):
    """Status and text of three nights and a plan; the first night forgets --channel-roles."""
    import contextlib
    import io

    from pipelines.cli import main

    out = tmp_path_factory.mktemp("nights") / "out"
    printed = []
    for command, more in (
        ("run", ()),
        ("plan", ("--channel-roles", TABLE)),
        ("run", ("--channel-roles", TABLE)),
        ("run", ("--channel-roles", TABLE)),
    ):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            status = main([command, *map(str, words(archive, out, level_model, *more)),
                           "--workers", "1"])  # fmt: skip
        printed.append((status, text.getvalue()))
    return out, printed


def test_the_first_night_asks_for_roles(nights):
    status, text = nights[1][0]
    assert status == 3
    # One agent's file has nobody to analyse; the list names a file that is not there.
    assert "10 matched = 3 labelled + 1 without speech + 6 rejected + 0 already done" in text
    assert "(rejected: channel_roles_unknown 5, unreadable 1); 10 files beside them skipped" in text
    assert "6 of 10 recordings were rejected, more than --max-reject-ratio" in text
    assert "call_time read from 9 of 10 paths" in text
    assert "2 recordings are mono" in text  # those that may hold both sides


def test_the_plan_tells_what_the_table_cures(nights):
    status, text = nights[1][1]
    assert status == 0
    text = " ".join(text.replace("│", " ").split())
    assert "matched 10" in text
    assert "already done 4" in text
    assert "skipped 10 files beside recordings" in text
    assert "to do 6 (6 .wav)" in text
    assert "tried again 6 rejected before, and may be cured" in text
    assert "unreadable: 1 of 6" in text
    # The direction that is not in the table, and the role that is none.
    assert "channel_roles_unknown (--channel-roles): 2 of 6" in text
    assert "call_time read from 5 of 6 new paths" in text


def test_then_the_path_tells_whose_voice_it_is(nights, archive):
    out, printed = nights
    status, text = printed[2]
    assert status == 0, text
    assert "10 matched = 2 labelled + 1 without speech + 3 rejected + 4 already done" in text
    assert "nothing new" not in text
    found = {
        name: (status, label, roles, detail)
        for name, status, label, roles, detail in rows(
            out,
            "meta_call_id || coalesce(meta_role, ''), arg_max(status, run_id), "
            "arg_max(label, run_id), arg_max(list_transform(by_channel, lambda c: c.role || "
            "CASE WHEN c.analysed THEN '!' ELSE '' END), run_id), arg_max(detail, run_id)",
            "meta_call_id IS NOT NULL GROUP BY 1, uri",
        )
    }
    assert {name: row[:3] for name, row in found.items()} == {
        "a": ("labelled", "calm", ["agent", "customer!"]),
        "b": ("labelled", "calm", ["customer!", "agent"]),
        "c": ("no_speech", None, ["agent", "agent"]),
        "d": ("rejected", None, []),
        "eagent": ("no_speech", None, ["agent"]),
        "eCUSTOMER": ("labelled", "calm", ["customer!"]),
        "fmixed": ("labelled", "calm", ["mixed!"]),
        "g": ("labelled", "calm", ["mixed!"]),
        "hoperator": ("rejected", None, []),
        "i": ("rejected", None, []),
    }
    assert found["c"][3] == found["eagent"][3] == "agent only: not analysed (--analyse)"
    assert "direction 'transfer' found in its path, one of inbound, outbound" in found["d"][3]
    assert "role 'operator' found in its path" in found["hoperator"][3]
    assert found["i"][3] == "not found"
    (uri,) = rows(out, "DISTINCT uri", "reason = 'unreadable'")[0]
    assert uri == f"{archive}/20260301T1200_inbound_i.wav"


def test_nothing_is_tried_twice_with_the_same_options(nights):
    status, text = nights[1][3]
    assert status == 0
    assert (
        "1 rejected + 9 already done (rejected: unreadable 1); 2 of them rejected earlier" in text
    )
    assert "(channel_roles_unknown 2)" in text


def test_times_are_those_of_the_paths(nights):
    times = dict(rows(nights[0], "meta_call_id, min(call_time AT TIME ZONE 'UTC')::VARCHAR",
                      "true GROUP BY 1"))  # fmt: skip
    assert times["a"] == "2023-11-26 15:25:12"
    assert times["b"] == "2023-11-26 15:25:12.123"
    assert times["c"] == "2026-03-01 08:15:00"  # 09:15 in Berlin
    assert times["d"] is None


def test_what_it_was_tried_with(nights):
    found = rows(nights[0], "DISTINCT reason, tried_with", "meta_call_id IN ('d', 'e', 'i')")
    assert found == [
        ("channel_roles_unknown", f"channel_roles= by {FIELDS}"),
        (
            "channel_roles_unknown",
            f"channel_roles={'|'.join(sorted(TABLE.split(';')))} by {FIELDS}",
        ),
        ("unreadable", None),
        (None, None),
    ]


# ---------------------------------------------------------------- what waits, what is not there


def test_what_is_young_is_met_by_the_next_run(archive, level_model, ser_here, tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()
    for name in ("old.wav", "young.wav"):
        soundfile.write(calls / name, CUSTOMER, RATE)
    hour_ago = time.time() - 3600
    os.utime(calls / "old.wav", (hour_ago, hour_ago))
    given = ("--input", calls, "--output", tmp_path / "out", "--model", level_model)
    fields = ("--uri-fields", "(?P<queue>queue_[0-9]+)")
    done = ser_here("run", *given, *fields, "--min-age-s", "600")
    assert done.returncode == 0, done.stderr
    assert (
        "2 matched = 1 labelled + 0 without speech + 0 rejected + 0 already done + 1 waiting"
        in (done.stdout)
    )
    assert "--uri-fields reads nothing from any of 1 paths" in done.stdout
    done = ser_here("run", *given, "--min-age-s", "600")
    assert "nothing new: 2 matched, 1 already done, 1 waiting" in done.stdout
    plan = ser_here("plan", *given, "--min-age-s", "600").stdout
    assert "waiting │ 1 (--min-age-s)" in " ".join(plan.split())
    runs = duckdb.sql(
        f"SELECT waiting, skipped, warnings FROM '{tmp_path}/out/runs/**/*.parquet' ORDER BY run_id"
    ).fetchall()
    assert runs == [(1, 0, []), (1, 0, [])]


def test_nothing_of_what_is_named_is_there(level_model, ser_here, tmp_path):
    """A misspelt folder: its row tells so, and the status."""
    given = ("run", "--input", tmp_path / "cals", "--output", tmp_path / "out")
    done = ser_here(*given, "--model", level_model)
    assert done.returncode == 4, done.stdout
    assert "1 rejected + 0 already done (rejected: unreadable 1)" in done.stdout
    assert "is the archive there, and mounted?" in done.stdout
    assert rows(tmp_path / "out", "uri, status, reason, detail") == [
        (f"{tmp_path}/cals", "rejected", "unreadable", "not found")
    ]


@pytest.mark.parametrize(
    ("books", "status"),
    [
        (Books(matched=10, labelled=7, rejected=3), errors.TOO_MANY_REJECTIONS),
        (Books(matched=10, labelled=7, rejected=3, rejected_before=1), errors.DONE),
        (Books(matched=10, labelled=1, rejected=9, rejected_before=9), errors.DONE),
        # A folder that is misspelt or not mounted fails each night.
        (Books(matched=2, rejected=2, rejected_before=2, by_reason=Counter(unreadable=2)),
         errors.NOTHING_MATCHED),
        (Books(matched=3, rejected=2, already_done=1, rejected_before=2,
               by_reason=Counter(unreadable=2)), errors.DONE),
    ],
)  # fmt: skip
def test_status_by_what_is_rejected_for_the_first_time(books, status):
    job = types.SimpleNamespace(
        say=lambda line: None, fields=UriFields(), max_reject_ratio=0.2, output="out"
    )
    assert conclusion.conclude(job, books) == status


def test_a_pattern_in_the_wrong_case(archive, level_model, ser_here, tmp_path):
    given = ("run", "--output", tmp_path / "out", "--model", level_model, "--input")
    done = ser_here(*given, f"{archive}/*.WAV")
    assert done.returncode == 4
    assert "nothing matches" in done.stderr
    assert "9 files were not read: small and capital letters differ" in done.stderr
    assert "such as *.[wW][aA][vV]" in done.stderr
