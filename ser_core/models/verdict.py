"""The verdict of an evaluation in one sentence: is a bundle better, worse, or not told apart."""

from __future__ import annotations

from collections.abc import Sequence

from ser_core.conditions import CONDITIONS
from ser_core.models.comparison import Difference
from ser_core.models.evaluation import Evaluation, Tested
from ser_core.models.evaluation_plan import CHANNEL, NOTHING

# Exceptions that a sentence names; the others are counted.
_MOST_NAMED = 3
_RELIABLE, _UNRELIABLE = "", "not to be relied on: "


def verdict(found: Evaluation) -> str:
    """Verdict of an evaluation, such as "not told apart, but for GSM 06.10: +7.3 (1.2 to 13.9)".

    A difference is that of the UAR, the first bundle's less the second's, in points with its 95 %
    interval. With one bundle, the sentence gives its UAR. With a serious warning it begins with
    "not to be relied on".
    """
    head = _UNRELIABLE if found.serious else _RELIABLE
    if not found.differences:
        return head + _alone(found)
    first, second = short_names(found)
    kinds = dict.fromkeys(difference.known for difference in found.differences)
    sentences = {
        kind: compared([row for row in found.differences if row.known == kind], first, second)
        for kind in kinds
    }
    sentence = sentences[NOTHING]
    with_channel = sentences.get(CHANNEL, sentence)
    if with_channel == sentence:
        return head + sentence
    return f"{head}{sentence}; with the rest of the channel known, {with_channel}"


def compared(differences: Sequence[Difference], first: str, second: str) -> str:
    """The two bundles compared in words, over one or more conditions.

    Parameters
    ----------
    differences : sequence of Difference
        One or more, of different conditions.
    first, second : str
        Names of the bundles.
    """
    if any(difference.told_apart is None for difference in differences):
        return "no verdict: with one speaker there is no interval"
    words = {
        "equal": "not told apart",
        "first": f"{first} is better",
        "second": f"{second} is better",
    }
    groups: dict[str, list[Difference]] = {kind: [] for kind in words}
    for difference in differences:
        groups[_kind(difference)].append(difference)
    most = max(groups, key=lambda kind: len(groups[kind]))
    count = len(differences)
    if count == 1:
        return f"{words[most]}: {in_points(differences[0])}"
    exceptions = [(kind, row) for kind in groups if kind != most for row in groups[kind]]
    if not exceptions:
        values = [row.difference for row in differences]
        range_ = f"{points(min(values))} to {points(max(values))}"
        which = "any of" if most == "equal" else "all"
        return f"{words[most]} under {which} {count} conditions: {range_}"
    named = [
        f"{title(row.condition)}: {in_points(row)}{_aside(kind, most, words)}"
        for kind, row in exceptions[:_MOST_NAMED]
    ]
    if rest := len(exceptions) - len(named):
        named.append(f"and {rest} more of {count} conditions")
    return f"{words[most]}, but for {'; '.join(named)}"


def _kind(difference: Difference) -> str:
    if not difference.told_apart:
        return "equal"
    return "first" if difference.difference > 0 else "second"


def _aside(kind: str, most: str, words: dict[str, str]) -> str:
    """What an exception is, where the sign of its difference does not say it."""
    return "" if most == "equal" else f", {words[kind]}"


def _alone(found: Evaluation) -> str:
    """UAR of the only bundle under the first condition, and under the worst."""
    tested = found.bundles[0]
    first = tested.results[0]
    chance = 1 / (len(tested.labels) - len(tested.absent))
    sentence = f"UAR {_share(first.scores.uar)}"
    if first.scores.interval:
        low, high = first.scores.interval
        sentence += f" ({100 * low:.1f} to {100 * high:.1f})"
    sentence += f" {title(first.condition)}"
    low_at = worst(tested)
    if low_at != first.condition:
        sentence += f", at worst {_share(tested.of(low_at).scores.uar)} ({title(low_at)})"
    sentence += f"; chance is {_share(chance)}"
    if first.scores.interval and first.scores.interval[0] <= chance:
        sentence += ", which is not told apart"
    return sentence


def worst(tested: Tested, known: str = NOTHING) -> str:
    """Condition with the lowest UAR."""
    results = [result for result in tested.results if result.known == known]
    return min(results, key=lambda result: result.scores.uar).condition


def names(found: Evaluation) -> tuple[str, ...]:
    """Names of the bundles, told apart where a bundle is compared with itself."""
    ids = tuple(bundle.id for bundle in found.bundles)
    if len(set(ids)) == len(ids):
        return ids
    return tuple(f"{name} ({number})" for number, name in enumerate(ids, 1))


def short_names(found: Evaluation) -> tuple[str, ...]:
    """Names of the bundles without hashes, where these are not needed to tell them apart."""
    short = tuple(bundle.id.rpartition("-")[0] or bundle.id for bundle in found.bundles)
    return short if len(set(short)) == len(short) else names(found)


def labels_compared(found: Evaluation) -> str:
    """Why the difference is not that of the bundles' own tables; empty where it is.

    Two bundles are compared over the labels that both have. Where a bundle has others too, its own
    figures are over more labels and utterances.
    """
    if not found.differences:
        return ""
    first = found.differences[0]
    own = {
        name: [label for label in bundle.labels if label not in first.labels]
        for name, bundle in zip(short_names(found), found.bundles, strict=True)
    }
    if not any(own.values()):
        return ""
    only = " and ".join(f"{name} alone has {', '.join(more)}" for name, more in own.items() if more)
    counts = ", ".join(
        f"{bundle.results[0].scores.utterances:,} for {name}"
        for name, bundle in zip(short_names(found), found.bundles, strict=True)
    )
    return (
        f"the difference is over the {len(first.labels)} labels that both have "
        f"({', '.join(first.labels)}) and their {first.utterances:,} utterances; {only}. So it is "
        f"not the difference of the bundles' own figures ({counts})"
    )


def title(condition: str) -> str:
    """A condition in words."""
    return CONDITIONS[condition].title if condition in CONDITIONS else condition


def points(value: float | None, *, sign: bool = True) -> str:
    """A difference in points, such as "+3.2"; a dash for None.

    Examples
    --------
    >>> points(0.0321), points(-0.0321), points(0.0321, sign=False), points(None)
    ('+3.2', '−3.2', '3.2', '–')
    """
    if value is None:
        return "–"
    text = f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"
    return text.replace("-", "−")


def in_points(difference: Difference) -> str:
    """A difference of UAR with its interval, such as "+7.3 (1.2 to 13.9)"."""
    return _with_interval(difference.difference, difference.low, difference.high)


def accuracy_in_points(difference: Difference) -> str:
    """The same of the accuracy."""
    return _with_interval(
        difference.accuracy_difference, difference.accuracy_low, difference.accuracy_high
    )


def better(difference: Difference, first: str, second: str) -> str:
    """Name of the bundle whose UAR is higher, if the two are told apart."""
    if difference.told_apart is None:
        return "one speaker: no interval"
    return {"equal": "not told apart", "first": first, "second": second}[_kind(difference)]


def _with_interval(value: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return points(value)
    return f"{points(value)} ({points(low, sign=False)} to {points(high, sign=False)})"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"
