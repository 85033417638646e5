"""The options of `ser run`, `extract`, `label` and `plan`, and what they become.

Nothing heavy is imported before a command runs: `--help` answers at once.
"""

from __future__ import annotations

import datetime as dt
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from pipelines import arguments
from pipelines.terminal import say

if TYPE_CHECKING:
    from pipelines.nightly import Job
    from ser_core.examine import Settings
    from ser_core.models import Card
    from ser_core.tables import Labelling


def add_examination(parser: ArgumentParser) -> None:
    """How recordings are examined: roles, fields of the URI, limits."""
    group = parser.add_argument_group("calls")
    group.add_argument(
        "--channel-roles", type=arguments.names, default=(), metavar="ROLE,ROLE",
        help="whose the channels are, in their order: agent, customer, unknown",
    )  # fmt: skip
    group.add_argument(
        "--analyse", type=arguments.names, default=("customer",), metavar="ROLE,…",
        help="whose speech is labelled (default: customer; labelling employees at work is "
        "forbidden in the EU)",
    )  # fmt: skip
    group.add_argument(
        "--uri-fields", default="", metavar="REGEX",
        help="named groups over the URI become columns meta_<name>; `time` becomes call_time",
    )  # fmt: skip
    group.add_argument("--time-format", metavar="FORMAT", help="of `time`, for strptime")
    group = parser.add_argument_group("limits")
    group.add_argument("--max-hours", type=arguments.positive(float), default=4.0, metavar="H")
    group.add_argument("--max-size-mb", type=arguments.positive(int), default=2048, metavar="MB")
    group.add_argument(
        "--timeout-s", type=arguments.positive(float), default=120.0, metavar="S",
        help="without progress on a recording, after which it is rejected (default: 120)",
    )  # fmt: skip
    group.add_argument(
        "--memory-mb", type=arguments.positive(int), default=2048, metavar="MB",
        help="what decoding one recording may take (default: 2048)",
    )  # fmt: skip
    group.add_argument(
        "--max-reject-ratio", type=arguments.ratio, default=0.2, metavar="R",
        help="more rejections than this of the recordings examined: exit status 3 (default: 0.2)",
    )  # fmt: skip


def add_work(parser: ArgumentParser) -> None:
    """How the work is done: the night, workers, chunks, the runner."""
    parser.set_defaults(takes_beam_options=True)
    group = parser.add_argument_group("work")
    group.add_argument(
        "--date", type=arguments.date, metavar="YYYY-MM-DD", help="the night (default: today)"
    )
    group.add_argument(
        "--workers", type=arguments.positive(int), metavar="N",
        help="processes that work (default: one a core; on a cluster, all that it has room for)",
    )  # fmt: skip
    group.add_argument(
        "--chunk", type=arguments.positive(int), metavar="N",
        help="recordings published at a time (default: 5,000 on one machine, else all)",
    )  # fmt: skip
    group.add_argument("--profile", metavar="FILE", help="add CPU seconds by stage, as JSON lines")
    group.add_argument(
        "--runner", metavar="NAME",
        help="Beam's runner (default: this machine); further options go to Beam as they are",
    )  # fmt: skip


def examination_settings(options: Namespace, feature_set: str) -> Settings:
    """How recordings are examined, as the options say."""
    from ser_core.audio import Limits
    from ser_core.examine import Settings

    return Settings(
        feature_set=feature_set,
        channel_roles=options.channel_roles,
        analyse=options.analyse,
        limits=Limits(max_duration_s=options.max_hours * 3600, max_bytes=options.max_size_mb << 20),
    )


def job(options: Namespace, labelling: Labelling, **more: Any) -> Job:
    """The work on this runner; `more` are further fields of `Job`."""
    from pipelines.nightly import Job
    from pipelines.runners.runner import choose

    runner, chosen = choose(options.runner, options.workers, options.beam_options, options.debug)
    if chosen:
        say(chosen)
    return Job(
        output=options.output,
        date=options.date or dt.date.today(),
        command=options.command_line,
        labelling=labelling,
        runner=runner,
        chunk=options.chunk or (5_000 if runner.local else None),
        profile=options.profile,
        say=say,
        **more,
    )


def examining_job(options: Namespace, labelling: Labelling, **more: Any) -> Job:
    """The work on recordings, as the options say."""
    from pipelines.uri_fields import UriFields
    from ser_core.guarded import Guard

    settings = examination_settings(options, labelling.feature_set)
    return job(
        options,
        labelling,
        **more,
        inputs=tuple(options.input),
        channel_roles=settings.channel_roles,
        analyse=settings.analyse,
        limits=settings.limits,
        guard=Guard(timeout_s=options.timeout_s, memory_mb=options.memory_mb),
        fields=UriFields(options.uri_fields, options.time_format),
        max_reject_ratio=options.max_reject_ratio,
    )


def checked_model(options: Namespace) -> tuple[str, Card]:
    """The model's name, absolute path or URL, and its card."""
    from pipelines.storage import bundles, files
    from ser_core import models

    name = options.model or models.default_name()
    card = bundles.check(name)
    return (name if name in models.bundled_names() else files.absolute(name)), card


def say_where(options: Namespace, status: int) -> int:
    """Say where the tables are; gives the status on."""
    from pipelines.storage import files

    say(f"tables: {files.absolute(options.output)}")
    return status
