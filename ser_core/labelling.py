"""From audio files to a table, without an output folder: `label_file` and `label_files`.

The values are those that a night gives: a recording is examined in the same kind of process, and
predicted by the same function in the same batches.
"""

from __future__ import annotations

import datetime as dt
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_core import models, policy
from ser_core.errors import AudioError
from ser_core.examine import Examined, Settings, Source
from ser_core.guarded import Examiner
from ser_core.names import uri_of
from ser_core.tables.rows import recording_row, segment_rows
from ser_core.tables.schemas import Labelling, recordings_schema, segments_schema

if TYPE_CHECKING:
    import pandas as pd

# Columns that belong to a run.
_OF_A_RUN = ("run_id", "features_run_id")
_DEFAULT_MODEL = "calls"


def label_file(
    path: str | os.PathLike,
    *,
    model: str | os.PathLike | models.Bundle = _DEFAULT_MODEL,
    channel_roles: Sequence[str] = (),
    analyse: Sequence[str] = policy.DEFAULT,
    lawful_basis: str | None = None,
) -> pd.DataFrame:
    """Label the speech of a recording.

    Parameters
    ----------
    path : str or path
        A local audio file.
    model : str, path or Bundle
        Name of a bundled model, folder of a bundle, or one that `models.load` gave.
    channel_roles : sequence of str
        Whose voice each channel holds: `customer`, `agent` or `unknown`. A mono recording needs
        none; its role is `mixed`.
    analyse : sequence of str
        Roles whose speech is labelled; that of a mono recording is, too.
    lawful_basis : str, optional
        On which lawful basis others than the customer are analysed. Without it a warning names the
        law that may forbid it.

    Returns
    -------
    pandas.DataFrame
        One row a segment, by channel and time, with the columns of the table `segments`
        (docs/tables.md) but `run_id` and `features_run_id`. `attrs["call"]` is the recording's row
        of the table `recordings`. Without speech there are no rows.

    Raises
    ------
    AudioError
        The recording is rejected; with its `reason`.
    SerError
        Roles that are not known, or that leave nobody to analyse.
    BundleError
        The model cannot be loaded.

    See Also
    --------
    label_files : Many files, for which the model is loaded once.

    Examples
    --------
    >>> from ser_core import label_file
    >>> table = label_file("call.wav", channel_roles=("agent", "customer"))  # doctest: +SKIP
    >>> table[["start_s", "end_s", "label", "confidence"]]  # doctest: +SKIP
    """
    [(_, found)] = _labelled([path], model, channel_roles, analyse, lawful_basis)
    if isinstance(found, AudioError):
        raise found
    return found


def label_files(
    paths: Iterable[str | os.PathLike],
    *,
    model: str | os.PathLike | models.Bundle = _DEFAULT_MODEL,
    channel_roles: Sequence[str] = (),
    analyse: Sequence[str] = policy.DEFAULT,
    lawful_basis: str | None = None,
) -> pd.DataFrame:
    """Label the speech of recordings, one after another.

    The parameters are those of `label_file`.

    Returns
    -------
    pandas.DataFrame
        The rows of all, in the order of `paths`. `attrs["calls"]` has a row of the table
        `recordings` for each file, also for those that were rejected: one bad file stops nothing,
        and a warning counts them.

    Raises
    ------
    SerError, BundleError
        As `label_file`.
    """
    import pandas as pd

    tables, calls, rejected = [], [], []
    for path, found in _labelled(paths, model, channel_roles, analyse, lawful_basis):
        if isinstance(found, AudioError):
            rejected.append(f"{path}: {found.reason}")
            calls.append({"uri": _uri(path), "status": "rejected", "reason": found.reason,
                          "detail": found.detail})  # fmt: skip
        else:
            calls.append(found.attrs.pop("call"))
            tables.append(found)
    if rejected:
        listed = "; ".join(rejected[:3]) + ("; …" if len(rejected) > 3 else "")
        warnings.warn(f"{len(rejected)} of {len(calls)} rejected: {listed}", stacklevel=2)
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    table.attrs["calls"] = calls
    return table


def _labelled(
    paths: Iterable[str | os.PathLike],
    model: str | os.PathLike | models.Bundle,
    channel_roles: Sequence[str],
    analyse: Sequence[str],
    lawful_basis: str | None,
) -> Iterator[tuple[str | os.PathLike, pd.DataFrame | AudioError]]:
    """Each file's table, or why it is rejected."""
    bundle = model if isinstance(model, models.Bundle) else models.load(model)
    settings = Settings(bundle.feature_set, tuple(channel_roles), tuple(analyse))
    problem = policy.warning(policy.describe(settings.analyse), lawful_basis)
    if problem:
        warnings.warn(problem, stacklevel=3)
    labelling = labelling_of(bundle.card)
    with Examiner(settings) as examiner:
        for path in paths:
            examined = examiner.examine(os.fspath(path), _source(path))
            if examined.reason is not None:
                yield path, AudioError(examined.reason, examined.detail or "", _uri(path))
            else:
                yield path, _table(examined, bundle, labelling)


def _source(path: str | os.PathLike) -> Source:
    try:
        found = os.stat(path)
    except OSError:
        return Source(_uri(path), None, None)
    return Source(_uri(path), found.st_size, found.st_mtime_ns // 1000)


def _uri(path: str | os.PathLike) -> str:
    """As a night names a local file."""
    return uri_of(Path(path).absolute())


def _table(examined: Examined, bundle: models.Bundle, labelling: Labelling) -> pd.DataFrame:
    import pyarrow as pa

    probabilities = np.empty((0, len(bundle.labels)), np.float32)
    if examined.segments and examined.vectors is not None:
        channels = None
        if bundle.takes_history:
            channels = np.array([str(segment.channel) for segment in examined.segments])
        probabilities = bundle.predict(examined.vectors, channel=channels)
    rows = segment_rows(examined, probabilities, labelling, run_id="")
    table = pa.Table.from_pylist(rows, schema=segments_schema(labelling)).drop_columns(
        list(_OF_A_RUN)
    )
    frame = table.replace_schema_metadata(None).to_pandas()
    frame.attrs["call"] = _call(examined, probabilities, labelling)
    return frame


def _call(examined: Examined, probabilities: np.ndarray, labelling: Labelling) -> dict[str, Any]:
    """The row of `recordings`, as its table stores it, but for what belongs to a run."""
    import pyarrow as pa

    row = recording_row(
        examined,
        probabilities,
        labelling,
        run_id="",
        call_time=None,
        meta={},
        processed_at=dt.datetime.now(dt.UTC),
    )
    [stored] = pa.Table.from_pylist([row], schema=recordings_schema(labelling, ())).to_pylist()
    left_out = (*_OF_A_RUN, "tried_with", "call_time", "processed_at")
    return {name: value for name, value in stored.items() if name not in left_out}


def labelling_of(card: models.Card) -> Labelling:
    """The part of a card that the rows of the tables need."""
    return Labelling(
        model_id=card.id,
        labels=tuple(card.labels),
        feature_set=card.feature_set,
        unsure_segment_below=card.unsure_segment_below,
        unsure_recording_below=card.unsure_recording_below,
    )
