"""Names that are not UTF-8, very many columns of a path, very many files in one folder."""

from __future__ import annotations

import csv
import datetime as dt
import os
import resource
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.role_rule import RoleRule
from pipelines.steps.examining import ExamineRecordings
from pipelines.storage import files, inputs
from pipelines.uri_fields import UriFields
from ser_core.examine import Settings, Source
from ser_core.guarded import Guard
from ser_core.names import path_of, uri_of
from tests.pipelines.faults import assert_whole, make_archive, mounted, rows

NIGHT = dt.date(2026, 3, 1)
# Bytes of a name, with much of what the escapes are made of.
PIECES = st.sampled_from([b"\\", b"x", b"\\x", b"e9", b"\xe9", b"\\x5c", b"5c", b"a", b"\xc3\xa9"])


@pytest.mark.fault(
    "input", "A name in Latin-1 beside one that is spelled as its escape",
    "each has a URI, a row, and a way back to its own file",
)  # fmt: skip
@given(st.lists(st.lists(PIECES, min_size=1, max_size=8).map(b"".join), min_size=2, max_size=12))
def test_each_name_has_its_own_uri_and_each_uri_its_name(names):
    uris = {}
    for name in names:
        uri = uri_of(os.fsdecode(b"/calls/" + name))
        uri.encode("utf-8")
        assert os.fsencode(path_of(uri)) == b"/calls/" + name
        assert uris.setdefault(uri, name) == name


@pytest.mark.fault(
    "input", "An object of a store that is larger than `--max-size-mb`",
    "it is rejected as `too_large` without being fetched: it cannot fill the disk",
)  # fmt: skip
def test_a_huge_object_is_not_fetched(monkeypatch):
    monkeypatch.setattr(files, "local_copy", lambda uri: pytest.fail("it was fetched"))
    step = ExamineRecordings(Settings("test_simple"), Guard(), UriFields(), RoleRule())
    step.setup()
    try:
        [item] = step.process(Source("s3://calls/huge.wav", 1 << 40, 1))
    finally:
        step.teardown()
    assert item.examined.reason == "too_large"
    assert "1,099,511,627,776 bytes, at most 2,147,483,648 expected" in item.examined.detail


@pytest.fixture(scope="module")
def named(tmp_path_factory, level_model):
    """Four recordings: Latin-1, its escaped spelling, percent signs, UTF-8; and their URIs."""
    folder = make_archive(tmp_path_factory.mktemp("names") / "calls", 4)
    spelled = [b"caf\xe9.wav", b"caf\\xe9.wav", b"caf%E9.wav", "café.wav".encode()]
    for i, name in enumerate(spelled):
        os.rename(folder / f"good_{i}.wav", os.path.join(os.fsencode(folder), name))
    return folder, [f"{folder}/{name}" for name in (
        r"caf\xe9.wav", r"caf\x5cxe9.wav", "caf%E9.wav", "café.wav",
    )]  # fmt: skip


@pytest.mark.fault(
    "input", "Latin-1, escaped, percent-encoded and UTF-8 spellings of a name in one folder",
    "a row each; `show`, `redo`, `review --clips`, a manifest and `forget` take the one meant",
)  # fmt: skip
def test_every_command_takes_the_recording_that_is_meant(ser_here, named, tmp_path, level_model):
    folder, uris = named
    out = tmp_path / "out"
    words = ("run", "--output", out, "--model", level_model, "--input")
    # The folder's name is as bad as the files', on the command line and in `runs`.
    bad = os.fsdecode(os.fsencode(tmp_path) + b"/b\xe4d")
    os.symlink(folder, bad)
    done = ser_here(*words, folder, f"{bad}/none*.wav")
    assert "4 matched = 4 labelled" in done.stdout, done.stderr
    assert_whole(out, uris)
    assert r"b\xe4d/none*.wav" in rows(out, "SELECT command FROM runs")[0][0]
    ids = dict(rows(out, "SELECT uri, recording_id FROM calls"))
    assert len(set(ids.values())) == 4
    assert "4 already done" in ser_here(*words, folder).stdout

    for text in (*uris[:2], *(uri.rpartition("/")[2] for uri in uris[2:])):
        page = tmp_path / "call.html"
        words_of_show = ("show", "--output", out, "--recording", text, "--html", "--save", page)
        shown = ser_here(*words_of_show, cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        page = page.read_text(encoding="utf-8")
        assert "was replaced" not in page
        assert "no longer" not in page
    latin = os.fsdecode(os.fsencode(folder) + b"/caf\xe9.wav")
    assert ser_here("show", "--output", out, "--recording", latin, cwd=tmp_path).returncode == 0

    _check_clips_and_manifest(ser_here, out, tmp_path, uris)
    done = ser_here(*words, folder, "--redo", latin)
    assert "1 labelled" in done.stdout
    assert "3 already done" in done.stdout
    assert dict(rows(out, "SELECT uri, recording_id FROM calls")) == ids

    done = ser_here("forget", "--output", out, "--uri", latin)
    assert done.returncode == 0, done.stderr
    assert [row[0] for row in rows(out)] == sorted(set(uris) - {uris[0]})
    done = ser_here(*words, folder)
    assert "4 matched, 3 already done, 1 forgotten" in done.stdout, done.stdout


def _check_clips_and_manifest(ser_here, out, tmp_path, uris) -> None:
    """Cut clips of all four; the list of the review leads back to the files."""
    review = tmp_path / "review.csv"
    words = ("--n", "4", "--clips", tmp_path / "clips", "--save", review)
    done = ser_here("review", "--output", out, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "clips").glob("*.wav"))) == 4
    with open(review, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert {line["uri"] for line in lines} == set(uris)
    from ser_core.corpora import manifest

    with open(review, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, lines[0].keys())
        writer.writeheader()
        writer.writerows({**line, "label": "angry", "annotator": "ana"} for line in lines)
    corpus = manifest.read(review, locate=lambda uri: review.parent / path_of(uri))
    assert {uri_of(item.path) for item in corpus.utterances} == set(uris)


@pytest.mark.fault(
    "input", "1,000 named groups in `--uri-fields`", "1,000 columns `meta_…`, in tables and views"
)
def test_a_thousand_columns(ser_here, tmp_path, level_model):
    empty = "".join(f"(?P<g{i}>)" for i in range(2, 1_000))
    pattern = rf"/(?P<g0>[a-z]+)_(?P<g1>\d){empty}\.wav$"
    folder = make_archive(tmp_path / "calls", 2)
    out = tmp_path / "out"
    words = ("run", "--input", folder, "--output", out, "--model", level_model)
    done = ser_here(*words, "--uri-fields", pattern)
    assert "2 labelled" in done.stdout, done.stderr
    assert_whole(out, [f"{folder}/good_0.wav", f"{folder}/good_1.wav"])
    found = rows(out, "SELECT meta_g0, meta_g1, meta_g999 FROM calls ORDER BY ALL")
    assert found == [("good", "0", ""), ("good", "1", "")]
    assert UriFields(pattern).names == tuple(f"g{i}" for i in range(1_000))


@pytest.mark.fault(
    "input", "Very many files in one folder (here 100,000; `benchmarks/many_files.py` a million)",
    "all are matched, with less than 1 kB of memory each",
)  # fmt: skip
def test_a_hundred_thousand_files_in_one_folder(tmp_path):
    count = 100_000
    with mounted(tmp_path / "calls", "-t", "tmpfs", "-o", "size=1g,nr_inodes=0") as folder:
        first = folder / "call_000000.wav"
        first.touch()
        for i in range(1, count):
            os.link(first, folder / f"call_{i:06}.wav")
        (folder / "notes.txt").touch()
        before_kb, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        found = 0
        for item in inputs.scan([str(folder)], dates=(NIGHT,)):
            found += item.kind == inputs.RECORDING
        assert found == count
        assert time.process_time() - started < 60
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
        assert grown_kb < count  # 1 kB each
