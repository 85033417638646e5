"""Licences of the packages of `requirements.lock`, compared with those that are allowed.

    python deploy/licences.py                  # exit status 1 if a licence is not allowed
    python deploy/licences.py --into sbom.json # and add the licences to an SBOM

Licences are those that the installed packages declare. docs/supply-chain.md explains the
exceptions.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import sys
from pathlib import Path

LOCK = Path(__file__).with_name("requirements.lock")
# Permissive: they ask for a notice, and no more.
ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause",
    "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Zlib",
}  # fmt: skip
# Of one package each, with the reason.
EXCEPTIONS = {
    ("certifi", "MPL-2.0"): "a list of certificates, unchanged",
    ("orjson", "MPL-2.0"): "unchanged; the MPL is on files, not on what uses them",
    ("soxr", "LGPL-2.1-or-later"): "a module of its own, unchanged, that anybody can replace",
}
# What packages declare in words that are no SPDX expression.
_WORDS = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
# Packages whose metadata say nothing: read in their repositories.
_READ = {"namex": "Apache-2.0"}


def locked(path: Path = LOCK) -> dict[str, str]:
    """Names and versions of a lock file."""
    return dict(re.findall(r"^([\w.-]+)==([^ \\]+)", path.read_text(), re.M))


def licence(name: str) -> str:
    """The SPDX expression of an installed package's licence, or the words that it declares."""
    if name in _READ:
        return _READ[name]
    metadata = importlib.metadata.metadata(name)
    if expression := metadata.get("License-Expression"):
        return expression
    declared = (metadata.get("License") or "").strip()
    if "\n" not in declared and (declared in ALLOWED or " OR " in declared):
        return declared
    classifiers = [
        line.split(" :: ")[-1]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License :: OSI Approved ::")
    ]
    for words in (*classifiers, declared):
        if words.lower() in _WORDS:
            return _WORDS[words.lower()]
    return declared.splitlines()[0] if declared else "not declared"


def is_allowed(name: str, expression: str) -> bool:
    """Whether an SPDX expression leaves a way that is allowed."""
    ways = re.sub(r"[()]", "", expression).split(" AND ")
    return all(
        any(way in ALLOWED or (name, way) in EXCEPTIONS for way in part.split(" OR "))
        for part in ways
    )


def main() -> int:
    """Check all licences; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--into", metavar="SBOM", type=Path, help="CycloneDX file in JSON")
    options = parser.parse_args()
    found = {name: licence(name) for name in locked()}
    refused = {name: words for name, words in found.items() if not is_allowed(name, words)}
    for name, words in refused.items():
        print(f"{name}: {words!r} found, one of {', '.join(sorted(ALLOWED))} expected")
    print(f"{len(found)} packages, {len(refused)} with a licence that is not allowed")
    if options.into:
        content = json.loads(options.into.read_text())
        for component in content["components"]:
            words = found.get(component["name"])
            if words:
                component["licenses"] = [{"expression": words}]
        options.into.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
