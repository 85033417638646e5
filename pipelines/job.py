"""The job of one command: what it is to do, where, and with what."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipelines import graph, ledger
from pipelines.role_rule import RoleRule
from pipelines.runners.runner import Runner
from pipelines.storage import store
from pipelines.uri_fields import UriFields
from ser_core import tables
from ser_core.examine import Settings
from ser_core.guarded import Guard
from ser_core.models.signature import PublicKey


@dataclass(frozen=True)
class Job:
    """The job of one command, for `run` or `label`.

    Parameters
    ----------
    output : str
    date : datetime.date
        The night under which rows are filed.
    dates : tuple of datetime.date
        For `{date:…}` in the patterns; `date` by default.
    command : str
        Command line for the table `runs`, without secrets.
    labelling : tables.Labelling
        The job's feature set; and the model's id, labels and thresholds if there is a model.
    runner : Runner
        Where Beam works.
    bundle : str or None
        The model. None extracts features only.
    signed_by : PublicKey or None
        Whose signature the model must have, also where workers load it.
    model_licence : str or None
    inputs : tuple of str
        Patterns of the recordings; `label` has none.
    settings, roles, guard, fields
        Of the examination; for `run`.
    analysed : tuple of str
        Who is analysed and by whose word, as `ser_core.policy.describe` gives it.
    lawful_basis : str or None
        The user's words, kept in `runs`.
    chunk : int or None
        Recordings per run. None is one run.
    min_age_s : float
        Recordings that were changed later than this many seconds ago wait; for `run`.
    redo : tuple of str
        What is to be done again, as in `Redo`.
    nights_left : int or None
        For `redo` in a backfill: nights that come after this one.
    max_reject_ratio : float in [0, 1]
    keep_days, keep_features_days : int or None
        Recordings, or their features, that are older are forgotten at the end; None keeps them.
    profile : str or None
        A file to which each run adds a line of JSON: CPU seconds by stage.
    say : callable
        Prints a line for the user.
    """

    output: str
    date: dt.date
    command: str
    labelling: tables.Labelling
    runner: Runner
    bundle: str | None = None
    signed_by: PublicKey | None = None
    model_licence: str | None = None
    inputs: tuple[str, ...] = ()
    dates: tuple[dt.date, ...] = ()
    settings: Settings | None = None
    roles: RoleRule = field(default_factory=RoleRule)
    guard: Guard = field(default_factory=Guard)
    fields: UriFields = field(default_factory=UriFields)
    analysed: tuple[str, ...] = ()
    lawful_basis: str | None = None
    chunk: int | None = 5_000
    min_age_s: float = 0.0
    redo: tuple[str, ...] = ()
    nights_left: int | None = None
    max_reject_ratio: float = 0.2
    keep_days: int | None = None
    keep_features_days: int | None = None
    profile: str | None = None
    say: Callable[[str], None] = print


@dataclass(frozen=True)
class Task:
    """The differences between `run` and `label`.

    Parameters
    ----------
    finder : ledger.Finder
        Finds what there is to do.
    examine : callable
        Takes a folder in which workers count their progress, or None; gives the graph's step.
    meta : callable
        Takes the output; gives the names of the columns `meta_<name>`.
    nothing : callable
        Gives the error message if nothing matches.
    settings : dict
        Of the examination, for the table `runs`.
    features : bool
        Whether features are written.
    """

    finder: ledger.Finder
    examine: Callable[[str | None], graph.Examine | graph.Load]
    meta: Callable[[store.Output], Sequence[str]]
    nothing: Callable[[], str]
    settings: dict[str, str] = field(default_factory=dict)
    features: bool = True
