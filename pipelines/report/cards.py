"""What is known of the model of a night: a line about it, one about its licence, its errors."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pipelines.errors import UsageError
from ser_core.errors import SerError
from ser_core.models.card import Card, bundled_names, read_card
from ser_core.report import shares


@dataclass(frozen=True)
class Described:
    """A model in words.

    Parameters
    ----------
    model, licence : str
    tests : tuple of ErrorRates
        How often it is wrong about "negative or not".
    """

    model: str
    licence: str
    tests: tuple[shares.ErrorRates, ...] = ()


def describe(
    model_id: str | None,
    runs: Sequence[tuple[str | None, str | None]],
    *,
    given: str | None = None,
    at_hand: Card | None = None,
) -> Described:
    """Describe the model of a night.

    Parameters
    ----------
    model_id : str or None
    runs : sequence of (command, licence)
        Of the runs that labelled the night, the latest first.
    given : str, optional
        Its bundle.
    at_hand : Card, optional
        One that may be its.

    Raises
    ------
    UsageError
        The given bundle is another model, or cannot be read.
    """
    if model_id is None:
        return Described("No model: features only.", "")
    if at_hand is not None and at_hand.id == model_id:
        card: Card | None = at_hand
    else:
        card = _find(model_id, [command for command, _ in runs if command], given)
    if card is None:
        stored = next((licence for _, licence in runs if licence), "not stated")
        return Described(
            f"{model_id}. Its card is not at hand, so its errors are not allowed for: "
            "ser report --model FOLDER.",
            f"Licence: {stored}.",
        )
    known = ", ".join(card.labels)
    corpora = ", ".join(str(corpus["name"]) for corpus in card.corpora)
    text = f"{card.id} tells {len(card.labels)} emotions: {known}."
    if corpora:
        text += f" Trained on {corpora}."
    result = card.results.get(_protocol(card))
    if result and result.get("uar_low") is not None:
        text += (
            f" UAR {100 * result['uar']:.0f} % ({100 * result['uar_low']:.0f} to "
            f"{100 * result['uar_high']:.0f}) on {result['protocol']}."
        )
    return Described(text, f"Licence: {card.terms}; {card.licence}.", _tests(card))


def _find(model_id: str, commands: Sequence[str], given: str | None) -> Card | None:
    if given is not None:
        try:
            card = read_card(given)
        except SerError as error:
            raise UsageError(f"--model {given}: {error}") from None
        if card.id != model_id:
            raise UsageError(
                f"--model {given}: it is {card.id}; the night was labelled by {model_id}"
            )
        return card
    for name in (*bundled_names(), *_named(commands)):
        with suppress(SerError, OSError):
            card = read_card(name)
            if card.id == model_id:
                return card
    return None


def _named(commands: Sequence[str]) -> Iterator[str]:
    """Folders of bundles that commands name."""
    for command in commands:
        with suppress(ValueError):
            words = shlex.split(command)
            for word, following in zip(words, [*words[1:], ""], strict=True):
                option, equals, value = word.partition("=")
                if option == "--model":
                    path = value if equals else following
                    if os.path.isdir(path):
                        yield path


def _protocol(card: Card) -> str:
    """The result to quote: for a bundle that was fitted to an archive, that of such ones."""
    fitted = card.protocol.replace("_alone", "_adapted")
    return fitted if card.adapted is not None and fitted in card.results else card.protocol


def _tests(card: Card) -> tuple[shares.ErrorRates, ...]:
    """The error rates of the quoted result and of those under the same condition."""
    quoted = _protocol(card)
    condition = quoted.partition("_")[2]
    alike = [
        result
        for name, result in card.results.items()
        if name == quoted or (condition and name.partition("_")[2] == condition)
    ]
    found = map(shares.ErrorRates.of, alike)
    return tuple(rates for rates in found if rates is not None)
