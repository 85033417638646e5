"""The verdict of an evaluation in one sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ser_core.models import verdict
from ser_core.models.comparison import Difference

EVEN = Difference(
    condition="clean", known="nothing", labels=("sad", "angry"), utterances=9, speakers=3, uar=0.5,
    uar_against=0.5, difference=0.003, low=-0.021, high=0.029, p=0.8, told_apart=False,
    accuracy=0.6, accuracy_against=0.55, accuracy_difference=0.05, accuracy_low=0.01,
    accuracy_high=0.09, accuracy_told_apart=True,
)  # fmt: skip


def row(condition, difference, low, high):
    return replace(
        EVEN, condition=condition, difference=difference, low=low, high=high,
        told_apart=low > 0 or high < 0,
    )  # fmt: skip


GSM = row("gsm", 0.073, 0.012, 0.139)
OPUS = row("opus", -0.08, -0.1, -0.06)


@pytest.mark.parametrize(
    ("differences", "sentence"),
    [
        ([EVEN], "not told apart: +0.3 (−2.1 to 2.9)"),
        ([GSM], "a is better: +7.3 (1.2 to 13.9)"),
        ([OPUS], "b is better: −8.0 (−10.0 to −6.0)"),
        (
            [EVEN, GSM, replace(EVEN, condition="mulaw")],
            "not told apart, but for GSM 06.10: +7.3 (1.2 to 13.9)",
        ),
        ([EVEN, EVEN], "not told apart under any of 2 conditions: +0.3 to +0.3"),
        ([GSM, replace(GSM, difference=0.1)], "a is better under all 2 conditions: +7.3 to +10.0"),
        (
            [GSM, GSM, EVEN, GSM, OPUS],
            "a is better, but for as recorded: +0.3 (−2.1 to 2.9), not told apart; "
            "Opus, 12 kbit/s: −8.0 (−10.0 to −6.0), b is better",
        ),
        (
            [EVEN] * 5 + [GSM] * 4,
            "not told apart, but for " + "GSM 06.10: +7.3 (1.2 to 13.9); " * 3
            + "and 1 more of 9 conditions",
        ),
        (
            [replace(EVEN, low=None, high=None, told_apart=None)],
            "no verdict: with one speaker there is no interval",
        ),
    ],
)  # fmt: skip
def test_a_verdict_names_the_exceptions(differences, sentence):
    assert verdict.compared(differences, "a", "b") == sentence


def test_differences_are_shown_with_their_intervals():
    assert verdict.accuracy_in_points(EVEN) == "+5.0 (1.0 to 9.0)"
    alone = replace(EVEN, accuracy_low=None, accuracy_high=None)
    assert verdict.accuracy_in_points(alone) == "+5.0"
    assert [verdict.better(each, "a", "b") for each in (EVEN, GSM, OPUS)] == [
        "not told apart", "a", "b",
    ]  # fmt: skip
