"""What patterns and lists cover: nothing named is lost, and what lies beside is told apart."""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path

import pytest

from pipelines import ledger
from pipelines.errors import UsageError
from pipelines.ledger import NewRecordings
from pipelines.storage import inputs
from pipelines.storage.lists import read_list

NIGHT = dt.date(2026, 3, 1)


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def scan(folder: Path, *patterns: str) -> dict[str, set[str]]:
    """Names below the folder by kind."""
    found: dict[str, set[str]] = {}
    for item in inputs.scan([str(folder / p) for p in patterns], dates=(NIGHT,)):
        name = os.path.relpath(item.source.uri, folder)
        found.setdefault(item.kind, set()).add(name)
    return found


# ---------------------------------------------------------------- lists


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lists_of_any_program(tmp_path, encoding, end):
    lines = ["/calls/ä b.wav", "", "  ", "# a comment", "  s3://calls/c.wav  ", "/calls/*.wav"]
    text = end.join(lines) + end
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    (tmp_path / "list.txt").write_bytes((mark + text).encode(encoding))
    expected = ["/calls/ä b.wav", "s3://calls/c.wav", "/calls/*.wav"]
    assert list(read_list(str(tmp_path / "list.txt"))) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('"/calls/a b.wav"', "/calls/a b.wav"),
        ("'/calls/a b.wav'", "/calls/a b.wav"),
        ('"/calls/the ""best"".wav"', '/calls/the "best".wav'),  # CSV
        (r'"/calls/the \"best\".wav"', '/calls/the "best".wav'),  # a shell
        (r"'/calls/it'\''s.wav'", "/calls/it's.wav"),  # shlex.quote
        ('"#1.wav"', "#1.wav"),
        ('" a.wav "', " a.wav "),
        ('"', '"'),
        ('""', ""),
        ("'tis.wav", "'tis.wav"),
        ("it's 'here'", "it's 'here'"),
        ("'a' 'b'", "'a' 'b'"),
        ("a b.wav", "a b.wav"),
        ("/calls/a\\b.wav", "/calls/a\\b.wav"),
    ],
)
def test_quoted_lines(tmp_path, line, expected):
    (tmp_path / "list.txt").write_text(line + "\n")
    assert list(read_list(str(tmp_path / "list.txt"))) == ([expected] if expected else [])


def test_names_in_a_list_that_are_not_utf8(tmp_path):
    raw = os.fsencode(tmp_path) + b"/K\xfchn.wav"
    Path(os.fsdecode(raw)).write_bytes(b"1")
    (tmp_path / "list.txt").write_bytes(raw + b"\n" + os.fsencode(tmp_path) + b"/gone\xff.wav\n")
    sources = list(inputs.match([f"@{tmp_path}/list.txt"], dates=(NIGHT,)))
    assert [source.size_bytes for source in sources] == [1, None]
    assert sources[1].uri.endswith("/gone\\xff.wav")


def test_a_list_that_is_no_text(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"RIFF\0\0\0\0WAVE")
    with pytest.raises(UsageError, match="line 1 holds a zero byte; a text file"):
        list(read_list(str(tmp_path / "list.txt")))


def test_what_a_list_names_and_is_not_there(tmp_path):
    fill(tmp_path, "a.wav", "call [1].wav", "empty/.keep")
    names = ["a.wav", "gone.wav", "call [1].wav", "call [2].wav", "why?.wav", "empty", "*.mp3"]
    (tmp_path / "list.txt").write_text("\n".join(f"{tmp_path}/{name}" for name in names))
    found = list(inputs.scan([f"@{tmp_path}/list.txt"], dates=(NIGHT,)))
    sizes = {
        Path(item.source.uri).name: item.source.size_bytes
        for item in found
        if item.kind == inputs.RECORDING
    }
    assert sizes == {
        "a.wav": 5, "gone.wav": None, "call [1].wav": 12, "call [2].wav": None, "why?.wav": None,
    }  # fmt: skip
    # Patterns and empty folders are no files; they are told in another way.
    nothing = [Path(item.source.uri).name for item in found if item.kind == inputs.NOTHING]
    assert nothing == ["*.mp3"]
    assert [item.source.uri for item in found if item.kind == inputs.SIDECAR] == [
        f"{tmp_path}/empty/.keep"
    ]


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("gone.wav", True),
        ("gone/", True),
        ("gone/a.wav", True),
        ("gone*.wav", False),
        ("gon[e].wav", False),
        ("{date:%Y-%m-%d}.wav", False),  # a night without calls
        ("empty", False),
    ],
)
def test_a_path_that_is_not_there(tmp_path, pattern, named):
    (tmp_path / "empty").mkdir()
    (found,) = inputs.scan([f"{tmp_path}/{pattern}"], dates=(NIGHT,))
    assert found.kind == (inputs.RECORDING if named else inputs.NOTHING)
    assert found.source.size_bytes is None


# ---------------------------------------------------------------- neighbours

NEIGHBOURS = (
    "1.wav", "1.wav_metadata.json", "1.xml", "1.TXT", "x/calls.csv", "x/Thumbs.db", "x/._1.wav",
    "x/.DS_Store", "x/2.mp3", "x/.git/3.wav", "x/4.dat",
)  # fmt: skip
SIDECARS = {
    "1.wav_metadata.json", "1.xml", "1.TXT", "x/calls.csv", "x/Thumbs.db", "x/._1.wav",
    "x/.DS_Store",
}  # fmt: skip


@pytest.mark.parametrize("pattern", ["", "**", "**/*", "**/**"])
def test_sidecars_in_a_folder_are_skipped(tmp_path, pattern):
    fill(tmp_path, *NEIGHBOURS)
    assert scan(tmp_path, pattern) == {
        "recording": {"1.wav", "x/2.mp3", "x/4.dat"}, "sidecar": SIDECARS,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("1.xml", {"recording": {"1.xml"}}),
        ("*.json", {"recording": {"1.wav_metadata.json"}}),
        ("**/*.[ct]sv", {"recording": {"x/calls.csv"}}),
        ("x/._1.wav", {"recording": {"x/._1.wav"}}),
        ("x/._*", {"recording": {"x/._1.wav"}}),
        ("1.*", {"recording": {"1.wav"}, "sidecar": {"1.wav_metadata.json", "1.xml", "1.TXT"}}),
        ("**/*.wav", {"recording": {"1.wav"}, "sidecar": {"x/._1.wav"}}),
    ],
)
def test_sidecars_that_are_named_are_inputs(tmp_path, pattern, expected):
    fill(tmp_path, *NEIGHBOURS)
    assert scan(tmp_path, pattern) == expected


@pytest.mark.parametrize(
    ("pattern", "recordings", "other"),
    [
        ("**/*.wav", {"in/a.wav", "In/c.wav"}, {"in/b.WAV"}),
        ("in/*.WAV", {"in/b.WAV"}, {"in/a.wav"}),
        ("in*/*.wav", {"in/a.wav"}, {"in/b.WAV", "In/c.wav"}),
        ("in/*.[wW][aA][vV]", {"in/a.wav", "in/b.WAV"}, set()),
        ("**", {"in/a.wav", "in/b.WAV", "In/c.wav", "in/e.mp3"}, set()),
    ],
)
def test_files_that_differ_from_the_pattern_in_case(tmp_path, pattern, recordings, other):
    fill(tmp_path, "in/a.wav", "in/b.WAV", "In/c.wav", "in/.d.WAV", "in/e.mp3")
    found = scan(tmp_path, pattern)
    assert found["recording"] == recordings
    assert found.get("other_case", set()) == other


# ---------------------------------------------------------------- what the finder makes of them


def find(*patterns, out="out", **more) -> tuple[ledger.Matched, list[str]]:
    with NewRecordings(tuple(map(str, patterns)), (NIGHT,), str(out), **more).found() as todo:
        return todo.counts, [Path(source.uri).name for source in todo.elements]


def test_counts_and_warnings(tmp_path):
    calls = fill(tmp_path / "calls", "a.wav", "b.WAV", "c.WAV", "a.json", ".d.wav")
    counts, names = find(calls / "*.wav", calls / "*.mp3", calls / "gone.wav")
    assert names == ["a.wav", "gone.wav"]
    assert (counts.matched, counts.todo, counts.skipped) == (2, 2, 1)
    case, nothing = counts.warnings
    assert case.startswith("2 files were not read: small and capital letters differ")
    assert f"the first: {calls}/b.WAV; write both cases, such as *.[wW][aA][vV]" in case
    assert nothing == f"1 of the patterns of --input match nothing, the first: {calls}/*.mp3"
    # What one pattern leaves out and another names is an input.
    counts, names = find(calls / "*.wav", calls / "*.WAV", calls / ".d.wav", calls)
    assert names == [".d.wav", "a.wav", "b.WAV", "c.WAV"]
    assert (counts.skipped, counts.warnings) == (1, ())


def test_young_files_wait_but_not_for_ever(tmp_path):
    calls = fill(tmp_path / "calls", "old.wav", "young.wav", "ahead.wav", "far_ahead.wav")
    (calls / "broken.wav").symlink_to("nowhere")
    now = time.time()
    for name, age in {"old": 61, "young": 50, "ahead": -30, "far_ahead": -10 * 86_400}.items():
        os.utime(calls / f"{name}.wav", (now - age, now - age))
    counts, names = find(calls, min_age_s=60)
    assert names == ["broken.wav", "far_ahead.wav", "old.wav"]
    assert (counts.matched, counts.waiting, counts.todo) == (5, 2, 3)
    counts, names = find(calls)
    assert (counts.waiting, len(names)) == (0, 5)
