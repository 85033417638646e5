"""`ser plan`: show what a run would do, without doing it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from argparse import ArgumentParser, Namespace

from pipelines.arguments import DEFAULT_FOR_OUTPUT, add_inputs, add_model, positive
from pipelines.night_options import (
    add_examination,
    add_nights,
    add_redo,
    checked_model,
    examination_settings,
    guard,
    role_rule,
    uri_fields,
)

HELP = "show what a run would do: counts, hours, time, problems"
EXAMPLES = (
    "ser plan --input /calls --output /tables --channel-roles agent,customer",
    "ser plan --input '/calls/{date:%Y/%m/%d}/**/*.wav' --output /tables --days 3 --json",
    "ser plan --input /calls --output /tables --redo rejected",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser plan` takes."""
    add_inputs(parser)
    add_model(parser, default=DEFAULT_FOR_OUTPUT)
    add_examination(parser)
    add_nights(parser)
    add_redo(parser)
    parser.add_argument(
        "--workers",
        type=positive(int),
        metavar="N",
        help="worker processes of the run (default: one per core)",
    )
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.set_defaults(takes_beam_options=True)


def run(options: Namespace) -> int:
    """Print the plan; returns the exit status."""
    from pipelines import nights, plan_table, planning

    # Standard output is for the plan alone.
    with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
        _, card = checked_model(options)
    settings = examination_settings(options, card.feature_set)
    fields = uri_fields(options)
    chosen = nights.choose(options)
    request = planning.Request(
        inputs=options.input,
        output=options.output,
        dates=[date for night in chosen for date in night.dates],
        settings=settings,
        fields=fields,
        roles=role_rule(options, settings, fields),
        guard=guard(options),
        min_age_s=options.min_age_s,
        redo=nights.redo(options),
        model_id=card.id,
        workers=options.workers or len(os.sched_getaffinity(0)),
        runs=len(chosen),
    )
    plan = planning.make(request)
    if options.json:
        print(json.dumps(plan.as_json(), indent=1, default=str))
    else:
        plan_table.print_table(plan, request)
    return plan.status
