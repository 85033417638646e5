"""A bundle's card as a page to read: `CARD.md`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ser_core.models.card import Adaptation, Card

_USE = """\
For searching and summarising archives of calls: which calls are worth listening to, how a queue
develops. A label is an estimate from a voice, not knowledge of what a person felt.

Not for decisions about a person: no pay, no dismissal, no credit, no diagnosis, no lie detection.
The figures hold for speech like that of the data above. If that is acted, they don't show how well
the model does on real calls. Evaluate it on labelled calls of your own, or better, train on them,
before you rely on it.

In the European Union, inferring the emotions of employees at work from their voices is forbidden
(Regulation (EU) 2024/1689, the AI Act, Article 5(1)(f); exceptions are medical and safety
reasons). If calls have a channel for the agent, analyse only the customer's. People whose emotions
are inferred must be informed (Article 50(3)).
"""

# The same, one text a paragraph.
USE = tuple(" ".join(paragraph.split()) for paragraph in _USE.split("\n\n"))
PICTURES = {
    "conditions.png": "UAR by condition",
    "confusion.png": "Confusion matrices",
    "reliability.png": "Reliability: accuracy by confidence",
    "coverage.png": "Risk-coverage curve: errors among the most confident predictions",
    "learning_curves.png": "Learning curves",
    "utterances.png": "Utterances of each emotion",
}
# Results whose recall and precision are given by label.
_RESULTS_BY_LABEL = 4


def markdown(card: Card, files: Collection[str] = ()) -> str:
    """The page of one bundle, in Markdown.

    Parameters
    ----------
    card : Card
    files : collection of str
        Names of the pictures beside it.
    """
    return "\n".join(_lines(card, files))


def _lines(card: Card, files: Collection[str]) -> Iterator[str]:
    yield f"# {card.id}\n"
    yield f"Labels {', '.join(card.labels)} from the feature set `{card.feature_set}`.\n"
    yield f"**Licence:** {card.terms}: {card.licence}.\n"
    if card.attribution:
        yield "**Attribution:** whoever publishes the model or works made with it names\n"
        yield from (f"- {text}." for text in card.attribution)
        yield ""
    if card.adapted:
        yield from _adapted(card.adapted)
    if card.corpora:
        yield "## Data\n"
        yield from (_corpus(corpus) for corpus in card.corpora)
        yield ""
    if card.results:
        yield from _results(card)
        for name, title in PICTURES.items():
            if name in files:
                yield f"\n![{title}]({name})"
        yield ""
    if card.measures:
        yield from _measures(card)
    if card.settings:
        yield "## Settings\n"
        yield from _settings(card)
        yield ""
    yield f"## Use\n\n{_USE}"
    if card.versions:
        yield "Made with " + ", ".join(f"{k} {v}" for k, v in card.versions.items()) + ".\n"


def _adapted(found: Adaptation) -> Iterator[str]:
    hours = "" if found.hours is None else f", {found.hours:,.1f} hours of speech"
    yield "## Fitted to an archive\n"
    yield (
        f"`{found.base}`, fitted on {found.date} to {found.segments:,} segments of "
        f"{found.recordings:,} recordings{hours}, without labels. The network is the same; it is "
        "given the archive's features on the scale of its training. "
        f"{found.left_out:,} segments far from the archive's speech did not count. "
        f"{found.moved:,} labels ({found.moved / found.segments:.1%}) changed:\n"
    )
    yield "| label | share before | after |"
    yield "| --- | --- | --- |"
    for label, before in found.shares_before.items():
        yield f"| {label} | {before:.1%} | {found.shares_after[label]:.1%} |"
    yield ""


def settings_in_words(card: Card) -> list[str]:
    """The settings of a bundle's training, one text each."""
    return [line.removeprefix("- ").strip() for line in _settings(card)]


def _settings(card: Card) -> Iterator[str]:
    for name, value in card.settings.items():
        if value and isinstance(value, list | tuple) and isinstance(value[0], Mapping):
            yield f"- {name}:"
            for row in value:
                yield "  - " + ", ".join(f"{k} {_shown(v)}" for k, v in row.items())
        else:
            yield f"- {name}: {_shown(value)}"
    yield f"- temperature of the calibration: {card.temperature:g}" + (
        f", with a long history {card.temperature_with_history:g}"
        if card.temperature_with_history is not None
        else ""
    )
    if card.history_doubted is not None:
        low, high = card.history_doubted
        yield (
            "- a channel's history is used in full up to a share of one emotion, other than "
            f"neutral and calm, of {low:g}, and not at all from {high:g}"
        )
    if card.history_share < 1:
        yield (
            f"- a prediction with a history has the weight {card.history_share:g}, the one "
            f"without {1 - card.history_share:g}"
        )
    yield (
        f"- a segment is unsure below {card.unsure_segment_below:g}, "
        f"a recording below {card.unsure_recording_below:g}"
    )


def _corpus(corpus: Mapping[str, Any]) -> str:
    emotions = ", ".join(f"{label} {count}" for label, count in corpus["by_emotion"].items())
    left = sum(corpus["skipped"].values()) + corpus["other_emotions"]
    return (
        f"- {corpus['name']} ({corpus['licence']}): {corpus['utterances']:,} utterances of "
        f"{corpus['speakers']} speakers"
        + (f", {corpus['note']}" if corpus["note"] else "")
        + f": {emotions}"
        + (f"; {left:,} files were not used" if left else "")
        + "."
        + _agreement(corpus.get("agreement"))
        + "".join(f" Warning: {warning}." for warning in corpus.get("warnings", ()))
    )


def _agreement(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""

    def alpha(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    by_emotion = ", ".join(f"{name} {alpha(value)}" for name, value in found["by_emotion"].items())
    return (
        f" {len(found['annotators'])} annotators; over {found['shared']:,} shared stretches "
        f"Krippendorff's alpha {alpha(found['alpha'])} (each against the rest: {by_emotion}); "
        f"for {found['disputed']:,} the annotators are divided: these are trained on by shares, "
        "and not tested."
    )


def _results(card: Card) -> Iterator[str]:
    first = next(iter(card.results.values()))
    yield "## Results\n"
    if card.adapted:
        yield f"Those of {card.adapted.base}, which knows no archive.\n"
    tested = card.corpora[0]["name"] if card.corpora else "one corpus"
    if "questions" in card.measures:
        tested = "the corpora of the rows"
    yield (
        f"Tested on {tested}, each utterance one whole clip. UAR is the unweighted average recall "
        f"of the labels that a test has; {_chance(card)}. Intervals are 95 %, by resampling "
        "speakers. The network in this bundle was trained on all utterances with the same "
        "settings. The figures come from networks that were not trained on the utterances that "
        "they were tested on.\n"
    )
    if chosen := card.settings.get("settings chosen on"):
        yield (
            f"The recipe's settings were chosen on {', '.join(chosen)}, each while it was left "
            "out of the training. So figures on these flatter a little.\n"
        )
    if card.channel_normalisation:
        yield (
            f"{card.settings['folds']} folds by speaker, pooled: no speaker is tested by a "
            f"network that was trained on them. The corpus has {first['speakers']} speakers. Other "
            "clips of a speaker are under the same condition; in a call they are the channel's "
            "other segments.\n"
        )
    yield "| test | utterances | accuracy | UAR | interval |"
    yield "| --- | --- | --- | --- | --- |"
    for name, result in card.results.items():
        mark = "**" if name == card.protocol else ""
        yield (
            f"| {mark}{result['protocol']}{mark} | {result['utterances']:,} "
            f"| {result['accuracy']:.1%} | {mark}{result['uar']:.1%}{mark} | {_interval(result)} |"
        )
    if {"random", "speaker"} <= set(card.results):
        line = ", on a telephone line" if "speaker_mulaw" in card.results else ""
        yield (
            f"\nA caller is a speaker that the model was not trained on{line}: expect the last "
            "row. The random split's figure is too high, since its voices are in training and test."
        )
    shown = list(card.results.values())[:_RESULTS_BY_LABEL]
    yield "\nRecall and precision:\n"
    yield "| | " + " | ".join(result["protocol"] for result in shown) + " |"
    yield "| --- |" + " --- |" * len(shown)
    for label in card.labels:
        cells = (
            f"{_percent(result['recall'][label])}, {_percent(result['precision'][label])}"
            for result in shown
        )
        yield f"| {label} | " + " | ".join(cells) + " |"


def chance(result: Mapping[str, Any]) -> float:
    """The UAR by chance, of a test that may lack some of the labels."""
    return 1 / max(sum(recall is not None for recall in result["recall"].values()), 1)


def _chance(card: Card) -> str:
    by_test = {
        result["protocol"].partition(",")[0]: f"{chance(result):.1%}"
        for result in card.results.values()
    }
    if len(set(by_test.values())) == 1:
        return f"chance is {by_test.popitem()[1]}"
    return "chance is " + ", ".join(f"{share} for {name}" for name, share in by_test.items())


def _measures(card: Card) -> Iterator[str]:
    measures = card.measures
    if "groups" in measures:
        yield from _groups(measures["groups"])
    if measures.get("questions"):
        yield from _questions(measures["questions"])
    yield "\n## Confidence\n"
    made_up = "recordings" in measures["unsure"]
    yield (
        (
            "Temperature and thresholds were fitted to the predictions for "
            f"{measures['fitted_to']}, and are measured on the same."
            if "fitted_to" in measures
            else "Temperatures and thresholds were fitted to out-of-fold predictions, and are "
            "measured here on folds that they were not fitted to."
        )
        + (" Recordings are made of one speaker's clips." if made_up else "")
        + "\n"
    )
    for kind, figures in measures["unsure"].items():
        right = "nothing to count"
        if figures["sure"]:
            right = f"{figures['right_if_sure']:.1%} of these right"
        yield (
            f"- {kind}: {figures['sure']:.0%} are sure, and {right} (of all {figures['right']:.1%})"
        )
    if made_up:
        yield (
            "- a recording's confidence is the mean share of its speech that has the label, not "
            "the chance that the label is right"
        )
    errors = measures["calibration_error"]
    for kind, error in list(errors.items())[:_RESULTS_BY_LABEL]:
        yield f"- expected calibration error, {kind}: {error:.3f}"
    worst = max(errors, key=lambda kind: errors[kind])
    yield f"- the largest of any condition: {errors[worst]:.3f} ({worst})\n"


def _groups(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "## Groups\n"
    yield (
        "Scores of groups of labels, from the same predictions. Two groups have an AUC, too; a "
        "clip is assigned to the first if its probability exceeds the group's share in other "
        "folds.\n"
    )
    yield "| groups | condition | known | AUC | UAR | interval |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows:
        auc = f"{row['auc']:.3f}" if "auc" in row else ""
        yield (
            f"| {', '.join(row['groups'])} | {row['condition']} | {row['known']} | {auc} "
            f"| {row['uar']:.1%} | {_interval(row)} |"
        )


def _questions(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "## What a call centre asks\n"
    yield (
        "The probabilities of the labels on one side are added up. `found` is the share of these "
        f"clips above the threshold that {rows[0]['false_alarms']:.0%} of the others exceed.\n"
    )
    yield "| question | test | AUC | found | threshold |"
    yield "| --- | --- | --- | --- | --- |"
    for row in rows:
        yield (
            f"| {row['grouping']} or not | {row['test']} | {row['auc']:.3f} | {row['found']:.0%} "
            f"| {row['threshold']:.3f} |"
        )


def _interval(result: Mapping[str, Any]) -> str:
    """Interval of the UAR; a dash for a single speaker."""
    if result["uar_low"] is None:
        return "–"
    return f"{result['uar_low']:.1%} to {result['uar_high']:.1%}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "all" if value is None else str(value)
