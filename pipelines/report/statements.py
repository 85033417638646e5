"""The SQL of the morning page: one statement for each table of it, over the views.

Each can be run as it stands: `ser query @FILE --output OUT`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.storage import views
from pipelines.storage.view_statements import quoted
from ser_core.emotions import NEGATIVE
from ser_core.report import shares
from ser_core.tables.schemas import PROBABILITY

# Nights before, of the same model, that a night is compared with.
NIGHTS = 28
# Calls that are listed to listen to.
LISTED = 100
# Values of a column that are shown.
VALUES = 40
# A call that ended worse than it began counts so much more when calls are ranked.
WORSE_COUNTS = 1.5

_NEGATIVE = f"label IN ({', '.join(map(views.text, sorted(NEGATIVE)))})"
# A call whose label is negative, and the model is sure of it.
CLEAR = f"{_NEGATIVE} AND NOT unsure"


def date(day: dt.date) -> str:
    """A date in SQL."""
    return f"DATE '{day}'"


def dates(days: Sequence[dt.date]) -> str:
    """Dates in SQL, for IN (…)."""
    return ", ".join(map(date, days)) or "NULL"


@dataclass(frozen=True)
class Window:
    """A night, and those that it is compared with.

    Parameters
    ----------
    night : datetime.date
    first : datetime.date
        The earliest night that it is compared with; `night` itself if there is none.
    nights : int
        How many there are, `night` left out.
    model_id : str or None
    time_zone : str
        Of the hours.
    """

    night: dt.date
    first: dt.date
    nights: int
    model_id: str | None
    time_zone: str

    @property
    def of_model(self) -> str:
        """The calls that the night's model labelled, on any night."""
        model = views.text(self.model_id or "")
        return f"status = 'labelled' AND model_id = {model}"

    @property
    def between(self) -> str:
        """The night and those before."""
        return f"night BETWEEN {date(self.first)} AND {date(self.night)}"

    @property
    def hour(self) -> str:
        """The hour of a call."""
        return f"hour(call_time AT TIME ZONE {views.text(self.time_zone)})"


def nights_before(night: dt.date, model_id: str | None) -> str:
    """The nights before with calls of a model, the latest first."""
    return f"""\
SELECT
    night,
    count(*) AS calls,
    avg(({CLEAR})::INT) AS share
FROM calls
WHERE status = 'labelled' AND model_id = {views.text(model_id or "")} AND night < {date(night)}
GROUP BY night
ORDER BY night DESC
LIMIT {NIGHTS}"""


def books(night: dt.date) -> str:
    """What became of the recordings of a night."""
    return f"""\
SELECT
    matched - waiting AS calls,
    labelled,
    extracted,
    no_speech,
    rejected,
    rejected_new,
    waiting,
    already_done,
    forgotten,
    skipped,
    mixed,
    len(warnings) AS warnings
FROM nights
WHERE night = {date(night)}"""


def warnings(night: dt.date) -> str:
    """What the runs of a night warned of."""
    return f"""\
SELECT warning, count(*) AS runs
FROM (SELECT unnest(warnings) AS warning FROM nights WHERE night = {date(night)})
GROUP BY warning
ORDER BY runs DESC, warning"""


def compared(
    window: Window,
    measure: str,
    *,
    group: str = "'all'",
    where: str | None = None,
    comparisons: int = 1,
) -> str:
    """A share of calls by groups, tonight and on the nights before.

    `low` and `high` are the ends between which 95 of 100 ordinary nights lie: a prediction interval
    from the shares of the nights before, at least as wide as chance makes it with tonight's calls.

    Parameters
    ----------
    window : Window
    measure : str
        Condition that counts a call.
    group : str
        Expression of a call.
    where : str, optional
        Calls that take part; those that the model labelled by default.
    comparisons : int
        Number of groups that are compared.
    """
    reaches = ", ".join(f"{reach:g}" for reach in shares.reaches(NIGHTS, comparisons))
    least = shares.LEAST_NIGHTS
    return f"""\
WITH by_night AS (
    SELECT
        night,
        {group} AS value,
        count(*) AS calls,
        count(*) FILTER ({measure}) AS counted,
        count(*) FILTER ({_NEGATIVE}) AS negative,
        sum(negativity * speech_s) / nullif(sum(speech_s), 0) AS negativity
    FROM calls
    WHERE {where or window.of_model}
      AND {window.between}
    GROUP BY ALL
),
before AS (
    SELECT
        value,
        count(*) AS nights,
        avg(counted / calls) AS usual,
        stddev_samp(counted / calls) AS spread,
        (sum(counted) + 1) / (sum(calls) + 2) AS p
    FROM by_night
    WHERE night < {date(window.night)}
    GROUP BY value
),
ranges AS (
    SELECT
        by_night.*,
        coalesce(before.nights, 0) AS nights,
        usual,
        -- How far an ordinary night may be from `usual`, for {least}, {least + 1}, … nights before.
        CASE
            WHEN before.nights >= {least} THEN
                [{reaches}][before.nights - {least - 1}]
                * sqrt(1 + 1 / before.nights)
                * greatest(spread, sqrt(p * (1 - p) / by_night.calls))
        END AS reach
    FROM by_night LEFT JOIN before ON by_night.value IS NOT DISTINCT FROM before.value
    WHERE night = {date(window.night)}
)
SELECT
    value,
    calls,
    counted,
    counted / calls AS share,
    negative,
    negativity,
    nights,
    CASE WHEN reach IS NOT NULL THEN usual END AS usual,
    CASE WHEN reach IS NOT NULL THEN greatest(0, usual - reach) END AS low,
    CASE WHEN reach IS NOT NULL THEN least(1, usual + reach) END AS high
FROM ranges
ORDER BY calls DESC, value
LIMIT {VALUES}"""


def levels(night: dt.date, columns: Sequence[str]) -> str:
    """How many values columns have among the calls of a night."""
    counts = ",\n    ".join(f"count(DISTINCT {quoted(column)})" for column in columns)
    return f"SELECT\n    count(*),\n    {counts}\nFROM calls\nWHERE night = {date(night)}"


def listen(
    window: Window, meta: Sequence[str], labels: Sequence[str], days: Sequence[dt.date]
) -> str:
    """The calls to listen to first: those with the longest and strongest negative stretch.

    Parameters
    ----------
    window : Window
    meta : sequence of str
        Columns `meta_…` to tell.
    labels : sequence of str
        Of `p_…`.
    days : sequence of datetime.date
        Dates of the runs whose rows count; so files of other dates are not read.
    """
    fields = "".join(f"\n    {quoted(column)}," for column in meta)
    return f"""\
{_strongest_stretches(window, labels, days)}
SELECT
    uri,
    recording_id,
    call_time,{fields}
    label,
    unsure,
    negativity,
    coalesce(negativity_q1, negativity_q2, negativity_q3) AS began,
    coalesce(negativity_q4, negativity_q3, negativity_q2) AS ended,
    arc,
    duration_s,
    stretch.from_s,
    stretch.to_s,
    stretch.negative_s,
    stretch.weight * CASE arc WHEN 'worse' THEN {WORSE_COUNTS} ELSE 1 END AS weight
FROM strongest JOIN calls USING (uri, run_id)
WHERE {window.of_model}
ORDER BY unsure, weight DESC, uri
LIMIT {LISTED}"""


def _strongest_stretches(window: Window, labels: Sequence[str], days: Sequence[dt.date]) -> str:
    """The clause WITH that ends in `strongest`: the heaviest negative stretch of each call."""
    return f"""\
WITH spoken AS (
    SELECT
        uri,
        run_id,
        channel,
        start_s,
        end_s,
        {negativity_of(labels)} AS negativity,
        {_NEGATIVE} AS negative
    FROM segments
    WHERE night = {date(window.night)}
      AND date IN ({dates(days)})
      AND role <> 'agent'
      AND label IS NOT NULL
),
-- A stretch is a row of negative segments with no other between them.
numbered AS (
    SELECT
        *,
        count(*) FILTER (NOT negative) OVER (
            PARTITION BY uri, run_id, channel ORDER BY start_s
        ) AS stretch
    FROM spoken
),
stretches AS (
    SELECT
        uri,
        run_id,
        min(start_s) AS from_s,
        max(end_s) AS to_s,
        sum(end_s - start_s) AS negative_s,
        sum((end_s - start_s) * negativity) AS weight
    FROM numbered
    WHERE negative
    GROUP BY uri, run_id, channel, stretch
),
strongest AS (
    SELECT
        uri,
        run_id,
        arg_max(
            struct_pack(
                from_s := from_s, to_s := to_s, negative_s := negative_s, weight := weight
            ),
            (weight, -from_s)
        ) AS stretch
    FROM stretches
    GROUP BY uri, run_id
)"""


def negativity_of(labels: Sequence[str]) -> str:
    """The negativity of a segment."""
    columns = [quoted(f"{PROBABILITY}{label}") for label in labels if label in NEGATIVE]
    return " + ".join(f"coalesce({column}, 0)" for column in columns) or "0"


def arcs(
    window: Window, labels: Sequence[str], days: Sequence[dt.date], uris: Sequence[str]
) -> str:
    """The segments of some calls, for drawing."""
    return f"""\
SELECT uri, start_s, end_s, {negativity_of(labels)} AS negativity
FROM segments
WHERE night = {date(window.night)}
  AND date IN ({dates(days)})
  AND role <> 'agent'
  AND label IS NOT NULL
  AND uri IN ({", ".join(map(views.text, uris)) or "NULL"})
ORDER BY uri, start_s"""


def coverage(window: Window) -> str:
    """What the figures stand on."""
    return f"""\
SELECT
    count(*) AS calls,
    count(*) FILTER (status = 'labelled') AS labelled,
    count(*) FILTER ({window.of_model}) AS of_model,
    sum(duration_s) / 3600 AS audio_hours,
    sum(speech_s) / 3600 AS speech_hours,
    sum(music_s) / 3600 AS music_hours,
    count(call_time) AS with_time,
    count(*) FILTER (
        len(list_filter(by_channel, lambda channel: channel.role = 'mixed')) > 0
    ) AS mixed,
    count(*) FILTER (status <> 'rejected' AND detail LIKE 'cut:%') AS cut
FROM calls
WHERE night = {date(window.night)}"""


def rejections(window: Window) -> str:
    """Rejected recordings by reason and codec, with an example, and how many are usual."""
    return f"""\
WITH by_night AS (
    SELECT
        night,
        reason,
        codec,
        count(*) AS calls,
        min(detail) AS detail,
        min(uri) AS example
    FROM calls
    WHERE status = 'rejected'
      AND {window.between}
    GROUP BY ALL
)
SELECT
    reason,
    codec,
    sum(calls) FILTER (night = {date(window.night)})::BIGINT AS calls,
    coalesce(sum(calls) FILTER (night < {date(window.night)}), 0)
        / {max(1, window.nights)} AS usual,
    min(detail) FILTER (night = {date(window.night)}) AS detail,
    min(example) FILTER (night = {date(window.night)}) AS example
FROM by_night
GROUP BY reason, codec
HAVING calls > 0
ORDER BY calls DESC, reason, codec
LIMIT {VALUES}"""


def codecs(window: Window) -> str:
    """Calls by codec."""
    return f"""\
SELECT
    codec,
    count(*) AS calls,
    count(*) FILTER (status = 'labelled') AS labelled,
    count(*) FILTER (status = 'no_speech') AS no_speech,
    count(*) FILTER (status = 'rejected') AS rejected,
    avg(unsure::INT) FILTER (status = 'labelled') AS unsure
FROM calls
WHERE night = {date(window.night)}
GROUP BY codec
ORDER BY calls DESC, codec
LIMIT {VALUES}"""


def costs(window: Window) -> str:
    """What a night took, and the median of the nights before."""
    columns = (
        "audio_hours", "cpu_seconds", "cpu_s_per_hour", "wall_s", "peak_memory_mb", "table_bytes",
    )  # fmt: skip
    tonight = f"night = {date(window.night)}"
    values = ",\n    ".join(
        f"any_value({column}) FILTER ({tonight}) AS {column},\n"
        f"    median({column}) FILTER (NOT {tonight}) AS {column}_before"
        for column in columns
    )
    return f"""\
WITH by_night AS (
    SELECT
        night,
        sum(audio_hours) AS audio_hours,
        sum(cpu_seconds) AS cpu_seconds,
        sum(cpu_seconds) / nullif(sum(audio_hours), 0) AS cpu_s_per_hour,
        sum(epoch(ended - started)) AS wall_s,
        max(peak_memory_mb) AS peak_memory_mb,
        sum(table_bytes)::DOUBLE AS table_bytes
    FROM runs
    WHERE audio_hours > 0
      AND {window.between}
    GROUP BY night
)
SELECT
    {values}
FROM by_night"""


def nights() -> str:
    """All nights, for the index page."""
    return f"""\
WITH clear AS (
    SELECT night, avg(({CLEAR})::INT) AS share
    FROM calls
    WHERE status = 'labelled'
    GROUP BY night
)
SELECT
    night,
    matched - waiting AS calls,
    labelled,
    no_speech,
    rejected,
    len(warnings) AS warnings,
    share,
    unsure_rate,
    worse_rate,
    audio_hours,
    model_id
FROM nights LEFT JOIN clear USING (night)
ORDER BY night DESC"""
