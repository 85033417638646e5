"""A model's card as a page: what it is for and what it must not be used for, then how well it does.

What only a specialist needs (further conditions, data, settings) is folded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_core.models.card import Card
from ser_core.models.card_page import PICTURES, USE, chance, settings_in_words
from ser_core.models.file_checks import MAX_FILE_BYTES, read_bounded
from ser_core.report import pages

_PNG = b"\x89PNG\r\n\x1a\n"


def page(card: Card, pictures: Mapping[str, bytes] | None = None) -> str:
    """Page of a bundle's card.

    Parameters
    ----------
    card : Card
    pictures : mapping of title to PNG, optional
        As `read_pictures` gives them.
    """
    lead = lead_result(card)
    results = dict(card.results)
    first = results.pop(lead) if lead else None
    questions = list(card.measures.get("questions") or ())
    leading = [row for row in questions if first and row["test"] == first["protocol"]]
    return pages.render(
        "model",
        card=card,
        verdict=verdict(card),
        # On the page the data come below.
        use=[paragraph.replace("the data above", "the data below") for paragraph in USE],
        first=first,
        others=list(results.values()),
        known_voices={"random", "speaker"} <= set(card.results),
        questions=leading,
        other_questions=[row for row in questions if row not in leading],
        unsure=card.measures.get("unsure") or {},
        errors=card.measures.get("calibration_error") or {},
        groups=card.measures.get("groups") or (),
        settings=settings_in_words(card),
        pictures=pictures or {},
    )


def verdict(card: Card) -> str:
    """How often the model is right, in one sentence."""
    lead = lead_result(card)
    if lead is None:
        return "Not tested: its card has no results."
    result = card.results[lead]
    words = f"Right in about {100 * result['accuracy']:.0f} of 100 utterances"
    words += f" (UAR {100 * result['uar']:.1f} %"
    if result.get("uar_low") is not None:
        words += f", {100 * result['uar_low']:.1f} to {100 * result['uar_high']:.1f}"
    return f"{words}; chance is {100 * chance(result):.1f} %) on {result['protocol']}."


def lead_result(card: Card) -> str | None:
    """The key of the result to expect of new callers; None without results.

    A random split has the same voices in training and test, so where it stands beside a split by
    speaker, the last row is what to expect.
    """
    if not card.results:
        return None
    if {"random", "speaker"} <= set(card.results):
        return list(card.results)[-1]
    return card.protocol if card.protocol in card.results else next(iter(card.results))


def read_pictures(folder: Path) -> dict[str, bytes]:
    """Pictures that lie beside a card, by their titles; what is no PNG is left out."""
    found = {}
    for name, title in PICTURES.items():
        if (folder / name).is_file():
            content: Any = read_bounded(folder / name, MAX_FILE_BYTES)
            if content.startswith(_PNG):
                found[title] = content
    return found
