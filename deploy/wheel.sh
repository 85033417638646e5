#!/usr/bin/env bash
# wheel.sh FOLDER: the wheel of the last commit, with the same bytes whoever builds it and when.
# The time is the commit's, the files are those of git with the same rights for everybody, and the
# versions of setuptools and wheel are those of constraints.txt.
set -euo pipefail
umask 022
target=$(realpath -m "$1")
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH PYTHONHASHSEED=0
git archive HEAD | tar -x -C "$work"
chmod -R u=rwX,go=rX "$work"
"${PYTHON:-python3}" -m pip wheel --quiet --no-deps --no-build-isolation --no-cache-dir \
    --wheel-dir "$target" "$work"
sha256sum "$target"/ser_pipeline-*.whl
