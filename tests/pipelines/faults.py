"""Real faults for the tests of a night: small disks, and what must hold after each fault."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile

from pipelines import checking
from pipelines.storage import views
from tests.speechlike import call

RATE_HZ = 8_000
# Of a row, what depends on its recording and its model only.
COLUMNS = "uri, status, reason, label, round(confidence, 5), round(speech_s, 3), recording_id"


@contextmanager
def mounted(folder: Path, *options: str, source: str = "tmpfs") -> Iterator[Path]:
    """A file system of its own at a folder; skips the test where none can be mounted."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, source, folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here ({done.stderr.strip().rpartition(': ')[2]})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, options: str) -> None:
    """Change a mounted file system, such as its size."""
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def used_kib(folder: Path) -> int:
    """What the file system of a folder holds."""
    command = ["df", "--output=used", "-k", folder]
    return int(subprocess.run(command, capture_output=True, text=True).stdout.split()[1])


def make_archive(folder: Path, count: int) -> Path:
    """Short mono calls, each other than the next."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        soundfile.write(folder / f"good_{i}.wav", call([(0.5, 2.5, -20)], 3, seed=i), RATE_HZ)
    return folder


def rows(out: Path, sql: str = f"SELECT {COLUMNS} FROM calls ORDER BY ALL") -> list[tuple]:
    """What a reader of the views sees."""
    with views.connect(str(out)) as db:
        return db.execute(sql).fetchall()


def assert_whole(out: Path, uris: Sequence[str]) -> None:
    """Check that nothing is lost, twice or invented, that books close, and that nothing is left."""
    report = checking.check(str(out))
    assert [finding.text for finding in report.findings] == []
    assert [uri for (uri,) in rows(out, "SELECT uri FROM history ORDER BY uri")] == sorted(uris)
    assert [row[0] for row in rows(out)] == sorted(uris)
    segments = Counter(rows(out, "SELECT run_id, uri, channel, start_s FROM segments"))
    assert set(segments.values()) == {1}
    assert not [path for path in (out / "_staging").iterdir() if path.is_dir()]


def ends(done, status: int, *words: str) -> None:
    """Check a command's status, and that it says why in a line or two, without a trace."""
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2, done.stderr
    for text in words:
        assert text in done.stderr
