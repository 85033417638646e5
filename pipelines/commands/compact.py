"""`ser compact`: merge the small files of each night."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pipelines import errors
from pipelines.arguments import add_output, add_records
from pipelines.terminal import say

HELP = "merge the small files of each night"
EXAMPLES = (
    "ser compact --output /tables --dry-run",
    "ser compact --output /tables",
    "ser compact --output s3://tables/ser",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser compact` takes."""
    parser.description = (
        "Merge the files of each night into one a table, as far as their columns agree.\n"
        "The rows stay as they are. Files that were replaced stay readable for an hour;\n"
        "the next command that writes into the output after that deletes them."
    )
    add_output(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be merged, and change nothing"
    )
    add_records(parser)
    parser.set_defaults(takes_beam_options=True)


def run(options: Namespace) -> int:
    """Merge files, or print what would be merged; returns the exit status."""
    from pipelines import compaction
    from pipelines.storage import attempts

    if options.dry_run:
        found = compaction.preview(options.output)
    else:
        found = compaction.compact(options.output, say)
    if found.before == found.after:
        line = f"nothing to merge in {sum(found.before.values()):,} files"
    elif options.dry_run:
        line = f"would be merged: {found.line()}; nothing was changed"
    else:
        line = f"merged: {found.line()}"
    say(line)
    attempts.note_message(line)
    if not options.dry_run and found.before != found.after:
        say("replaced files stay readable for an hour; a later command deletes them")
    return errors.DONE
