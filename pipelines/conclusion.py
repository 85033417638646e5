"""What a command tells of its runs at the end, and the exit status that follows."""

from __future__ import annotations

import shlex

from pipelines import errors
from pipelines.books import Books
from pipelines.job import Job
from pipelines.storage import attempts


def conclude(job: Job, books: Books) -> int:
    """Print what was done, and return the exit status."""

    def tell(line: str) -> None:
        job.say(line)
        attempts.note_message(line)

    for line in books.warnings:
        job.say(f"warning: {line}")
    if not books.examined:
        waiting = f", {books.waiting:,} waiting" if books.waiting else ""
        waiting += f", {books.forgotten:,} forgotten" if books.forgotten else ""
        tell(
            f"nothing new: {books.matched:,} matched, {books.already_done:,} already done"
            + waiting
            + books.left_out()
        )
        return errors.DONE
    tell(books.line())
    if books.mixed:
        job.say(
            f"{books.mixed:,} recordings are mono or have equal channels: "
            "what the agent says may be labelled there, too"
        )
    if job.fields.pattern:
        _say_fields(job, books)
    if books.by_reason["unreadable"] == books.matched:
        tell("nothing that --input names could be read: is the archive there, and mounted?")
        return errors.NOTHING_MATCHED
    rejected = books.rejected - books.rejected_before
    if rejected > job.max_reject_ratio * books.examined:
        before = f" (and {books.rejected_before:,} not for the first time)"
        tell(
            f"{rejected:,} of {books.examined:,} recordings were rejected"
            + (before if books.rejected_before else "")
            + f", more than --max-reject-ratio {job.max_reject_ratio:g}; the rest is published. "
            "`ser query \"SELECT reason, detail, uri FROM calls WHERE status = 'rejected'\" "
            f"--output {shlex.quote(job.output)}` tells why"
        )
        return errors.TOO_MANY_REJECTIONS
    return errors.DONE


def _say_fields(job: Job, books: Books) -> None:
    """Print what --uri-fields read from the paths."""
    if not books.with_fields:
        job.say(
            f"warning: --uri-fields reads nothing from any of {books.examined:,} paths; "
            "`ser plan` shows an example"
        )
    elif job.fields.has_time:
        warning = "" if books.with_call_time else "warning: "
        job.say(
            f"{warning}call_time read from {books.with_call_time:,} of {books.examined:,} paths"
        )
