"""`ser query`: SQL over the views of an output folder."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pipelines import errors
from pipelines.arguments import add_output

HELP = "run SQL over the calls, segments, runs and nights of an output folder"
FORMATS = ("table", "csv", "json", "parquet")
EXAMPLES = (
    'ser query "FROM nights" --output /tables',
    "ser query \"SELECT uri, label, negativity FROM calls WHERE night = '2026-03-01' "
    'ORDER BY negativity DESC LIMIT 20" --output /tables',
    'ser query "FROM calls" --output /tables --save calls.parquet',
    "ser query @worst.sql --output s3://tables/ser --format csv",
    'ser query "DESCRIBE calls" --output /tables',
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser query` takes."""
    parser.description = (
        "Run one query of DuckDB's SQL over the views of an output folder:\n"
        "calls (the latest row a recording), segments, features, runs, nights, history, drift.\n"
        "It reads the output folder and writes nothing but the file of --save. After the folder\n"
        "was moved, it also makes ser.duckdb anew, for other programs."
    )
    parser.add_argument(
        "sql",
        metavar="SQL",
        help="the query; @FILE reads it from a file, - from the standard input",
    )
    add_output(parser)
    parser.set_defaults(takes_beam_options=True)
    parser.add_argument(
        "--format", choices=FORMATS,
        help="format of the answer (default: by the end of the name of --save, else table)",
    )  # fmt: skip
    parser.add_argument(
        "--save", metavar="F", help="file to write, instead of printing; replaced once it is whole"
    )


def run(options: Namespace) -> int:
    """Run the query and print or save the answer; returns the exit status."""
    from pipelines import querying
    from pipelines.terminal import check_target, say

    check_target("--save", options.save)
    kind = querying.format_of(options.format, options.save)
    rows = querying.query(options.output, querying.read_sql(options.sql), kind, options.save)
    if options.save is not None:
        say(f"{options.save}: {rows:,} rows")
    return errors.DONE
