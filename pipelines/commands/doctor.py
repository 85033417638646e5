"""`ser doctor`: check whether a night could run on this machine."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pipelines import errors

HELP = "check this machine: versions, codecs, fence, disk, credentials, clock"
EXAMPLES = (
    "ser doctor",
    "ser doctor --input s3://calls/2026 --output s3://tables",
    "ser doctor --json",
)
_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser doctor` takes."""
    parser.add_argument(
        "--input", nargs="+", default=[], metavar="PATTERN",
        help="also check that recordings can be read there: a pattern, folder or @list.txt",
    )  # fmt: skip
    parser.add_argument(
        "--output", metavar="OUT", help="also check that tables can be written there"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(takes_beam_options=True)


def run(options: Namespace) -> int:
    """Print the findings; returns 1 where a night could not run."""
    import json
    from dataclasses import asdict

    from pipelines import doctor

    findings = list(doctor.examine_machine(options.input, options.output))
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print_table(findings)
    has_problem = any(finding.state == doctor.PROBLEM for finding in findings)
    return errors.FAILED if has_problem else errors.DONE


def _print_table(findings: list) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    table = Table(
        "check", "state", Column("found", overflow="fold"), Column("what to do", overflow="fold")
    )
    for finding in findings:
        style = _STYLES[finding.state]
        state = f"[{style}]{finding.state}[/{style}]"
        table.add_row(escape(finding.check), state, escape(finding.found), escape(finding.advice))
    Console().print(table)
