"""The element that travels through the graph, and the counters of its steps."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from apache_beam.metrics import Metrics

from pipelines.errors import RecordingError
from ser_core.errors import SerError
from ser_core.examine import Examined

NAMESPACE = "ser"


@dataclass(frozen=True)
class Item:
    """A recording on its way to the tables.

    Parameters
    ----------
    examined : Examined
    call_time : datetime or None
        From the recording's URI, like `meta`.
    meta : dict
        Values of the columns `meta_<name>`.
    decoder_peak_mb : float
        Peak memory so far of the child process that decoded it; 0 if nothing was decoded.
    tried_with : str or None
        For a rejection that something may cure: what it was tried with.
    forgotten : bool
        Its bytes were forgotten under another name: it gets no row.
    fence : str or None
        What was closed round the child process that decoded it; None if nothing was decoded.
    features_run_id : str or None
        The run that stored its features; None is this run.
    """

    examined: Examined
    call_time: dt.datetime | None = None
    meta: dict[str, str | None] = field(default_factory=dict)
    decoder_peak_mb: float = 0.0
    tried_with: str | None = None
    features_run_id: str | None = None
    forgotten: bool = False
    fence: str | None = None


@contextmanager
def naming_recording(uri: str) -> Iterator[None]:
    """Turn any error into one that names the recording on which it happened.

    Raises
    ------
    RecordingError
        In place of the error that was raised.
    """
    try:
        yield
    except Exception as error:
        explained = isinstance(error, SerError)
        text = str(error) if explained else f"{type(error).__name__}: {error}"
        raise RecordingError(f"recording {uri}: {text}") from error


def inc_counter(name: str, by: int = 1) -> None:
    """Increase a counter of the runner. The books do not rely on it."""
    Metrics.counter(NAMESPACE, name).inc(by)


def tick(progress: str | None) -> None:
    """Add a byte to this process's file in the progress folder, if there is such a folder."""
    if progress:
        with open(Path(progress) / str(os.getpid()), "ab") as file:
            file.write(b".")
