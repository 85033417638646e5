"""Reasons of rejection: one table, which the documentation and the bad files follow."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from ser_core import audio, errors, examine
from ser_core.errors import REJECTION_REASONS, TRIED_AGAIN, AudioError, RejectionReason
from ser_core.examine import Settings, Source
from tests.bad_files import BAD_FILES

DOCS = Path(__file__).parents[2] / "docs" / "tables.md"
# These depend on a limit, a fault or the run: no file alone shows them.
NOT_BY_A_FILE = {"too_large", "timed_out", "crashed", "channel_roles_unknown"}


def test_the_documentation_names_each_reason_in_order():
    section = DOCS.read_text().partition("### Why a recording is rejected")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| .+ \|(.*) \|$", section, flags=re.MULTILINE)
    assert [name for name, _ in rows] == list(REJECTION_REASONS)
    assert tuple(name for name, again in rows if "each night" in again) == TRIED_AGAIN
    for name, again in rows:
        cures = REJECTION_REASONS[name].cured_by
        assert bool(again) == (bool(cures) or name in TRIED_AGAIN), name
        for cure in cures:
            assert cure.replace("_", "-").removeprefix("max-channels") in again or cure == "extras"


def test_each_reason_that_a_file_can_show_has_a_bad_file():
    assert set(BAD_FILES.values()) | NOT_BY_A_FILE == set(REJECTION_REASONS)


def test_a_reason_that_the_table_does_not_know_is_a_bug():
    with pytest.raises(ValueError, match="reason='wet' is not one of"):
        AudioError("wet", "the tape is wet", "a.wav")


def test_a_new_reason_is_one_line(monkeypatch, tmp_path):
    """What raises it becomes a rejected row: nothing else needs to know the reason."""
    more = {**REJECTION_REASONS, "wet": RejectionReason("the tape is wet")}
    monkeypatch.setattr(errors, "REJECTION_REASONS", more)
    error = pickle.loads(pickle.dumps(AudioError("wet", "the tape is wet", "a.wav")))
    assert (error.reason, str(error)) == ("wet", "a.wav: wet: the tape is wet")

    def refuse(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(audio, "open", refuse)
    path = tmp_path / "a.wav"
    path.write_bytes(b"wet")
    found = examine.examine(path, Source("a.wav", 3, 0), Settings(feature_set="test_simple"))
    assert (found.reason, found.detail) == ("wet", "the tape is wet")
