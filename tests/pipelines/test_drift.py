"""Drift: its numbers against NumPy and SciPy, its alarms on archives with a known shift."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pipelines import drift
from pipelines.drift import Row, words
from pipelines.storage import drift_statements, views
from ser_core.tables.sketch import EDGES, POINTS
from tests import small_tables
from tests.pipelines import outputs

FIRST = dt.date(2026, 3, 1)


def cell(variable: str, counts: Mapping[str, int], group: tuple = (None, None), **more) -> dict:
    """An element of a sketch whose calls lie in one bin each."""
    points = {name: POINTS * count for name, count in counts.items()}
    squares = {name: POINTS**2 * count for name, count in counts.items()}
    return {
        "variable": variable, "column_name": group[0], "value": group[1],
        "calls": sum(counts.values()), "points": points, "squares": squares,
    } | more  # fmt: skip


def publish(out: Path, nights: Sequence[Sequence[dict]], **values) -> None:
    """A run for each night, with the elements of its sketch."""
    for number, sketch in enumerate(nights):
        night = FIRST + dt.timedelta(number)
        run_id = f"r{night:%Y%m%d}T021500-aaaaaa"
        row = {"model_id": "m-1", "redo": [], "sketch": list(sketch)} | values
        content = small_tables.runs(run_id, night, **row)
        small_tables.write(out, "runs", content, date=night, run=run_id)


def drawn(rng, shares: Sequence[float], calls: int) -> dict[str, int]:
    counts = rng.multinomial(calls, np.array(shares) / sum(shares))
    return {str(edge): int(n) for edge, n in zip(range(-40, 0, 3), counts, strict=False) if n}


def measured(out: Path, number: int) -> drift.Drift:
    with views.connect(out) as db:
        found = drift.measure(db, FIRST + dt.timedelta(number))
        rows = db.execute(found.sql).fetchall() if found.sql else []
    # The query that is shown gives the same numbers.
    for row, kept in zip(rows, found.rows, strict=True):
        assert row[:4] == (kept.variable, kept.column, kept.value, kept.calls)
        assert row[4:7] == pytest.approx((kept.psi_training, kept.psi_before, kept.p))
    return found


def test_the_index_and_the_test_are_those_of_the_books(tmp_path):
    before, now = np.array([[60, 30, 10]] * 6), np.array([30, 50, 20])
    training = np.array([0.5, 0.25, 0.25])
    named = [dict(zip("abc", row.tolist(), strict=True)) for row in (*before, now)]
    trained = {"training": dict(zip("abc", training.tolist(), strict=True))}
    publish(tmp_path, [[cell("codec", counts, **trained)] for counts in named])
    [row] = measured(tmp_path, 6).rows
    # Half a call is added to each bin.
    p, q = ((n + 0.5) / (n.sum() + 1.5) for n in (now, before.sum(axis=0)))
    assert row.psi_before == pytest.approx(((p - q) * np.log(p / q)).sum())
    assert row.psi_training == pytest.approx(((p - training) * np.log(p / training)).sum())
    assert row.shares == {"a": 0.3, "b": 0.5, "c": 0.2}
    with views.connect(tmp_path) as db:
        chi_square, degrees, vary, p_value = db.execute(
            "SELECT chi_square, degrees, nights_vary, p FROM drift WHERE p IS NOT NULL "
            "AND night = DATE '2026-03-07'"
        ).fetchone()
    pearson = stats.chi2_contingency([now, before.sum(axis=0)], correction=False).statistic
    assert chi_square * drift_statements.UNEQUAL == pytest.approx(pearson)
    assert degrees * drift_statements.UNEQUAL == 2
    assert vary == 1
    # The approximation is on the safe side.
    assert 1 < p_value / stats.chi2.sf(chi_square, degrees) < 3
    assert row.moved
    assert measured(tmp_path, 6).alarms == (
        "Another codec or sample rate: codec a 30% of calls (60% before), b 50% of calls "
        "(30% before).",
    )


def test_calls_with_many_segments_count_as_calls(tmp_path):
    # Each call gives half of its points to either bin, so that two nights cannot differ by chance.
    halves = cell("f", {"a": 50, "b": 50}, squares={"a": 25 * POINTS**2, "b": 25 * POINTS**2})
    wide = cell("g", {"a": 50, "b": 50})
    other = [cell("f", {"a": 60, "b": 40}, squares={"a": 36 * POINTS**2, "b": 16 * POINTS**2}),
             cell("g", {"a": 60, "b": 40})]  # fmt: skip
    publish(tmp_path, [[halves, wide]] * 6 + [other])
    p = {row.variable: row.p for row in measured(tmp_path, 6).rows}
    assert p["f"] < 1e-6 < 0.01 < p["g"]


def test_too_few_nights_are_not_compared(tmp_path):
    publish(tmp_path, [[cell("codec", {"a": 50})]] * 4 + [[cell("codec", {"b": 50})]])
    found = measured(tmp_path, 4)
    assert (found.nights_before, found.alarms) == (4, ())
    assert found.rows[0].psi_before is None
    assert found.remarks[0] == "4 earlier nights of m-1: nights are compared from 5 on."
    assert measured(tmp_path, 5) == drift.Drift(FIRST + dt.timedelta(5), None)


@pytest.mark.parametrize("weekends", [False, True])
def test_ordinary_nights_raise_no_alarm(tmp_path, weekends):
    """Also where calls of two nights in seven sound otherwise, once that is known."""
    rng = np.random.default_rng(1)
    nights = []
    for number in range(60):
        shares = [1, 3, 2, 1, 1] if weekends and number % 7 < 2 else [2, 3, 2, 1, 1]
        nights.append([
            cell(name, drawn(rng, shares, 200 if group is None else 40), ("meta_queue", group)
                 if group else (None, None))
            for name in ("level_db", "f1", "f2") for group in (None, "a", "b", "c", "d", "e")
        ])  # fmt: skip
    publish(tmp_path, nights)
    with views.connect(tmp_path) as db:
        moved = db.execute("SELECT DISTINCT night FROM drift WHERE moved").fetchall()
    assert len(moved) <= 1


def test_a_shift_is_said_once_with_its_place_and_its_beginning(tmp_path):
    rng = np.random.default_rng(2)
    nights = []
    for number in range(12):
        shifted = number >= 10
        own = {
            queue: drawn(rng, [1, 1, 9] if shifted and queue == "sales" else [5, 3, 1], 60)
            for queue in ("billing", "sales", "support")
        }
        everyone: dict[str, int] = {}
        for counts in own.values():
            for name, count in counts.items():
                everyone[name] = everyone.get(name, 0) + count
        nights.append([cell("level_db", everyone)] + [
            cell("level_db", counts, ("meta_queue", queue)) for queue, counts in own.items()
        ])  # fmt: skip
    publish(tmp_path, nights)
    assert measured(tmp_path, 9).alarms == ()
    [alarm] = measured(tmp_path, 10).alarms
    assert alarm.startswith("A higher level in queue=sales: level -3")
    [again] = measured(tmp_path, 11).alarms
    assert again.endswith(" (nights with alarms since 2026-03-11).")
    assert measured(tmp_path, 10).summary()["rows"][0]["moved"] is True


def row(variable: str, shares: dict, before: dict, psi: float = 0.5, group=(None, None)) -> Row:
    return Row(variable, *group, 100, None, psi, 1e-9, True, shares, before)


@pytest.mark.parametrize(
    ("moved", "start"),
    [
        ([("customer_share", {"0.2": 1.0}, {"0.7": 1.0})], "Agents and customers look swapped: "),
        ([("customer_share", {"0.2": 1.0}, {"0.3": 1.0})], "Calls that run differently: "),
        ([("first_speech_s", {"0.5": 1.0, "1": 0}, {"5": 1.0, "7": 0}), ("f1", {}, {})],
         "Agents and customers look swapped: first analysed speech 0.8 s into the call on median "
         "(6.0 before); what the model hears moved (1 of 1 features)."),
        ([("bandwidth_hz", {"2000": 1, "2400": 0}, {"3400": 1, "3600": 0}), ("f1", {}, {})],
         "A narrower band: bandwidth 2,200 Hz on median (3,500 before); what the model"),
        ([("tilt_db_per_octave", {"-9": 1}, {"-4": 1}), ("f1", {}, {})],
         "A duller sound, as of another microphone, line or codec: spectral tilt"),
        ([("tilt_db_per_octave", {"-3": 1}, {"-5": 1}), ("f1", {}, {}), ("p_angry", {}, {})],
         "Other voices or another language: spectral tilt"),
        ([("f1", {}, {})], "Other voices or another language: "),
        ([("p_angry", {}, {})], "Other emotions, while the sound is as before: its answers"),
        ([("snr_db", {"10": 1}, {"30": 1})], "Another noise or line: "),
    ],
)  # fmt: skip
def test_what_moved_together_is_one_sentence(moved, start):
    [sentence] = words.alarms([row(*values) for values in moved])
    assert sentence.startswith(start)


def test_what_moved_in_most_groups_is_said_of_all_calls():
    def rows(groups, psi=2.0):
        return [
            row("codec", {"a": 1}, {"b": 1}, psi, group=("meta_queue", name)) for name in groups
        ] + [Row("codec", "meta_queue", "calm", 100, None, 0.0, 0.5, False, {}, {})]

    everyone = row("codec", {"a": 1}, {"b": 1})
    [sentence] = words.alarms([everyone, *rows(["x", "y"])])
    assert sentence.startswith("Another codec or sample rate: ")
    [sentence] = words.alarms([everyone, *rows(["x"])])
    assert sentence.startswith("Another codec or sample rate in queue=x: ")
    [sentence] = words.alarms([everyone, *rows(["x"], psi=0.6)])
    assert sentence.startswith("Another codec or sample rate: ")
    assert words.alarms(rows([])) == ()


def test_every_bin_of_numbers_has_a_median():
    for variable, edges in EDGES.items():
        assert variable in words._NAMED
        assert np.isfinite(words.median({"-inf": 1.0, f"{edges[0]:.6g}": 0.0}))


def test_a_run_writes_the_same_sketch_in_one_part_and_in_three(tmp_path):
    items = [outputs.call(f"/{i}.wav", segments=1 + i % 3, customer=str(i % 2)) for i in range(20)]
    sketches = []
    for parts in (1, 3):
        out = tmp_path / str(parts)
        outputs.add_run(out, items, parts=parts)
        with views.connect(out) as db:
            sketches += db.execute("SELECT sketch FROM files.runs").fetchall()
            columns = [name for name, *_ in db.execute("DESCRIBE runs").fetchall()]
        assert "sketch" not in columns
        [found] = drift.measure_nights(str(out), [outputs.NIGHT])
        assert found.calls == 20
        assert {row.group for row in found.rows} == {None, "customer=0", "customer=1"}
    assert sketches[0] == sketches[1]


def test_runs_that_do_old_calls_again_are_left_out(tmp_path):
    publish(tmp_path, [[cell("codec", {"a": 50})]] * 6, redo=["date=2026-02-01"])
    assert measured(tmp_path, 5) == drift.Drift(FIRST + dt.timedelta(5), None)
