"""Versions of Keras that load a file safely, and the advisories of those that do not.

`safe_mode` alone is no fence: its history is one of ways around it. So a bundle is checked before
Keras sees it (`file_checks`), and is not loaded by a version with a known hole.
"""

from __future__ import annotations

import importlib.metadata
import re

from ser_core.errors import BundleError

# The first version of a series without a known hole in loading models.
FIRST_SAFE = {(3, 12): (3, 12, 4), (3, 15): (3, 15, 1)}
NEWEST = max(FIRST_SAFE.values())
# What was found; from which version it was mended on; and from which of the series 3.12, which goes
# on beside the newer ones. The advisories and the notes of the releases of keras-team/keras.
ADVISORIES = (
    ("CVE-2025-1550: config.json calls any function", (3, 9, 0), (3, 12, 0)),
    ("CVE-2025-8747: config.json downloads files", (3, 11, 0), (3, 12, 0)),
    ("CVE-2025-9906: config.json ends the safe mode", (3, 11, 0), (3, 12, 0)),
    ("CVE-2025-9905: safe mode has no effect on .h5 files", (3, 11, 3), (3, 12, 0)),
    ("CVE-2025-12058: layers read files and addresses", (3, 12, 0), (3, 12, 0)),
    ("CVE-2025-12060: an archive climbs out of its folder", (3, 12, 0), (3, 12, 0)),
    ("CVE-2026-0897: HDF5 takes any amount of memory", (3, 13, 2), (3, 12, 1)),
    ("CVE-2026-1462: TFSMLayer runs code", (3, 13, 2), (3, 12, 1)),
    ("CVE-2026-1669: HDF5 reads other files", (3, 13, 2), (3, 12, 1)),
    ("GHSA-hqp4-2352-xf5r: an archive climbs out of its folder", (3, 14, 0), (3, 12, 4)),
    ("CVE-2026-12481: Lambda layers run outside a safe mode scope", (3, 15, 0), (3, 12, 4)),
    ("#23101: zip bombs; #23168: intermediate HDF5 groups", (3, 15, 1), (3, 12, 4)),
)


def check_keras_version(version: str | None = None) -> None:
    """Refuse a version of Keras that is known to load hostile files. Needs no TensorFlow.

    Parameters
    ----------
    version : str, optional
        By default the installed one.

    Raises
    ------
    BundleError
        It is one of those, or unknown.
    """
    version = importlib.metadata.version("keras") if version is None else version
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)$", version)
    found = tuple(map(int, numbers.groups())) if numbers else (0, 0, 0)
    if found >= NEWEST or (found[:2] == (3, 12) and found >= FIRST_SAFE[3, 12]):
        return
    known = "; ".join(
        text
        for text, mended, mended_in_312 in ADVISORIES
        if found < (mended_in_312 if found[:2] == (3, 12) else mended)
    )
    raise BundleError(
        f"Keras {version} found, which is known to load hostile models ({known}); "
        f"3.12.4 and later of 3.12, or {'.'.join(map(str, NEWEST))} and later expected: "
        f"pip install 'keras>={'.'.join(map(str, NEWEST))}'"
    )
