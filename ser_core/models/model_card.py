"""A bundle's card as a page for people: `CARD.md`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_core.models.bundle import Card

_USE = """\
## Use

For searching and summing up archives of calls: which calls are worth a listen, how a queue does
over time. A label is a guess about a voice, not knowledge of what somebody felt.

Not for decisions about a person: no pay, no dismissal, no credit, no diagnosis, no lie detection.
A figure holds for speech like that of the data above; where that is acted, none says how the
model does on real calls. Evaluate it on labelled calls of your own, and better train on them,
before anybody relies on it.

In the European Union, inferring the emotions of employees at work from their voices is forbidden
(Regulation (EU) 2024/1689, the AI Act, Article 5(1)(f); exceptions are medical and safety
reasons). Where calls have a channel for the agent, analyse the customer's only. People whose
emotions are inferred must be told so (Article 50(3)).
"""


def markdown(card: Card) -> str:
    """The page of one bundle, in Markdown."""
    return "\n".join(_lines(card))


def _lines(card: Card) -> Iterator[str]:
    yield f"# {card.id}\n"
    yield f"Labels {', '.join(card.labels)} from the feature set `{card.feature_set}`.\n"
    yield f"**Licence:** {card.licence}.\n"
    if card.corpora:
        yield "## Data\n"
        yield from (_corpus(corpus) for corpus in card.corpora)
        yield ""
    if card.results:
        yield from _results(card)
    if card.settings:
        yield "## Settings\n"
        yield from (f"- {name}: {_shown(value)}" for name, value in card.settings.items())
        yield f"- temperature of the calibration: {card.temperature:g}"
        yield (
            f"- a segment is unsure below {card.unsure_segment_below:g}, "
            f"a recording below {card.unsure_recording_below:g}"
        )
        yield ""
    yield _USE
    if card.versions:
        yield "Made with " + ", ".join(f"{k} {v}" for k, v in card.versions.items()) + ".\n"


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
        + "".join(f" Warning: {warning}." for warning in corpus.get("warnings", ()))
    )


def _results(card: Card) -> Iterator[str]:
    yield "## Results\n"
    yield (
        "Each utterance is one whole clip. UAR is the mean of the labels' recalls; a guess has "
        f"{1 / len(card.labels):.1%}. Intervals are 95 %, by resampling speakers. The network in "
        "this bundle was trained on all utterances with the same settings; the figures are of "
        "networks that had not seen the utterances that they were tested on.\n"
    )
    yield "| test | utterances | accuracy | UAR | interval |"
    yield "| --- | --- | --- | --- | --- |"
    for name, one in card.results.items():
        mark = "**" if name == card.protocol else ""
        yield (
            f"| {mark}{one['protocol']}{mark} | {one['utterances']:,} | {one['accuracy']:.1%} "
            f"| {mark}{one['uar']:.1%}{mark} | {one['uar_low']:.1%} to {one['uar_high']:.1%} |"
        )
    if {"random", "speaker"} <= set(card.results):
        line = ", on a telephone line" if "speaker_mulaw" in card.results else ""
        yield (
            f"\nA caller is a speaker that the model has never heard{line}: expect the last row. "
            "The random split's figure is flattered by voices that stand in training and test."
        )
    yield "\nRecall and precision:\n"
    yield "| | " + " | ".join(one["protocol"] for one in card.results.values()) + " |"
    yield "| --- |" + " --- |" * len(card.results)
    for label in card.labels:
        cells = (
            f"{_percent(one['recall'][label])}, {_percent(one['precision'][label])}"
            for one in card.results.values()
        )
        yield f"| {label} | " + " | ".join(cells) + " |"
    yield "\n![Confusion matrices](confusion.png)\n"
    yield "![Learning curves](learning_curves.png)\n"
    yield "![Utterances of each emotion](utterances.png)\n"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "all" if value is None else str(value)
