"""What the image is made of: pinned by hashes, licences that are allowed; the wheel's bytes."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
LICENCES = runpy.run_path(str(DEPLOY / "licences.py"))
locked, is_allowed = LICENCES["locked"], LICENCES["is_allowed"]


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}


@pytest.mark.parametrize("name", ["requirements.lock", "build.lock"])
def test_each_package_has_hashes_and_the_tested_version(name):
    text = (DEPLOY / name).read_text()
    tested = constraints()
    for package, version in locked(DEPLOY / name).items():
        assert tested[canonicalize_name(package)] == version
        line = re.escape(f"{package}=={version}")
        hashes = r" \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+"
        assert re.search(f"^{line}{hashes}", text, re.M), package
    # Nothing else: no option, no address, no package without a hash.
    rest = re.sub(r"^(?:#.*|[\w.-]+==[\w.]+ \\|    --hash=sha256:[0-9a-f]{64}(?: \\)?)$\n", "",
                  text, flags=re.M)  # fmt: skip
    assert rest == ""


def test_the_lock_holds_what_setup_asks_for(monkeypatch):
    import setuptools

    asked: dict = {}
    monkeypatch.setattr(setuptools, "setup", asked.update)
    runpy.run_path(str(ROOT / "setup.py"))
    needed = [Requirement(line) for line in asked["install_requires"]]
    needed += [
        Requirement(line) for x in ("av", "aws", "gcp") for line in asked["extras_require"][x]
    ]
    versions = locked()
    for requirement in needed:
        if requirement.marker is None or requirement.marker.evaluate(
            {"platform_machine": "x86_64", "platform_system": "Linux"}
        ):
            assert versions[canonicalize_name(requirement.name)] in requirement.specifier


def test_the_image_installs_nothing_without_a_hash():
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    for line in re.findall(r"pip install .*?(?=&&|\n|$)", text):
        own = line.rstrip().endswith(" .")
        assert ("--require-hashes" in line) != own
        assert "--no-deps" in line
    assert "apt-get" not in text  # else each Debian package needs a version
    assert not re.search(r"https?://", text)
    for image in re.findall(r"^ARG \w+=(\S+)", text, re.M):
        assert re.search(r":[\w.-]*\d[\w.-]*$|@sha256:", image), image


def test_licences_are_allowed():
    found = subprocess.run([sys.executable, DEPLOY / "licences.py"], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.startswith(f"{len(locked())} packages, 0 with")


@pytest.mark.parametrize(
    ("name", "expression", "allowed"),
    [
        ("a", "MIT", True),
        ("a", "Apache-2.0 AND MIT", True),
        ("a", "GPL-3.0-or-later OR MIT", True),
        ("a", "GPL-3.0-or-later", False),
        ("a", "MIT AND GPL-3.0-or-later", False),
        ("orjson", "MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("a", "MPL-2.0", False),
        ("a", "not declared", False),
    ],
)
def test_which_licences_are_allowed(name, expression, allowed):
    assert is_allowed(name, expression) == allowed


def test_exceptions_are_needed_and_explained():
    page = (ROOT / "docs" / "supply-chain.md").read_text()
    for name, words in LICENCES["EXCEPTIONS"]:
        assert not is_allowed("another", words)
        assert name in locked()
        assert f"| {name} | {words} |" in page


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_wheel_has_the_same_bytes_twice(tmp_path):
    """Whoever builds it: another umask, another time zone, another moment."""
    digests = []
    for name, umask, zone in (("a", 0o022, "UTC"), ("b", 0o077, "Asia/Kathmandu")):
        done = subprocess.run(
            [DEPLOY / "wheel.sh", tmp_path / name],
            env={**os.environ, "PYTHON": sys.executable, "TZ": zone},
            umask=umask, capture_output=True, text=True, cwd=tmp_path,
        )  # fmt: skip
        if "detected dubious ownership" in done.stderr:
            pytest.skip("git does not trust the owner of this checkout")
        assert done.returncode == 0, done.stderr
        digests.append(done.stdout.split()[0])
    assert digests[0] == digests[1]
