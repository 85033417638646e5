"""The view `drift` in SQL: each night's sketch against the training and the nights before.

The sketches of a night's runs are added, bin by bin. `psi_training` and `psi_before` are population
stability indexes, sum of (p - q) * ln(p / q) over the bins, where half a call is added to each bin,
so that none is empty. The test is that of Pearson for two samples of calls, with what Rao and Scott
(1981) divide it by: calls whose points are spread over bins vary less than calls in one bin. It is
also divided by how much nights before have differed (`nights_vary`): 1 where they differ as samples
of calls do, more where, say, weekends are unlike weekdays.

Sources
-------
J. N. K. Rao, A. J. Scott (1981), "The analysis of categorical data from complex sample surveys",
JASA 76. E. B. Wilson, M. M. Hilferty (1931), "The distribution of chi-square", PNAS 17. W. H. Press
et al., "Numerical Recipes", 6.2: erfc with a relative error below 1.2e-7.
"""

from __future__ import annotations

from ser_core.tables.sketch import POINTS

# Nights before, of the same model, that a night is compared with; with fewer than the second, with
# the training alone.
NIGHTS, LEAST_NIGHTS = 28, 5
# Bins with fewer calls expected are put together for the test.
LEAST_EXPECTED = 5
# 1 + the squared coefficient of variation of the eigenvalues of the design effects: of Rao and
# Scott's second correction. Calls differ more in the mean of a variable than in its shape.
UNEQUAL = 1.5
# Of the nights before, this share differ less from theirs than `nights_vary` says.
QUANTILE, NORMAL_QUANTILE = 0.8, 0.8416
# An index of at least 0.1 is called a shift by custom.
LEAST_PSI = 0.1
# Probability of any alarm on an ordinary night; divided by the number of tests.
ALPHA = 0.005

_KEYS = "model_id, variable, column_name, value"
_ERFC = (
    "-1.26551223", "1.00002368", "0.37409196", "0.09678418", "-0.18628806", "0.27886807",
    "-1.13520398", "1.48851587", "-0.82215223", "0.17087277",
)  # fmt: skip


def _erfc(t: str, x: str) -> str:
    inner = _ERFC[-1]
    for factor in reversed(_ERFC[:-1]):
        inner = f"{factor} + {t} * ({inner})"
    return f"{t} * exp(-{x} * {x} {inner})"


SKETCHES = """\
CREATE OR REPLACE VIEW files.sketches AS
SELECT
    night,
    coalesce(model_id, '') AS model_id,
    part.variable,
    coalesce(part.column_name, '') AS column_name,
    coalesce(part.value, '') AS value,
    part.calls,
    part.points,
    part.squares,
    part.training
FROM (
    SELECT night, model_id, unnest(sketch) AS part
    FROM files.runs
    -- Runs that do old calls again say nothing of their night.
    WHERE coalesce(len(redo), 0) = 0
)"""
_DRIFT = f"""\
WITH by_group AS (
    SELECT night, {_KEYS}, sum(calls)::BIGINT AS calls, any_value(training) AS own_training
    FROM {{sketches}}
    GROUP BY ALL
),
trained AS (
    SELECT model_id, variable, any_value(own_training) AS training FROM by_group GROUP BY ALL
),
by_bin AS (
    SELECT
        night,
        {_KEYS},
        entry.key AS bin,
        sum(entry.value) / {POINTS}.0 AS points,
        sum(squares[entry.key]) / {POINTS}.0 / {POINTS} AS squares
    FROM (SELECT * EXCLUDE (points), unnest(map_entries(points)) AS entry FROM {{sketches}})
    GROUP BY ALL
),
bins AS (
    SELECT DISTINCT model_id, variable, bin FROM by_bin
    UNION
    SELECT model_id, variable, unnest(map_keys(training)) FROM trained
),
places AS (
    SELECT model_id, night, row_number() OVER (PARTITION BY model_id ORDER BY night) AS place
    FROM (SELECT DISTINCT model_id, night FROM by_group)
),
grid AS (
    SELECT
        by_group.night,
        place,
        {_KEYS},
        bin,
        calls,
        count(*) OVER (PARTITION BY {_KEYS}, by_group.night) AS bins,
        coalesce(points, 0) AS points,
        coalesce(squares, 0) AS squares
    FROM by_group
    JOIN places USING (model_id, night)
    JOIN bins USING (model_id, variable)
    LEFT JOIN by_bin USING (night, {_KEYS}, bin)
),
windows AS (
    SELECT
        *,
        count(*) OVER before AS nights_before,
        coalesce(sum(calls) OVER before, 0)::BIGINT AS calls_before,
        coalesce(sum(points) OVER before, 0) AS points_before,
        coalesce(sum(squares) OVER before, 0) AS squares_before
    FROM grid
    WINDOW before AS (
        PARTITION BY {_KEYS}, bin ORDER BY place RANGE BETWEEN {NIGHTS} PRECEDING AND 1 PRECEDING
    )
),
shares AS (
    SELECT
        *,
        points / calls AS share,
        points_before / calls_before AS share_before,
        (points + 0.5) / (calls + 0.5 * bins) AS p,
        (points_before + 0.5) / (calls_before + 0.5 * bins) AS q,
        trained.training[bin] AS trained_share,
        (points + points_before) / (calls + calls_before) AS mean_share,
        (squares + squares_before) / (calls + calls_before) AS mean_square
    FROM windows JOIN trained USING (model_id, variable)
),
-- The rarest bins are put together, under no name, until enough calls are expected in them.
pools AS (
    SELECT
        *,
        CASE WHEN coalesce(sum(mean_share * calls) OVER (
            PARTITION BY night, {_KEYS} ORDER BY mean_share, bin
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) < {LEAST_EXPECTED} THEN '' ELSE bin END AS pool
    FROM shares
    WHERE nights_before >= {LEAST_NIGHTS} AND mean_share > 0
),
pooled AS (
    SELECT
        night,
        {_KEYS},
        pool,
        any_value(calls) AS calls,
        any_value(calls_before) AS calls_before,
        sum(mean_share) AS mean_share,
        sum(share) AS share,
        sum(share_before) AS share_before,
        sum(mean_square - mean_share * mean_share) AS variance
    FROM pools
    GROUP BY ALL
),
tests AS (
    SELECT
        night,
        {_KEYS},
        (count(*) - 1) / {UNEQUAL} AS degrees,
        sum((share - share_before) ** 2 / mean_share) / any_value(1 / calls + 1 / calls_before)
            / greatest(sum(variance / mean_share) FILTER (pool <> '')
                / sum(1 - mean_share) FILTER (pool <> ''), 0.01) / {UNEQUAL} AS chi_square
    FROM pooled
    GROUP BY ALL
    HAVING count(*) > 1
),
indexes AS (
    SELECT
        night,
        {_KEYS},
        any_value(place) AS place,
        any_value(calls) AS calls,
        any_value(nights_before) AS nights_before,
        any_value(calls_before) AS calls_before,
        sum((p - trained_share) * ln(p / trained_share)) AS psi_training,
        CASE WHEN any_value(nights_before) >= {LEAST_NIGHTS}
            THEN sum((p - q) * ln(p / q)) END AS psi_before,
        map_from_entries(list((bin, share) ORDER BY bin)) AS shares,
        CASE WHEN any_value(nights_before) >= {LEAST_NIGHTS}
            THEN map_from_entries(list((bin, share_before) ORDER BY bin)) END AS shares_before
    FROM shares
    GROUP BY ALL
),
compared AS (
    SELECT *, 2 / (9 * degrees) AS spread FROM indexes LEFT JOIN tests USING (night, {_KEYS})
),
scaled AS (
    SELECT
        *,
        greatest(1, coalesce(quantile_cont(
            chi_square / degrees / (1 - spread + {NORMAL_QUANTILE} * sqrt(spread)) ** 3, {QUANTILE}
        ) OVER (
            PARTITION BY {_KEYS} ORDER BY place RANGE BETWEEN {NIGHTS} PRECEDING AND 1 PRECEDING
        ), 1)) AS nights_vary
    FROM compared
),
scores AS (
    SELECT
        *,
        (cbrt(chi_square / nights_vary / degrees) - 1 + spread) / sqrt(2 * spread) AS x,
        1 / (1 + abs(x) / 2) AS t,
        {_erfc("t", "x")} / 2 AS tail
    FROM scaled
),
probabilities AS (
    SELECT *, CASE WHEN x < 0 THEN 1 - tail ELSE tail END AS p FROM scores
)
SELECT
    night,
    nullif(model_id, '') AS model_id,
    variable,
    nullif(column_name, '') AS column_name,
    nullif(value, '') AS value,
    calls,
    nights_before,
    calls_before,
    psi_training,
    psi_before,
    chi_square,
    degrees,
    nights_vary,
    p,
    coalesce(
        psi_before >= {LEAST_PSI}
            AND p * count(p) OVER (PARTITION BY night, model_id) < {ALPHA},
        false
    ) AS moved,
    shares,
    shares_before
FROM probabilities
ORDER BY night, model_id, moved DESC, column_name NULLS FIRST, psi_before DESC, variable, value"""


def rows(sketches: str) -> str:
    """The query of the rows of `drift`, over a view or table of sketches."""
    return _DRIFT.format(sketches=sketches)


DRIFT = f"CREATE OR REPLACE VIEW drift AS\n{rows('files.sketches')}"
