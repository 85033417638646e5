"""A plan as a table for people."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines import errors
from pipelines.planning import Plan, Request

_SHOWN = 6
# Adds a row: its name and its text.
Add: TypeAlias = Callable[[str, str], None]


def print_table(plan: Plan, request: Request) -> None:
    """Print a plan."""
    table = Table(title=Text(f"What a run into {plan.output} would do"), show_header=False)

    def add(name: str, text: str) -> None:
        table.add_row(name, Text(text))

    counts, survey, new = plan.counts, plan.survey, plan.new
    if plan.patterns != tuple(request.inputs):
        more = ["…"] if len(plan.patterns) > _SHOWN else []
        add("looked for", "\n".join([*plan.patterns[:_SHOWN], *more]))
    add("matched", f"{counts.matched:,}")
    add("already done", f"{counts.already_done:,}{_rejected(plan)}")
    for name, count, remark in (
        ("waiting", counts.waiting, "(--min-age-s)"),
        ("forgotten", counts.forgotten, "(ser forget, --keep-days)"),
        ("skipped", counts.skipped, "files beside recordings"),
    ):
        if count:
            add(name, f"{count:,} {remark}")
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in new.kinds.most_common(5)) or "nothing"
    add("to do", f"{counts.todo:,} ({kinds})")
    for name, count, remark in (
        ("  changed", survey.changed, "replaced or touched since"),
        ("  tried again", survey.tried_again, "rejected before, and may be cured"),
        ("  done again", counts.redone, f"(--redo {', '.join(request.redo)})"),
    ):
        if count:
            add(name, f"{count:,} {remark}")
    if survey.vanished:
        add(
            "vanished",
            f"{survey.vanished:,} in the tables and no longer there; their rows stay; the first: "
            f"{survey.first_vanished}",
        )
    _add_costs(add, plan)
    for problem, count in plan.problems.items():
        add("problem", f"{problem}: {count:,} of {plan.headers:,} examined")
    for line in counts.warnings:
        add("problem", line)
    _add_fields(add, plan, request)
    if plan.status == errors.WOULD_REJECT:
        add("problem", "most recordings would be rejected (exit status 6)")
    Console().print(table)


def _add_costs(add: Add, plan: Plan) -> None:
    add("bytes", f"{plan.new.size_bytes / 1e6:,.1f} MB")
    if plan.audio_h and not plan.headers_with_duration:
        basis = "an estimate: no header tells a duration"
    elif plan.headers >= plan.counts.todo:
        basis = "all headers read"
    else:
        basis = f"± {plan.audio_h_error:,.2f} h, from the headers of {plan.headers:,}"
    add("audio", f"{plan.audio_h:,.2f} h ({basis})")
    add("CPU", f"about {span(plan.cpu_s)} ({plan.basis})")
    add("time", f"about {span(plan.wall_s)} with {plan.workers} processes")
    add("tables", f"about {plan.table_bytes / 1e6:,.1f} MB more")


def _add_fields(add: Add, plan: Plan, request: Request) -> None:
    new, fields, todo = plan.new, request.fields, plan.counts.todo
    if new.without_fields:
        add("problem", f"--uri-fields does not match: {new.without_fields:,} of {todo:,} new")
    if fields.has_time:
        add("call_time", f"read from {new.with_time:,} of {todo:,} new paths")
    if fields.pattern and new.sample:
        uri = new.sample[0].uri
        time, meta = fields.read(uri)
        values = ", ".join(f"{name}={value}" for name, value in {"call_time": time, **meta}.items())
        add("for example", f"{os.path.basename(uri)}: {values}")


def _rejected(plan: Plan) -> str:
    by_reason = plan.counts.rejected_earlier
    if not by_reason:
        return ""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in by_reason.most_common())
    return f"; {by_reason.total():,} of them rejected earlier ({reasons})"


def span(seconds: float) -> str:
    """A time span for a person."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
