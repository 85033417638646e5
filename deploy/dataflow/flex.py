"""What the flex template's launcher runs: its parameters are options of `ser run`, and Beam's.

Parameters of templates are written with _, options of `ser` with -.
"""

import sys

from pipelines.cli import main, option_names


def words(given: list[str]) -> list[str]:
    """The command line of `ser` for what the launcher passes, --name=value each."""
    ours = option_names("run")
    found = ["run"]
    for word in given:
        name, equals, value = word.partition("=")
        hyphened = name.replace("_", "-")
        found.append((hyphened if hyphened in ours else name) + equals + value)
    return found


if __name__ == "__main__":
    sys.exit(main(words(sys.argv[1:])))
