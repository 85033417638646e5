"""Reads mutated texts and tables: each is read, or refused with an error of this package."""

from __future__ import annotations

import io
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ser_core.errors import SerError
from tests.fuzz.mutations import mutate

BUNDLE = Path(__file__).parents[2] / "ser_core" / "models" / "bundled" / "calls-fast"
MOST_CPU_S = 5.0


@dataclass
class Outcomes:
    """What became of mutated files of one kind."""

    by_outcome: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[int, str]] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {n:,}" for name, n in self.by_outcome.most_common())
        return f"{self.by_outcome.total():,} files: {counts}; {len(self.findings)} findings"


def _manifest(path: Path) -> None:
    from ser_core.corpora.manifest import lines, mistakes

    parsed, _ = lines.parse(path)
    mistakes.find_mistakes(parsed, to_train=True)


def _label_map(path: Path) -> None:
    from ser_core.corpora.manifest import read_label_map

    read_label_map(path)


def _card(path: Path) -> None:
    from ser_core import models

    (path.parent / "card.json").write_bytes(path.read_bytes())
    card = models.read_card(path.parent)
    assert card.id
    assert isinstance(card.terms, str)


def _reference(path: Path) -> None:
    from ser_core import models
    from ser_core.models import folder

    folder.parse_reference(path.parent, models.read_card(BUNDLE), path.read_bytes())


def _uri_fields(path: Path) -> None:
    from pipelines.uri_fields import UriFields

    pattern, _, uri = path.read_bytes().decode(errors="surrogateescape").partition("\n")
    UriFields(pattern, "%Y%m%dT%H%M%S" if "(?P<time>" in pattern else None).read(uri)


def _list(path: Path) -> None:
    from pipelines.storage.lists import read_list

    for name in read_list(str(path)):
        assert name
        assert "\0" not in name


def _config(path: Path) -> None:
    from pipelines import cli, config

    config.read(["--config", str(path), "run"], cli.COMMANDS).words("run", [])


def _tables(path: Path) -> None:
    from pipelines.storage import published

    place = path.parent / "recordings" / "date=2026-03-01" / "run=r1" / "part-1.parquet"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(path.read_bytes())
    reader = published.open_reader(str(path.parent))
    reader.meta_names()
    for rows in reader.rows(reader.paths("recordings"), ["uri", "size_bytes", "modified_at"]):
        rows["uri"].to_pylist()


# Name -> what reads such a file, and the extension of the file.
TARGETS: dict[str, tuple[Callable[[Path], None], str]] = {
    "manifest": (_manifest, ".csv"),
    "label map": (_label_map, ".csv"),
    "card": (_card, ".json"),
    "reference": (_reference, ".npz"),
    "uri fields": (_uri_fields, ".txt"),
    "list": (_list, ".txt"),
    "config": (_config, ".toml"),
    "tables": (_tables, ".parquet"),
}
# What may be raised: these become a message and an exit status.
EXPECTED = (SerError,)


@cache
def seeds_of(name: str) -> list[bytes]:
    """Whole files of a kind."""
    if name == "card":
        return [(BUNDLE / "card.json").read_bytes()]
    if name == "reference":
        buffer = io.BytesIO()
        arrays = {"inputs": np.ones((2, 3), np.float32), "outputs": np.ones((2, 2), np.float32)}
        np.savez_compressed(buffer, **arrays)
        plain = io.BytesIO()
        np.savez(plain, **arrays)
        return [buffer.getvalue(), plain.getvalue()]
    if name == "tables":
        return [_table(compression) for compression in ("zstd", "none")]
    return [text.encode() for text in _TEXTS[name]]


def _table(compression: str) -> bytes:
    rows = pa.table(
        {
            "uri": [f"/calls/{i}.wav" for i in range(20)],
            "size_bytes": pa.array(range(20), pa.int64()),
            "modified_at": pa.array([1_000] * 20, pa.timestamp("us", "UTC")),
            "run_id": ["r1"] * 20,
            "meta_queue": ["billing", None] * 10,
        }
    )
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression=compression)
    return buffer.getvalue()


_TEXTS = {
    # The review page gives such a file, with a column more.
    "manifest": [
        "uri,start_s,end_s,label,speaker\na.wav,0.5,2,angry,s1\nb.wav,,,neutral,\n",
        'uri,channel,start_s,end_s,label,speaker,guess,p\n"a, b.wav",0,0.5,2,angry,s1,sad,0.4\n',
    ],
    "label map": ["label,emotion\nfurious,angry\nblue,sad\n"],
    "uri fields": [
        "(?P<queue>[^/]+)/(?P<time>\\d{8}T\\d{6})_(?P<call_id>[^/.]+)\n/calls/billing/20260301T091500_c1.wav",
        "(?P<role>agent|customer)\n/calls/agent/a.wav",
        "(?P<queue>(?:a|aa|[^/])+)+\\.mp3$\n/calls/" + "a" * 200 + ".mp3.wav",
    ],
    "list": [
        "/calls/a.wav\n# old\n'/calls/b c.wav'\r\n\"/calls/\"\"d\"\".wav\"\n",
        "\ufeff/calls/*.wav\n",
    ],
    "config": [
        'input = ["/calls"]\noutput = "/tables"\nchunk = 100\n\n[night]\ntimeout-s = 60.5\n'
        'channel-roles = "agent,customer"\n\n[archive.berlin]\noutput = "/other"\n',
    ],
}  # fmt: skip


def read_many(name: str, count: int, seed: int = 0, *, until: float | None = None) -> Outcomes:
    """Read mutated files 0 to `count` of a kind, in this process."""
    read, extension = TARGETS[name]
    seeds, outcomes = seeds_of(name), Outcomes()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / f"file{extension}"
        for number in range(count):
            if until is not None and time.monotonic() > until:
                break
            path.write_bytes(mutate(seeds, number, seed))
            before_s = time.process_time()
            try:
                read(path)
                outcome = "read"
            except EXPECTED as error:
                outcome = type(error).__name__
            except (Exception, SystemExit) as error:
                outcome = type(error).__name__
                outcomes.findings.append((number, f"{outcome}: {error}"))
            if time.process_time() - before_s > MOST_CPU_S:
                outcomes.findings.append((number, "too slow"))
            outcomes.by_outcome[outcome] += 1
    return outcomes
