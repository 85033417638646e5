"""The options of `ser run`, `extract`, `label` and `plan`, and the jobs made from them.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _ArgumentGroup
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipelines import arguments
from pipelines.errors import UsageError
from pipelines.terminal import check_target, say

if TYPE_CHECKING:
    from pipelines.job import Job
    from pipelines.nights import Night
    from pipelines.role_rule import RoleRule
    from pipelines.uri_fields import UriFields
    from ser_core.examine import Settings
    from ser_core.guarded import Guard
    from ser_core.models import Card
    from ser_core.tables import Labelling


def add_examination(parser: ArgumentParser) -> None:
    """Add the options of examining recordings: roles, fields of the URI, limits."""
    group = parser.add_argument_group("calls")
    group.add_argument(
        "--channel-roles", type=arguments.channel_roles, default=(), metavar="ROLE,ROLE",
        help="role of each channel, in order: agent, customer or unknown; or a table by the "
        "group `direction` of --uri-fields: 'inbound=agent,customer;outbound=customer,agent'",
    )  # fmt: skip
    group.add_argument(
        "--analyse", type=arguments.names, default=("customer",), metavar="ROLE,…",
        help="roles whose speech is labelled (default: customer; the EU forbids inferring "
        "emotions of employees at work)",
    )  # fmt: skip
    arguments.add_lawful_basis(group)
    group.add_argument(
        "--uri-fields", default="", metavar="REGEX",
        help="regular expression searched in the URI: each named group becomes a column "
        "meta_<name>, the group `time` becomes call_time; the group `role` names the role of a "
        "mono recording: customer, agent or mixed",
    )  # fmt: skip
    group.add_argument(
        "--time-format",
        metavar="FORMAT",
        help="format of `time` for strptime (default: ISO 8601 or an epoch)",
    )
    group.add_argument(
        "--raw", type=arguments.raw_format, action="append", default=[], metavar="FORMAT",
        help="format of files without a header (.vox, .pcm, .sln, .raw, .ulaw, .alaw, .gsm), such "
        "as codec=mulaw,rate=8000,channels=2; for one extension: ext=vox,codec=adpcm_oki; may be "
        "given more than once (default: .ulaw, .alaw and .gsm are mono at 8 kHz)",
    )  # fmt: skip
    group.add_argument(
        "--min-age-s", type=arguments.not_negative, default=0.0, metavar="S",
        help="leave recordings that were changed less than S seconds ago to the next run, since "
        "they may be growing (default: 0)",
    )  # fmt: skip
    group = parser.add_argument_group("limits")
    group.add_argument(
        "--max-hours", type=arguments.positive(float), default=4.0, metavar="H",
        help="longer recordings are rejected (default: 4)",
    )  # fmt: skip
    group.add_argument(
        "--max-size-mb", type=arguments.positive(int), default=2048, metavar="MB",
        help="larger files are rejected (default: 2048)",
    )  # fmt: skip
    group.add_argument(
        "--timeout-s", type=arguments.positive(float), default=120.0, metavar="S",
        help="a recording without progress for this long is rejected (default: 120)",
    )  # fmt: skip
    group.add_argument(
        "--memory-mb", type=arguments.positive(int), default=2048, metavar="MB",
        help="memory that decoding one recording may use (default: 2048)",
    )  # fmt: skip
    group.add_argument(
        "--no-fence", dest="fence", action="store_const", const="off", default="on",
        help="decode without the fence that keeps a decoder from files, network and processes",
    )  # fmt: skip
    group.add_argument(
        "--require-fence", dest="fence", action="store_const", const="required",
        help="fail where the kernel cannot close the fence (default: close what it has, and tell "
        "in `fence` of the table runs)",
    )  # fmt: skip
    group.add_argument(
        "--max-reject-ratio", type=arguments.ratio, default=0.2, metavar="R",
        help="exit with status 3 if a larger share of the examined recordings is rejected for "
        "the first time (default: 0.2)",
    )  # fmt: skip


def add_date(parser: ArgumentParser) -> _ArgumentGroup:
    """Add the options of the night: its date, and the zone in which it is reckoned."""
    group = parser.add_argument_group("night")
    group.add_argument(
        "--date", type=arguments.day, metavar="DATE",
        help="night to file the results under, and the date of {date:…} in --input: YYYY-MM-DD, "
        "today (the default) or yesterday",
    )  # fmt: skip
    group.add_argument(
        "--time-zone", metavar="ZONE",
        help="zone of today and yesterday, such as Europe/Berlin (default: this machine's); and "
        "of a `time` of --uri-fields that names none (default: UTC)",
    )  # fmt: skip
    return group


def add_nights(parser: ArgumentParser) -> None:
    """Add the options of one night or several whose recordings are matched."""
    group = add_date(parser)
    group.add_argument(
        "--days", type=arguments.positive(int), metavar="N",
        help="match {date:…} for the N days up to --date, so that files that came late are met; "
        "one run, filed under --date (default: 1)",
    )  # fmt: skip
    group.add_argument(
        "--from", type=arguments.day, metavar="DATE", dest="first_date",
        help="backfill: one run for each day from this one up to --to",
    )  # fmt: skip
    group.add_argument(
        "--to", type=arguments.day, metavar="DATE", dest="last_date",
        help="last day of a backfill, such as yesterday",
    )  # fmt: skip


def add_redo(parser: ArgumentParser) -> None:
    """Add --redo, what is to be examined again."""
    parser.add_argument(
        "--redo", type=arguments.redo, action="append", default=[], metavar="WHAT",
        help="examine again, as far as --input matches: `rejected`, run=ID, date=YYYY-MM-DD (of "
        "the rows, as in their path), or a URI or pattern of URIs; the new rows take the place of "
        "the old ones; may be given more than once",
    )  # fmt: skip


def add_work(parser: ArgumentParser) -> None:
    """Add the options of the work itself: workers, chunks, runner; and of its record."""
    parser.set_defaults(takes_beam_options=True)
    arguments.add_records(parser)
    group = parser.add_argument_group("work")
    group.add_argument(
        "--workers", type=arguments.positive(int), metavar="N",
        help="worker processes (default: one per core; on a cluster, as many as fit)",
    )  # fmt: skip
    group.add_argument(
        "--chunk", type=arguments.positive(int), metavar="N",
        help="recordings to publish at a time (default: 5,000 on one machine, all on a cluster)",
    )  # fmt: skip
    group.add_argument(
        "--profile", metavar="FILE", help="append CPU seconds by stage to FILE, as JSON lines"
    )
    group.add_argument(
        "--runner", metavar="NAME",
        help="Beam's runner (default: this machine); other options are passed to Beam",
    )  # fmt: skip


def examination_settings(options: Namespace, feature_set: str) -> Settings:
    """The settings for examining recordings."""
    from ser_core.audio import Limits
    from ser_core.examine import Settings

    by_path = isinstance(options.channel_roles, dict)
    return Settings(
        feature_set=feature_set,
        channel_roles=() if by_path else options.channel_roles,
        analyse=options.analyse,
        limits=Limits(max_duration_s=options.max_hours * 3600, max_bytes=options.max_size_mb << 20),
        raw=tuple(options.raw),
    )


def guard(options: Namespace) -> Guard:
    """The limits of a process that decodes."""
    from ser_core.guarded import CPU_S_PER_HOUR, Guard

    return Guard(
        timeout_s=options.timeout_s,
        memory_mb=options.memory_mb,
        cpu_s=options.max_hours * CPU_S_PER_HOUR,
        fence=options.fence,
    )


def uri_fields(options: Namespace) -> UriFields:
    """What the paths of recordings tell."""
    from pipelines.uri_fields import UriFields

    return UriFields(options.uri_fields, options.time_format, options.time_zone)


def role_rule(options: Namespace, settings: Settings, fields: UriFields) -> RoleRule:
    """Whose voices a recording holds, by its path."""
    from pipelines.role_rule import RoleRule

    table = options.channel_roles if isinstance(options.channel_roles, dict) else None
    return RoleRule(settings.channel_roles, table, fields.names, settings.analyse)


def job(options: Namespace, labelling: Labelling, night: Night, **more: Any) -> Job:
    """The job of a command for a night; `more` are further fields of `Job`."""
    from pipelines.job import Job
    from pipelines.runners.runner import choose

    check_target("--profile", options.profile)
    runner, chosen = choose(options.runner, options.workers, options.beam_options, options.debug)
    if chosen:
        say(chosen)
    return Job(
        output=options.output,
        date=night.date,
        dates=night.dates,
        command=options.command_line,
        signed_by=arguments.required_signature(options),
        labelling=labelling,
        runner=runner,
        chunk=options.chunk or (5_000 if runner.local else None),
        profile=options.profile,
        say=say,
        **more,
    )


def examining_jobs(options: Namespace, labelling: Labelling, **more: Any) -> list[Job]:
    """The jobs of a command that examines recordings: one for each night."""
    from pipelines import nights
    from ser_core import policy

    settings = examination_settings(options, labelling.feature_set)
    fields = uri_fields(options)
    first, *others = nights.choose(options)
    first_job = job(
        options,
        labelling,
        first,
        **lawful_basis(options, policy.describe(settings.analyse)),
        **more,
        inputs=tuple(options.input),
        settings=settings,
        roles=role_rule(options, settings, fields),
        guard=guard(options),
        fields=fields,
        min_age_s=options.min_age_s,
        redo=nights.redo(options),
        max_reject_ratio=options.max_reject_ratio,
    )
    return [
        first_job,
        *(replace(first_job, date=night.date, dates=night.dates) for night in others),
    ]


def lawful_basis(options: Namespace, analysed: tuple[str, ...]) -> dict[str, Any]:
    """The fields of `Job` that say who is analysed and why; warns where nobody says why.

    Raises
    ------
    UsageError
        Others than the customer are analysed without --lawful-basis, and it is required.
    """
    from ser_core import policy

    warning = policy.warning(analysed, options.lawful_basis)
    if warning and options.require_lawful_basis:
        raise UsageError(f"--require-lawful-basis: {warning}; give --lawful-basis TEXT")
    if warning:
        say(f"warning: {warning}")
    return {"analysed": analysed, "lawful_basis": options.lawful_basis}


def checked_model(options: Namespace) -> tuple[str, Card]:
    """Check the model; returns its name, absolute path or URL, and its card."""
    from pipelines.storage import bundles, files
    from ser_core import models

    name = choose_model(options.model, options.output)
    card = bundles.check(name, signed_by=arguments.required_signature(options))
    return (name if name in models.bundled_names() else files.absolute(name)), card


def model_line(model: str, card: Card) -> str:
    """The model of a night and its terms, in a line."""
    return f"model {card.id}, {card.terms}: ser model show {model}"


def choose_model(model: str | None, output: str) -> str:
    """The model that --model names; without it, the one for the features that the output holds.

    An output is never left without a model because the default has changed: only a model that is
    named is refused where the output holds other features.
    """
    from pipelines.storage import published
    from ser_core import models

    if model is not None and model not in models.ALIASES:
        return model
    default = models.default_name()
    stored = published.stored_feature_set(output)
    own = stored and models.bundled_for(*stored)
    if stored and own not in (None, default):
        say(
            f"--output {output} holds features of {stored[0]!r} and goes on with model {own}; to "
            f"change to {default}, give a new --output"
        )
        return own
    return arguments.current_name(model, "--model") or default


def say_where(options: Namespace, status: int) -> int:
    """Print where the tables are, and return the status."""
    from pipelines.storage import files

    say(f"tables: {files.absolute(options.output)}")
    return status
