"""Fills the morning page of a night from the views of an output folder."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pipelines import drift
from pipelines.errors import NothingMatchedError, StoreError
from pipelines.report import attempted, cards, groups, hearing, statements
from pipelines.report.statements import Window
from pipelines.storage import files, views
from pipelines.storage.view_statements import quoted
from ser_core.models.card import Card
from ser_core.report import shares
from ser_core.report.morning import Answer, Drift, Measure, Morning, Moved, Nights, Share
from ser_core.tables.schemas import META, PROBABILITY

# Nights that an error names.
_NAMED = 10
# What the page reads of `calls`, which is read once: a night and those before have many.
_CALLS = (
    "uri", "run_id", "recording_id", "night", "date", "status", "reason", "detail", "call_time",
    "duration_s", "codec", "speech_s", "music_s", "label", "unsure", "negativity",
    "negativity_q1", "negativity_q2", "negativity_q3", "negativity_q4", "arc", "by_channel",
    "model_id",
)  # fmt: skip
# The measures of a whole night: name, title, explanation, what counts, and which calls take part
# (None: those that the model labelled).
_MEASURES: tuple[tuple[str, str, str, str, str | None], ...] = (
    ("clear", "Clearly negative", "negative label, and the model is sure", statements.CLEAR, None),
    ("worse", "Ended worse", "negativity rose by more than 10 points", "arc = 'worse'", "arc"),
    ("unsure", "Unsure", "the model’s confidence is below its threshold", "unsure", None),
    ("rejected", "Rejected", "could not be read or decoded", "status = 'rejected'", "all"),
    ("no_speech", "Without speech", "nobody’s speech was found", "status = 'no_speech'", "all"),
)  # fmt: skip


def ask(db: Any, name: str, sql: str) -> Answer:
    """Run a statement."""
    cursor = db.execute(sql)
    columns = tuple(item[0] for item in cursor.description)
    return Answer(name, sql, columns, tuple(cursor.fetchall()))


def measure(
    output: str,
    night: dt.date | None = None,
    *,
    time_zone: str = "UTC",
    model: str | None = None,
    card: Card | None = None,
) -> Morning:
    """Measure a night.

    Parameters
    ----------
    output : str
        Folder of the tables.
    night : datetime.date, optional
        The latest by default.
    time_zone : str
        Of the hours.
    model : str, optional
        The bundle that labelled the night, if it is not found by the tables.
    card : Card, optional
        One that may be that of the night's model.

    Raises
    ------
    NothingMatchedError
        There are no tables, or no such night.
    StoreError
        They cannot be read.
    UsageError
        `model` is another than the night's, or cannot be read.
    """
    import duckdb

    root = files.absolute(output)
    try:
        with views.connect(output) as db:
            # Each view over many calls takes seconds, so it is read once.
            db.execute("CREATE TEMP TABLE nights AS FROM main.nights")
            night = _chosen(db, root, night)
            known = partial(cards.describe, given=model, at_hand=card)
            return _measure(db, root, night, time_zone, known)
    except duckdb.Error as error:
        raise StoreError(
            f"--output {output}: cannot be read: {views.unread(error) or error}"
        ) from error


def all_nights(output: str) -> Answer:
    """All nights of an output folder, the latest first; for the index page."""
    with views.connect(output) as db:
        return ask(db, "nights", statements.nights())


def index_of(output: str, links: dict[dt.date, str]) -> Nights:
    """What the index page shows, with the pages that are there."""
    return Nights(files.absolute(output), all_nights(output), links)


def _chosen(db: Any, root: str, night: dt.date | None) -> dt.date:
    nights: list[dt.date] = [
        row[0] for row in db.execute("SELECT night FROM nights ORDER BY night DESC").fetchall()
    ]
    if not nights:
        raise NothingMatchedError(f"--output {root}: no tables found; `ser run` fills them")
    if night is None:
        return nights[0]
    if night not in nights:
        named = ", ".join(map(str, nights[:_NAMED]))
        more = f" and {len(nights) - _NAMED:,} before" if len(nights) > _NAMED else ""
        raise NothingMatchedError(
            f"--date {night}: no night of this date; the tables hold {named}{more}"
        )
    return night


def _measure(
    db: Any, root: str, night: dt.date, time_zone: str, describe: Callable[..., cards.Described]
) -> Morning:
    # Before `_keep`, since its view reads `calls` itself.
    drifted = _drift(drift.measure(db, night), night)
    meta = _columns(db, "calls", META)
    labels = [name.removeprefix(PROBABILITY) for name in _columns(db, "calls", PROBABILITY)]
    model_id = _value(db, f"SELECT model_id FROM nights WHERE night = {statements.date(night)}")
    window = _window(db, night, model_id, time_zone)
    _keep(db, window, meta)
    before = ask(db, "before", statements.nights_before(night, model_id))
    commands = db.execute(
        f"SELECT command, model_licence FROM runs WHERE night = {statements.date(night)} "
        "AND model_id IS NOT NULL ORDER BY run_id DESC"
    ).fetchall()
    described = describe(model_id, commands)
    dates = _keep_segments(db, window, labels)
    found, left_out = groups.measure(db, window, meta, described.tests)
    listening, heard = hearing.find(db, window, meta, labels, dates)
    return Morning(
        night=night,
        output=root,
        made=dt.datetime.now(dt.UTC),
        time_zone=time_zone,
        nights_before=window.nights,
        first_before=before.rows[-1][0] if before.rows else None,
        books=ask(db, "books", statements.books(night)),
        warnings=ask(db, "warnings", statements.warnings(night)),
        before=before,
        listening=listening,
        coverage=ask(db, "coverage", statements.coverage(window)),
        rejections=ask(db, "rejections", statements.rejections(window)),
        codecs=ask(db, "codecs", statements.codecs(window)),
        costs=ask(db, "costs", statements.costs(window)),
        measures={item.name: item for item in _measures(db, window, described.tests)},
        groups=found,
        left_out=left_out,
        heard=heard,
        drift=drifted,
        failures=attempted.failures(db, root, night),
        tests=tuple(test.test for test in described.tests),
        model=described.model,
        licence=described.licence,
    )


def _window(db: Any, night: dt.date, model_id: str | None, time_zone: str) -> Window:
    """The night and those that it is compared with."""
    model = views.text(model_id or "")
    found = db.execute(
        f"SELECT night FROM nights WHERE model_id = {model} AND labelled > 0 "
        f"AND night < {statements.date(night)} ORDER BY night DESC LIMIT {statements.NIGHTS}"
    ).fetchall()
    if len(found) < statements.NIGHTS:
        # A night may have calls of several models.
        found = db.execute(statements.nights_before(night, model_id)).fetchall()
    first = found[-1][0] if found else night
    return Window(night, first, len(found), model_id, time_zone)


def _keep(db: Any, window: Window, meta: Sequence[str]) -> None:
    """Read the calls of a night and of those before once, under the name of their view.

    Statements that read `calls` then read this table, which lies in the schema `temp`.
    """
    columns = ", ".join([*_CALLS, *map(quoted, meta)])
    db.execute(
        f"CREATE TEMP TABLE calls AS SELECT {columns} FROM main.calls WHERE {window.between}"
    )


def _keep_segments(db: Any, window: Window, labels: Sequence[str]) -> list[dt.date]:
    """The same for the segments of the night; returns the dates of the runs that they are from."""
    night = statements.date(window.night)
    found = db.execute(f"SELECT DISTINCT date FROM calls WHERE night = {night} ORDER BY date")
    dates = [row[0] for row in found.fetchall()]
    names = ["uri", "run_id", "channel", "role", "start_s", "end_s", "label", "date"]
    names += [f"{PROBABILITY}{label}" for label in labels]
    columns = ", ".join(f"segments.{quoted(name)}" for name in names)
    db.execute(
        f"CREATE TEMP TABLE segments AS SELECT {columns}, calls.night "
        "FROM files.segments AS segments JOIN calls USING (uri, run_id) "
        f"WHERE calls.night = {night} AND segments.date IN ({statements.dates(dates)})"
    )
    return dates


def _measures(db: Any, window: Window, tests: Sequence[shares.ErrorRates]) -> list[Measure]:
    found = []
    for name, title, explanation, condition, part in _MEASURES:
        where = {None: None, "all": "true", "arc": f"{window.of_model} AND arc IS NOT NULL"}[part]
        answer = ask(db, name, statements.compared(window, condition, where=where))
        corrects = tests if name == "clear" else ()
        items = groups.shares_of(answer, corrects, least_calls=1)
        share: Share | None = items[0] if items else None
        found.append(Measure(name, title, explanation, answer, share))
    return found


def _drift(measured: drift.Drift, night: dt.date) -> Drift:
    model = views.text(measured.model_id or "")
    sql = measured.sql.replace("?", f"DATE '{night}'", 1).replace("?", model, 1)
    rows = tuple(
        Moved(
            variable=row.variable,
            group="all calls" if row.column is None else f"{row.column} {row.value}",
            calls=row.calls,
            psi_training=row.psi_training,
            psi_before=row.psi_before,
            p=row.p,
            moved=row.moved,
        )
        for row in measured.rows
    )
    return Drift(measured.alarms, measured.remarks, rows, sql if rows else "")


def _columns(db: Any, view: str, prefix: str) -> list[str]:
    """Columns of a view whose names begin with a prefix."""
    names = [name for name, *_ in db.execute(f"DESCRIBE {view}").fetchall()]
    return [name for name in names if name.startswith(prefix)]


def _value(db: Any, sql: str) -> Any:
    row = db.execute(sql).fetchone()
    return row[0] if row else None
